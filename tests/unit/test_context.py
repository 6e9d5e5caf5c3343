"""SSLContext: a bare one is the standard library's in every default, and takes and refuses the same values."""

from __future__ import annotations

import gc
import os
import ssl
import sysconfig
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support.pki import PKI
from support.sslobjects import Outcome, outcome
from txmembio.constants import SSLMethod
from txmembio.context import require_context

MODULES = [pytest.param(ssl, id="ssl"), pytest.param(txmembio, id="txmembio")]

same_openssl = pytest.mark.skipif(
    txmembio.OPENSSL_VERSION_NUMBER != ssl.OPENSSL_VERSION_NUMBER,
    reason="the interpreter's ssl runs on another OpenSSL, which has other defaults",
)
usual_python = pytest.mark.skipif(
    sysconfig.get_config_var("PY_SSL_DEFAULT_CIPHERS") not in (1, None),
    reason="the interpreter was configured with other --with-ssl-default-suites than Python's own",
)

USUAL = [SSLMethod.PROTOCOL_TLS, SSLMethod.PROTOCOL_TLS_CLIENT, SSLMethod.PROTOCOL_TLS_SERVER]


def bare(module: Any, protocol: int) -> Any:
    """A context that nobody has configured; both warn of most protocols."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = module.SSLContext(protocol)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # some releases forgive truncation by default; we never do
        return context


# Defaults


@same_openssl
@usual_python
@pytest.mark.parametrize("protocol", list(SSLMethod), ids=lambda protocol: protocol.name)
@pytest.mark.parametrize(
    "name",
    [
        "options",
        "minimum_version",
        "maximum_version",
        "verify_mode",
        "verify_flags",
        "check_hostname",
        "hostname_checks_common_name",
        "security_level",
        "num_tickets",
        "post_handshake_auth",
        "protocol",
        "keylog_filename",
        "sni_callback",
        "get_ciphers",
        "session_stats",
        "cert_store_stats",
        "get_ca_certs",
    ],
)
def test_defaults(protocol: SSLMethod, name: str) -> None:
    theirs, ours = (getattr(bare(module, protocol), name) for module in (ssl, txmembio))
    if callable(theirs):
        theirs, ours = theirs(), ours()
    assert ours == theirs


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("bad", [0, 1, 99, -1, 2**40, "2", 2.0, b"2", [2]], ids=repr)
def test_a_protocol_that_is_none(module: Any, bad: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)) as caught:
        bare(module, bad)
    assert (caught.type is TypeError) == (not isinstance(bad, int))


def test_any_side_is_the_default() -> None:
    for arguments in ((), (None,)):
        with pytest.warns(DeprecationWarning) as told:
            assert txmembio.SSLContext(*arguments).protocol is SSLMethod.PROTOCOL_TLS
        assert "without protocol argument" in str(told[0].message)


@pytest.mark.parametrize("module", MODULES)
def test_a_subclass_may_take_arguments_of_its_own(module: Any) -> None:
    class Mine(module.SSLContext):  # type: ignore[misc]
        """Somebody's own."""

        def __init__(self, protocol: int, extra: str, *, more: int) -> None:
            self.extra = extra, more

    context = Mine(module.PROTOCOL_TLS_CLIENT, "something", more=5)
    assert context.extra == ("something", 5) and context.check_hostname is True


def test_it_tells_what_it_is() -> None:
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    assert repr(context) == "<txmembio.context.SSLContext PROTOCOL_TLS_CLIENT, CERT_REQUIRED>"


# What can be set

#: Values for each attribute: good ones, bad ones and odd ones.
VALUES: dict[str, list[Any]] = {
    "options": [
        0,
        1 << 31,
        1 << 32,
        1 << 64,
        1 << 70,
        True,
        None,
        "1",
        1.5,
        ssl.OP_ALL,
        ssl.OP_NO_TLSv1_3 | ssl.OP_ALL,
    ],
    "verify_mode": [0, 1, 2, 3, -1, True, None, "1", 1.0, ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED],
    "verify_flags": [0, 4, 12, 0x8000, 1 << 19, True, None, "1", 1.5, ssl.VERIFY_X509_STRICT],
    "check_hostname": [True, False, 0, 1, None, "yes", "", []],
    "hostname_checks_common_name": [True, False, 0, 1, None, "yes", ""],
    "minimum_version": [*ssl.TLSVersion, -3, 0, 1, 0x0305, 0x0303, None, "1", 1.5, 771.0],
    "maximum_version": [*ssl.TLSVersion, -3, 0, 1, 0x0305, 0x0303, None, "1", 1.5, 771.0],
    "num_tickets": [0, 1, 2, 100, -1, True, None, "1"],
    "post_handshake_auth": [True, False, 1, None, "yes", []],
    "sni_callback": [None, print, 1, "callback"],
    "keylog_filename": [None, "/there/is/no/such/folder", 1.5, []],
    "security_level": [1],
    "protocol": [2],
}


