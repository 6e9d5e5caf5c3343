"""txmembio.ssl has what this Python's `ssl` has, under the same names, and takes the same arguments."""

from __future__ import annotations

import enum
import inspect
import pickle
import ssl
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import txmembio
import txmembio.ssl
from support.process import environment
from txmembio.ssl.lowlevel import lowlevel

#: What `ssl` imports for itself, and others have no business with.
ITS_OWN = {"os", "sys", "errno", "warnings", "base64", "namedtuple"}

PUBLIC = sorted(name for name in dir(ssl) if not name.startswith("_") and name not in ITS_OWN)

#: Of the private names, those that modules of the standard library, or CPython's tests, use.
PRIVATE = [
    "_ASN1Object",
    "_DEFAULT_CIPHERS",
    "_OPENSSL_API_VERSION",
    "_PROTOCOL_NAMES",
    "_RESTRICTED_SERVER_CIPHERS",
    "_SSLContext",
    "_SSLMethod",
    "_TLSAlertType",
    "_TLSContentType",
    "_TLSMessageType",
    "_create_default_https_context",
    "_create_stdlib_context",
    "_create_unverified_context",
    "_inet_paton",
    "_nid2obj",
    "_ssl",
    "_txt2obj",
]

same_openssl = pytest.mark.skipif(
    txmembio.OPENSSL_VERSION_NUMBER != ssl.OPENSSL_VERSION_NUMBER,
    reason="the interpreter's ssl runs on another OpenSSL",
)


@pytest.mark.parametrize("name", [*PUBLIC, *PRIVATE])
def test_every_name_is_here(name: str) -> None:
    theirs, ours = getattr(ssl, name), getattr(txmembio.ssl, name)
    assert isinstance(ours, type) == isinstance(theirs, type)
    assert callable(ours) == callable(theirs)
    if isinstance(theirs, enum.Enum):
        assert (type(ours).__name__, ours.name, ours.value) == (type(theirs).__name__, theirs.name, theirs.value)
    elif isinstance(theirs, (bool, str, list)) and not name.startswith(("OPENSSL", "_DEFAULT", "_RESTRICTED")):
        assert ours == theirs


def test_names_that_newer_pythons_dropped_are_here_only_where_they_are_in_ssl() -> None:
    for name in ("match_hostname", "wrap_socket", "RAND_pseudo_bytes"):
        assert hasattr(txmembio.ssl, name) == hasattr(ssl, name)
        assert hasattr(lowlevel, name) == hasattr(ssl._ssl, name)  # type: ignore[attr-defined]


@same_openssl
@pytest.mark.parametrize("name", ["OPENSSL_VERSION", "OPENSSL_VERSION_INFO", "_OPENSSL_API_VERSION"])
def test_versions(name: str) -> None:
    assert getattr(txmembio.ssl, name) == getattr(ssl, name)


def functions() -> list[str]:
    return [name for name in [*PUBLIC, *PRIVATE] if inspect.isfunction(getattr(ssl, name))]


def parameters(callable_: Any) -> list[tuple[str, Any, bool]]:
    """Names, kinds, and whether there is a default. Not so the first of a method, which is of another kind in C."""
    return [
        (parameter.name, parameter.kind, parameter.default is not parameter.empty)
        for parameter in inspect.signature(callable_).parameters.values()
        if parameter.name != "self"
    ]


def methods() -> list[Any]:
    found = []
    for owner in ("SSLContext", "SSLObject", "SSLSocket"):
        for name, value in vars(getattr(ssl, owner)).items():
            if inspect.isfunction(value) and (not name.startswith("_") or name in ("_create", "_real_connect")):
                found.append(pytest.param(owner, name, id=f"{owner}.{name}"))
    return found


@pytest.mark.parametrize("name", functions())
def test_functions_take_the_same_arguments(name: str) -> None:
    ours = parameters(getattr(txmembio.ssl, name))
    theirs = parameters(getattr(ssl, name))
    if name in ("_inet_paton",):  # one argument, by position
        ours, theirs = [entry[1:] for entry in ours], [entry[1:] for entry in theirs]  # type: ignore[misc]
    assert ours == theirs


@pytest.mark.parametrize(("owner", "name"), [case for case in methods() if "_real_connect" not in str(case)])
def test_methods_take_the_same_arguments(owner: str, name: str) -> None:
    assert parameters(getattr(getattr(txmembio.ssl, owner), name)) == parameters(getattr(getattr(ssl, owner), name))


