"""`txmembio.OpenSSL` has every public name of pyOpenSSL, with its values and arguments, or says that it has not.

What pyOpenSSL has is written down in test_OpenSSL_names.json. This file writes that, in an environment that has
pyOpenSSL:

    python tests/unit/test_OpenSSL_names.py > 26.4.0.json

The table is the newest release's; `older` in it is what a release of before had besides.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

#: Modules without a leading underscore that programs import.
MODULES = ["SSL", "crypto", "rand", "version"]


def parameters(function: Any) -> list[str]:
    """Its parameters without annotations: ["self", "socket=None", "*", "as_cryptography=False"]."""
    signature = inspect.signature(function)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return [part.strip() for part in str(inspect.Signature(bare)).strip("()").split(", ") if part]


def public(names: Any) -> list[str]:
    return sorted(name for name in names if not name.startswith("_"))


def described(value: Any) -> Any:
    """A class as its bases and attributes, a function as its parameters, a number as itself, the rest as its type."""
    if isinstance(value, type):
        inherited = dir(Exception if issubclass(value, Exception) else object)
        names = public(set(dir(value)).difference(inherited))
        own = {name: described(inspect.getattr_static(value, name)) for name in names}
        constructor = parameters(vars(value)["__init__"]) if "__init__" in vars(value) else None
        return {"bases": [base.__name__ for base in value.__mro__[1:-1]], "init": constructor, "attributes": own}
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if callable(value) and not isinstance(value, type):
        return parameters(value)
    return value if isinstance(value, int) else type(value).__name__


def table(package: str) -> dict[str, Any]:
    """What the modules of `package` have in public."""
    warnings.simplefilter("ignore")
    found = {}
    for name in MODULES:
        module = import_module(f"{package}.{name}")
        defined = [each for each, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        names = getattr(module, "__all__", None) or public(defined)
        own = {each: getattr(module, each) for each in sorted(names)}
        found[name] = {each: described(value) for each, value in own.items()}
    return found


if __name__ == "__main__":
    json.dump(table("OpenSSL"), sys.stdout, indent=1, sort_keys=True)
    raise SystemExit


import pytest  # noqa: E402

import txmembio.OpenSSL._util  # noqa: E402
from txmembio import OPENSSL_BUILD_VERSION_NUMBER  # noqa: E402

RECORDED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

#: Numbers that say what was built, and are another build's.
OF_THE_BUILD = {"SSL.OPENSSL_VERSION_NUMBER"}

#: Objects that are of a class with another name here.
OTHER_TYPES = {"SSL.NO_OVERLAPPING_PROTOCOLS"}


def names() -> Iterator[tuple[str, Any]]:
    for module, contents in RECORDED["newest"].items():
        for name, what in contents.items():
            yield f"{module}.{name}", what
            if isinstance(what, dict):
                yield from ((f"{module}.{name}.{each}", member) for each, member in what["attributes"].items())


def ours(path: str) -> Any:
    module, *rest = path.split(".")
    value: Any = import_module(f"txmembio.OpenSSL.{module}")
    for name in rest:
        value = inspect.getattr_static(value, name) if isinstance(value, type) else getattr(value, name)
    return value


def is_absent(value: Any) -> bool:
    return hasattr(value, "__not_implemented__")


@pytest.mark.parametrize(("path", "recorded"), list(names()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_public_name_is_there_as_it_is_or_says_that_it_is_not(path: str, recorded: Any) -> None:
    value = ours(path)
    if is_absent(value):
        assert_says_so(value, path)
        return
    mine = described(value)
    if isinstance(recorded, dict):
        assert [base for base in mine["bases"] if not base.startswith("_")] == recorded["bases"]
        if recorded["init"] is not None:
            assert mine["init"] == recorded["init"]
    elif path in OF_THE_BUILD:
        assert mine == OPENSSL_BUILD_VERSION_NUMBER
    elif path not in OTHER_TYPES:
        assert mine == recorded


def assert_says_so(value: Callable[..., Any], path: str) -> None:
    with pytest.raises(NotImplementedError, match=path.replace(".", r"\.")) as raised:
        value()
    assert "issue tracker" in str(raised.value)


@pytest.mark.parametrize("path", RECORDED["older"])
def test_names_that_pyopenssl_has_since_removed(path: str) -> None:
    """What programs still use is there; what has a better place says so. A class that is not here has no methods."""
    owner = path.rpartition(".")[0]
    if owner not in MODULES and is_absent(ours(owner)):
        return
    value = ours(path)
    if is_absent(value):
        assert_says_so(value, path)


@pytest.mark.parametrize("method", ["DTLS_METHOD", "DTLS_SERVER_METHOD", "DTLS_CLIENT_METHOD", "SSLv3_METHOD"])
def test_methods_that_are_not_here(method: str) -> None:
    with pytest.raises(NotImplementedError, match=f"SSL\\.{method}.*issue tracker"):
        txmembio.OpenSSL.SSL.Context(ours(f"SSL.{method}"))


def test_functions_of_openssl_itself_are_not_passed_through() -> None:
    with pytest.raises(NotImplementedError, match=r"_util\.lib\.SSL_CTX_set_ecdh_auto.*issue tracker"):
        txmembio.OpenSSL._util.lib.SSL_CTX_set_ecdh_auto  # noqa: B018
    assert not hasattr(txmembio.OpenSSL._util.lib, "SSL_get_server_tmp_key")  # how programs find out
    assert getattr(txmembio.OpenSSL._util.lib, "Cryptography_HAS_SSL_ST", None) is None


def test_a_name_in_its_old_notation_through_the_private_functions() -> None:
    lib, ffi = txmembio.OpenSSL._util.lib, txmembio.OpenSSL._util.ffi
    certificate = txmembio.OpenSSL.crypto.X509()
    certificate.get_subject().CN = "example"
    room = ffi.new("char[]", 512)
    assert lib.X509_NAME_oneline(certificate.get_subject()._name, room, len(room)) == room
    assert ffi.string(room) == b"/CN=example"


def test_the_page_lists_what_is_absent_and_nothing_else() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pyopenssl.md").read_text(encoding="utf-8")
    section = page.partition("## What is not there")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`((?:SSL|crypto)\.[\w.]+)`", section))
    older = [path for path in RECORDED["older"] if path.rpartition(".")[0] in MODULES]
    absent = {path for path in [*dict(names()), *older] if is_absent(ours(path))}
    assert listed == absent | {"SSL.DTLS_METHOD", "SSL.DTLS_SERVER_METHOD", "SSL.DTLS_CLIENT_METHOD"}