def set_and_look(context: Any, name: str, value: Any) -> list[Outcome]:
    """What assigning came to, and what the attributes that hang together are afterwards."""
    looked_at = {name, "verify_mode", "check_hostname"}
    return [
        outcome(setattr, context, name, value),
        *(outcome(getattr, context, attribute) for attribute in sorted(looked_at)),
    ]


@same_openssl
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning", "ignore:ssl.OP_NO_:DeprecationWarning")
@pytest.mark.parametrize("protocol", [*USUAL, SSLMethod.PROTOCOL_TLSv1_2], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("name", VALUES)
def test_what_can_be_set(name: str, protocol: SSLMethod) -> None:
    for value in VALUES[name]:
        looks = []
        for module in (ssl, txmembio):
            context = bare(module, protocol)
            if protocol in USUAL:  # the lowest version depends on how Python was configured
                context.minimum_version = txmembio.TLSVersion.TLSv1_2
            looks.append(set_and_look(context, name, value))
        assert looks[1] == looks[0], f"{name} = {value!r}"


@pytest.mark.parametrize(
    ("name", "value"), [("options", -1), ("options", 1 << 64), ("verify_flags", -1), ("verify_flags", 1 << 64)]
)
def test_flags_out_of_range_are_refused_and_change_nothing(name: str, value: int) -> None:
    """The standard library takes some of these for others, by C's arithmetic; which ones depends on its version."""
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER)
    before = getattr(context, name)
    with pytest.raises(OverflowError, match=name):
        setattr(context, name, value)
    assert getattr(context, name) == before


@pytest.mark.parametrize("module", MODULES)
def test_a_name_cannot_be_checked_where_nobody_is_verified(module: Any) -> None:
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    assert context.verify_mode == ssl.CERT_NONE
    context.check_hostname = True
    assert context.verify_mode == ssl.CERT_REQUIRED
    with pytest.raises(ValueError, match="check_hostname"):
        context.verify_mode = ssl.CERT_NONE
    context.verify_mode = ssl.CERT_OPTIONAL
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert context.check_hostname is False


@pytest.mark.parametrize("module", MODULES)
def test_options_are_added_and_taken_away(module: Any) -> None:
    context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    before = context.options
    context.options |= ssl.OP_NO_TICKET
    assert context.options == before | ssl.OP_NO_TICKET
    context.options &= ~ssl.OP_NO_TICKET
    assert context.options == before
    assert isinstance(context.options, module.Options)


def test_the_countermeasure_against_beast_is_on() -> None:
    """SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS is in OpenSSL's SSL_OP_ALL, and not in the standard library's OP_ALL."""
    assert not txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER).options & 0x800
    assert not txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH).options & 0x800


# What methods take


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, pki: PKI) -> Path:
    """A folder with files that are not what they should be, by what they are."""
    folder = tmp_path_factory.mktemp("files")
    combined = Path(pki.server.combined_file).read_bytes()
    certificate = pki.server.certificate
    contents = {
        "empty": b"",
        "garbage": bytes(range(256)) * 3,
        "text": b"hello\n",
        "not-asn1": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "not-base64": b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        "not-asn1-key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "cut": certificate[:200],
        "second-cut": certificate + pki.ca.certificate[:200],
        "der": pki.server.certificate_der,
        "crlf": combined.replace(b"\n", b"\r\n"),
        "text-around": b"before\n" + combined.replace(b"-----BEGIN", b"between\n-----BEGIN") + b"behind\n",
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / "folder").mkdir()
    return folder