@pytest.mark.parametrize("owner", ["SSLContext", "SSLObject", "SSLSocket", "SSLSession", "MemoryBIO"])
def test_classes_have_the_same_attributes(owner: str) -> None:
    theirs = {name for name in dir(getattr(ssl, owner)) if not name.startswith("_")}
    assert theirs <= set(dir(getattr(txmembio.ssl, owner)))


def test_classes_are_the_cores_own() -> None:
    for name in ("SSLContext", "SSLObject", "MemoryBIO", "SSLSession", "create_default_context", "Purpose", "SSLError"):
        assert getattr(txmembio.ssl, name) is getattr(txmembio, name)


def test_attributes_of_a_context_are_found_one_class_up() -> None:
    """Where truststore looks for them, for contexts that have its own in front."""

    class Mine(txmembio.ssl.SSLContext):
        @property  # type: ignore[misc]  # as truststore does it, with a setter
        def verify_mode(self) -> Any:
            raise AssertionError("never asked")

    above: Any = super(txmembio.ssl.SSLContext, txmembio.ssl.SSLContext)
    context = Mine(txmembio.PROTOCOL_TLS_SERVER)
    for name in ("verify_mode", "verify_flags", "options", "minimum_version", "maximum_version"):
        descriptor = getattr(above, name)
        descriptor.__set__(context, descriptor.__get__(context))
    above.verify_mode.__set__(context, ssl.CERT_REQUIRED)
    assert above.verify_mode.__get__(context) == txmembio.CERT_REQUIRED
    assert issubclass(txmembio.ssl.SSLContext, txmembio.ssl._SSLContext)


def test_enumerations_look_as_in_ssl() -> None:
    for name in ("PROTOCOL_TLS_CLIENT", "CERT_REQUIRED", "SSL_ERROR_EOF", "ALERT_DESCRIPTION_UNKNOWN_CA"):
        assert repr(getattr(txmembio.ssl, name)) == repr(getattr(ssl, name))
        assert str(getattr(txmembio.ssl, name)) == str(getattr(ssl, name))
    assert pickle.loads(pickle.dumps(txmembio.Options.OP_NO_TICKET)) is txmembio.Options.OP_NO_TICKET
    assert pickle.loads(pickle.dumps(txmembio.Purpose.SERVER_AUTH)) is txmembio.Purpose.SERVER_AUTH


# What stands for _ssl


#: Tables of OpenSSL's numbers for errors, until Python 3.12; nothing of Python's own looks into them.
TABLES = {"err_codes_to_names", "err_names_to_codes", "lib_codes_to_names"}


def test_the_module_for_ssl_has_what_the_interpreters_has_but_no_file() -> None:
    theirs: Any = ssl._ssl  # type: ignore[attr-defined]
    ours = lowlevel
    assert isinstance(ours, ModuleType) and ours.__name__ == "_ssl"
    assert set(dir(theirs)) - set(dir(ours)) <= TABLES | {"__file__"}
    assert not hasattr(ours, "__file__")
    for name in dir(theirs):
        value = getattr(theirs, name)
        if isinstance(value, int) and name not in ("OPENSSL_VERSION_NUMBER", "OP_ALL"):
            assert getattr(ours, name) == value and isinstance(getattr(ours, name), int), name


def test_certificates_of_the_module_for_ssl(pki: Any) -> None:
    theirs: Any = ssl._ssl._test_decode_cert(pki.server.certificate_file)  # type: ignore[attr-defined]
    assert lowlevel._test_decode_cert(pki.server.certificate_file) == theirs
    with pytest.raises(TypeError, match="cannot create"):
        lowlevel.Certificate()


# Importing it


def test_importing_it_does_not_import_ssl() -> None:
    code = (
        "import sys, txmembio.ssl; print([name for name in ('ssl', 'asyncio', 'http.client') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_contexts_make_sockets_only_with_it() -> None:
    code = (
        "import socket, txmembio\n"
        "context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER)\n"
        "with socket.socket() as plain:\n"
        "    try:\n"
        "        context.wrap_socket(plain, server_side=True)\n"
        "    except RuntimeError as error:\n"
        "        print(error)\n"
        "    import txmembio.ssl\n"
        "    print(type(context.wrap_socket(plain, server_side=True)).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "wrap_socket() needs `import txmembio.ssl`: the core of txmembio knows no sockets",
        "SSLSocket",
    ]