def same_for_both(method: str, *arguments: Any, **more: Any) -> Outcome:
    """Calls it on a bare server's context of each, and compares: what was returned, the class of what was raised, and
    what the context holds afterwards. The texts are our own.
    """
    outcomes = []
    for module in (ssl, txmembio):
        context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ECDHE+CHACHA20")  # the default depends on how Python was configured
        came_to = outcome(getattr(context, method), *arguments, **more)
        outcomes.append(
            (
                came_to if came_to[0] == "returned" else came_to[:2],
                context.cert_store_stats(),
                context.get_ca_certs(True),
                [cipher["name"] for cipher in context.get_ciphers()],
            )
        )
    assert outcomes[1] == outcomes[0]
    return outcomes[1][0]


@pytest.mark.parametrize(
    "certfile",
    [
        "none",
        "empty",
        "garbage",
        "text",
        "folder",
        "not-asn1",
        "not-base64",
        "cut",
        "second-cut",
        "der",
        "a\0b",
        "",
        None,
        5,
    ],
    ids=repr,
)
def test_load_cert_chain_with_a_certificate_that_is_none(certfile: Any, files: Path, pki: PKI) -> None:
    path = str(files / certfile) if isinstance(certfile, str) and certfile else certfile
    assert same_for_both("load_cert_chain", path, pki.server.key_file)[0] == "raised"


@pytest.mark.parametrize("keyfile", ["none", "empty", "garbage", "not-asn1-key", "folder", 5], ids=repr)
def test_load_cert_chain_with_a_key_that_is_none(keyfile: Any, files: Path, pki: PKI) -> None:
    path = str(files / keyfile) if isinstance(keyfile, str) else keyfile
    assert same_for_both("load_cert_chain", pki.server.chain_file, path)[0] == "raised"


@same_openssl
def test_load_cert_chain_with_files_that_will_do(files: Path, pki: PKI) -> None:
    for arguments in (
        (pki.server.combined_file,),
        (pki.server.chain_file, pki.server.key_file),
        (os.fsencode(pki.server.chain_file), os.fsencode(pki.server.key_file)),
        (Path(pki.server.chain_file), Path(pki.server.key_file)),
        (files / "crlf",),
        (files / "text-around",),
        (pki.encrypted.chain_file, pki.encrypted.key_file, pki.encrypted.password),
    ):
        assert same_for_both("load_cert_chain", *arguments) == ("returned", None)


@same_openssl
@pytest.mark.parametrize(
    "ciphers",
    [
        "ECDHE+AESGCM",
        "ALL",
        "@SECLEVEL=0:ALL",
        "AES128-SHA",
        "AES128:none-such",
        "",
        "none-such",
        "TLS_AES_128_GCM_SHA256",
        "\xfc",
        "AES128\0",
        b"AES128",
        None,
        5,
    ],
    ids=repr,
)
def test_set_ciphers(ciphers: Any) -> None:
    same_for_both("set_ciphers", ciphers)


@pytest.mark.parametrize("curve", ["prime256v1", b"secp384r1", "", "none-such", "X25519\0", None, 5], ids=repr)
def test_set_ecdh_curve(curve: Any) -> None:
    same_for_both("set_ecdh_curve", curve)


@pytest.mark.parametrize("path", ["none", "empty", "garbage", "not-asn1", "folder", None, 5], ids=repr)
def test_load_dh_params_from_what_holds_none(path: Any, files: Path) -> None:
    assert same_for_both("load_dh_params", str(files / path) if isinstance(path, str) else path)[0] == "raised"


@pytest.mark.parametrize(
    "protocols",
    [[], ["h2"], ("h2", "http/1.1"), ["x" * 255], ["x" * 256], [""], ["h2", ""], None, 5, [5], [None]],
    ids=lambda value: repr(value)[:20],
)
def test_set_alpn_protocols(protocols: Any) -> None:
    same_for_both("set_alpn_protocols", protocols)


@pytest.mark.parametrize("bad", ["h2", b"h2"])
def test_alpn_protocols_are_a_list_and_no_text(bad: Any) -> None:
    """The standard library takes the letters for protocols."""
    with pytest.raises(TypeError, match="expected a list"):
        txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT).set_alpn_protocols(bad)


def test_an_alpn_list_that_no_client_hello_can_hold() -> None:
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["x" * 254] * 256)
    assert context.alpn_protocols == ["x" * 254] * 256
    with pytest.raises(txmembio.SSLError, match="65536 bytes, expected at most 65533"):
        context.set_alpn_protocols(["x" * 255] * 256)
    assert context.alpn_protocols == ["x" * 254] * 256


@pytest.mark.parametrize("purpose", [None, 5, "SERVER_AUTH"], ids=repr)
def test_load_default_certs_for_no_purpose(purpose: Any) -> None:
    assert same_for_both("load_default_certs", purpose) == ("raised", "TypeError")


# What only ours can do


def test_settings_that_the_standard_library_has_not() -> None:
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    context.set_ciphersuites("TLS_AES_128_GCM_SHA256")
    names = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.3"]
    assert names == ["TLS_AES_128_GCM_SHA256"]
    context.set_groups("X25519:P-256")
    context.set_signature_algorithms("ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256")


@pytest.mark.parametrize("method", ["set_ciphersuites", "set_groups", "set_signature_algorithms"])
@pytest.mark.parametrize("bad", ["", "none-such", "X25519\0", b"X25519", None, 5], ids=repr)
def test_names_of_algorithms_that_are_none(method: str, bad: Any) -> None:
    expected: tuple[type[Exception], ...] = (ValueError, txmembio.SSLError) if isinstance(bad, str) else (TypeError,)
    with pytest.raises(expected):
        getattr(txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER), method)(bad)


@pytest.mark.parametrize("method", ["set_alpn_callback", "set_verify_callback"])
def test_a_callback_is_callable_or_none(method: str) -> None:
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER)
    with pytest.raises(TypeError, match="callable"):
        getattr(context, method)("a callback")
    getattr(context, method)(None)


# require_context()


def test_a_context_of_ours_is_returned() -> None:
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER)
    assert require_context(context, "the context") is context


def test_one_of_the_standard_librarys_is_refused_and_the_text_says_what_to_pass() -> None:
    class Mine(ssl.SSLContext):
        """Somebody's own."""

    for context in (
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        Mine(ssl.PROTOCOL_TLS_CLIENT),
        ssl.create_default_context(),
    ):
        with pytest.raises(TypeError) as caught:
            require_context(context, "ssl_options")
        assert str(caught.value).startswith("ssl_options is the standard library's ")
        assert type(context).__qualname__ in str(caught.value)
        assert "expected a txmembio.SSLContext" in str(caught.value)
        assert "txmembio.create_default_context()" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [None, "a context", {"certfile": "cert.pem"}, txmembio.SSLContext, 5], ids=repr)
def test_anything_else_is_refused_by_name_and_value(bad: object) -> None:
    with pytest.raises(TypeError) as caught:
        require_context(bad, "contextFactory")
    assert str(caught.value).startswith(f"contextFactory is {bad!r}")
    assert str(caught.value).endswith("expected a txmembio.SSLContext")


# Connections of a context


@pytest.mark.parametrize(
    ("protocol", "arguments", "error"),
    [
        (txmembio.PROTOCOL_TLS_CLIENT, {}, "check_hostname requires server_hostname"),
        (txmembio.PROTOCOL_TLS_CLIENT, {"server_side": True}, "Cannot create a server"),
        (txmembio.PROTOCOL_TLS_SERVER, {}, "Cannot create a client"),
        (txmembio.PROTOCOL_TLS_SERVER, {"server_side": True, "server_hostname": "a.example"}, "only .* in client mode"),
        (txmembio.PROTOCOL_TLS, {"server_side": True, "server_hostname": "a.example"}, "only .* in client mode"),
        (txmembio.PROTOCOL_TLS_CLIENT, {"server_hostname": "a.example", "session": b"bytes"}, "not a SSLSession"),
    ],
)
def test_a_connection_for_the_wrong_side(protocol: int, arguments: dict[str, Any], error: str) -> None:
    with pytest.raises((ValueError, TypeError, txmembio.SSLError), match=error):
        bare(txmembio, protocol).connection(**arguments)


def test_a_context_is_freed_with_the_last_of_its_connections(pki: PKI) -> None:
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.combined_file)
    context.sni_callback = lambda *_: None
    context.set_alpn_callback(lambda offered: offered[0])
    gone = weakref.ref(context)
    connection = context.connection(server_side=True)
    del context
    gc.collect()
    assert gone() is not None
    del connection
    assert gone() is None  # at once: neither is part of a cycle
