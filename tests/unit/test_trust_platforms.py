"""The roots of platforms that are not this one. Only the calls of the operating system are stand-ins here: crypt32.dll
is one that keeps its stores in this process's memory, and truststore one that decides as it is told. What the real ones
answer has to be seen on Windows and on macOS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import txmembio
from support import pair
from support.pair import Pair
from support.pki import PKI, Credential
from txmembio import trust, winstore

SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
CODE_SIGNING = "1.3.6.1.5.5.7.3.3"


@pytest.fixture(autouse=True)
def nothing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment names no places, and OpenSSL's own hold nothing."""
    for variable in trust.default_verify_variables():
        monkeypatch.delenv(variable, raising=False)
    paths = str(tmp_path / "no-file"), str(tmp_path / "no-folder")
    monkeypatch.setattr(trust, "default_verify_paths", lambda: paths)


def client_context(purpose: txmembio.Purpose = txmembio.Purpose.SERVER_AUTH) -> txmembio.SSLContext:
    """A client's that trusts the platform alone."""
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    context.load_default_certs(purpose)
    return context


def handshake(
    context: txmembio.SSLContext, pki: PKI, server: Credential | None = None, name: str = "localhost"
) -> Pair:
    ends = pair.unconnected(context, pair.server_context(pki, credential=server), server_hostname=name)
    ends.attempt_handshake()
    return ends


def refusal(context: txmembio.SSLContext, pki: PKI, server: Credential | None = None, name: str = "localhost") -> int:
    """The verify code of the error."""
    ends = handshake(context, pki, server, name)
    assert isinstance(ends.client.error, txmembio.SSLCertVerificationError)
    assert ends.server.error.alert_received
    code: int = ends.client.error.verify_code
    return code


# Systems whose OpenSSL looks elsewhere


def test_a_folder_of_certificates_under_any_names(pki: PKI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    (folder / "a-folder").mkdir(parents=True)
    (folder / "readme").write_bytes(b"no certificate")
    (folder / "root.0").write_bytes(pki.ca.certificate)
    (folder / "other.0").write_bytes(pki.untrusted_ca.certificate_der)
    monkeypatch.setattr(trust, "WELL_KNOWN_BUNDLES", (str(tmp_path / "none"),))
    monkeypatch.setattr(trust, "WELL_KNOWN_FOLDERS", (str(tmp_path / "none"), str(tmp_path), str(folder)))
    context = client_context()
    assert {pki.ca.certificate_der, pki.untrusted_ca.certificate_der} <= set(context.get_ca_certs(binary_form=True))
    assert handshake(context, pki).complete


def test_no_roots_anywhere(pki: PKI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trust, "WELL_KNOWN_BUNDLES", ())
    monkeypatch.setattr(trust, "WELL_KNOWN_FOLDERS", (str(tmp_path / "none"),))
    assert refusal(client_context(), pki) == 20


def test_a_default_folder_without_hashed_names_is_no_use(
    pki: PKI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder with a bundle in it, for an OpenSSL that takes it for a folder of certificates."""
    (tmp_path / "ca-certificates.crt").write_bytes(pki.ca.certificate)
    monkeypatch.setattr(trust, "default_verify_paths", lambda: (str(tmp_path / "none"), str(tmp_path)))
    monkeypatch.setattr(trust, "WELL_KNOWN_BUNDLES", (str(tmp_path / "ca-certificates.crt"),))
    assert handshake(client_context(), pki).complete
    (tmp_path / "0123abcd.0").write_bytes(pki.untrusted_ca.certificate)
    assert refusal(client_context(), pki) == 20


def test_every_well_known_place_is_named_once() -> None:
    for places in (trust.WELL_KNOWN_BUNDLES, trust.WELL_KNOWN_FOLDERS):
        assert len(set(places)) == len(places) and all(place.startswith("/") for place in places)


# macOS


class Keychain:
    """truststore's function that asks macOS for its verdict; this one takes `roots` for what macOS trusts."""

    def __init__(self, *roots: bytes) -> None:
        self.roots = [txmembio.Certificate.from_der(root) for root in roots]
        self.asked: list[tuple[Any, list[bytes], str | None]] = []

    def __call__(self, ssl_context: Any, cert_chain: list[bytes], server_hostname: str | None = None) -> None:
        self.asked.append((ssl_context, cert_chain, server_hostname))
        last = txmembio.Certificate.from_der(cert_chain[-1])
        if not any(root == last or last.is_issued_by(root) for root in self.roots):
            raise txmembio.SSLCertVerificationError(1, "the keychain does not trust it")


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this a Mac, with or without the packages."""

    def install(truststore: Keychain | None = None, certifi: str | None = None) -> None:
        monkeypatch.setattr(trust, "PLATFORM", "darwin")
        modules: dict[str, Any] = {"truststore": None, "truststore._api": None, "certifi": None}
        if truststore is not None:
            modules["truststore"], api = ModuleType("truststore"), ModuleType("truststore._api")
            api._verify_peercerts_impl = truststore  # type: ignore[attr-defined]
            modules["truststore._api"] = api
        if certifi is not None:
            modules["certifi"] = ModuleType("certifi")
            modules["certifi"].where = lambda: certifi
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)  # None: it cannot be imported

    return install


def test_the_keychain_decides_on_chains(pki: PKI, on_a_mac: Any, tls_version: txmembio.TLSVersion) -> None:
    keychain = Keychain(pki.ca.certificate_der)
    on_a_mac(keychain)
    context = client_context()
    context.minimum_version = context.maximum_version = tls_version
    ends = handshake(context, pki)
    assert ends.complete
    (asked, chain, name) = keychain.asked[0]
    assert asked is context and name is None and chain == pki.server.chain_der
    assert ends.client.connection.getpeercert()
    refused = handshake(context, pki, pki.untrusted).client.error
    assert isinstance(refused, txmembio.SSLCertVerificationError) and refused.alert == "unknown_ca"


def test_openssl_still_decides_on_the_rest(pki: PKI, on_a_mac: Any) -> None:
    """Names, dates, and signatures that the chain itself has to bear out."""
    on_a_mac(Keychain(pki.ca.certificate_der))
    context = client_context()
    assert refusal(context, pki, pki.expired) == 10
    assert refusal(context, pki, pki.not_yet_valid) == 9
    assert refusal(context, pki, name="example.com") == 62
    assert refusal(context, pki, name="192.0.2.1") == 64
    assert handshake(context, pki, name="127.0.0.1").complete


def test_what_is_loaded_besides_is_trusted_without_the_keychain(pki: PKI, on_a_mac: Any) -> None:
    keychain = Keychain()
    on_a_mac(keychain)
    context = client_context()
    assert refusal(context, pki) == 20
    assert len(keychain.asked) == 1
    context.load_verify_locations(pki.ca.certificate_file)
    assert handshake(context, pki).complete
    assert len(keychain.asked) == 1


def test_a_verify_callback_sees_the_keychains_verdict(pki: PKI, on_a_mac: Any) -> None:
    on_a_mac(Keychain(pki.ca.certificate_der))
    context = client_context()
    seen: list[tuple[int, int]] = []

    def remember(certificate: txmembio.Certificate, depth: int, error: int) -> bool:
        seen.append((depth, error))
        return error == 0

    context.set_verify_callback(remember)
    assert handshake(context, pki).complete and seen and all(error == 0 for _, error in seen)
    seen.clear()
    assert refusal(context, pki, pki.untrusted) in (19, 20) and any(error for _, error in seen)
    context.set_verify_callback(None)
    assert handshake(context, pki).complete


def test_a_self_signed_certificate_in_the_keychain(pki: PKI, on_a_mac: Any) -> None:
    """Like a root that the server sends along."""
    root = pki.ca
    with_root = Credential(
        pki.server.certificate,
        pki.server.chain + root.certificate,
        pki.server.private_key,
        None,
        *[""] * 4,
    )
    on_a_mac(Keychain(root.certificate_der))
    assert handshake(client_context(), pki, with_root).complete
    on_a_mac(Keychain(pki.untrusted_ca.certificate_der))
    assert refusal(client_context(), pki, with_root) == 19


def test_another_failure_of_truststore_refuses(pki: PKI, on_a_mac: Any) -> None:
    def broken(*arguments: Any, **more: Any) -> None:
        raise RuntimeError("macOS is in a bad mood")

    on_a_mac(broken)
    error = handshake(client_context(), pki).client.error
    assert isinstance(error, txmembio.SSLError) and "bad mood" in str(error.__cause__)


def test_certifi_where_there_is_no_truststore(pki: PKI, on_a_mac: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_mac(certifi=pki.ca.certificate_file)
    assert handshake(client_context(), pki).complete
    # A truststore whose insides have changed is none.
    on_a_mac(Keychain(), certifi=pki.ca.certificate_file)
    monkeypatch.delattr(sys.modules["truststore._api"], "_verify_peercerts_impl")
    assert handshake(client_context(), pki).complete


def test_a_mac_with_neither_says_so(on_a_mac: Any, tmp_path: Path) -> None:
    on_a_mac()
    with pytest.raises(NotImplementedError, match="expected the package truststore, or certifi, to be installed"):
        client_context()
    with pytest.raises(NotImplementedError, match="SSL_CERT_FILE to be set"):
        txmembio.create_default_context()
    (tmp_path / "no-file").write_bytes(b"")  # a bundle of OpenSSL's own, such as Homebrew's
    client_context()


def test_a_place_that_is_named_comes_before_the_keychain(
    pki: PKI, on_a_mac: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keychain = Keychain(pki.untrusted_ca.certificate_der)
    on_a_mac(keychain)
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca.certificate_file)
    context = client_context()
    assert handshake(context, pki).complete and refusal(context, pki, pki.untrusted) in (19, 20)
    assert not keychain.asked


# Windows


class Crypt32:
    """crypt32.dll, with stores in memory: {store: [(data, encoding, purposes or None for all)]}, {store: [crl]}."""

    ERROR_FILE_NOT_FOUND = 2

    def __init__(
        self,
        certificates: dict[str, list[tuple[bytes, int, set[str] | None]]],
        crls: dict[str, list[bytes]] | None = None,
    ) -> None:
        self.certificates = certificates
        self.crls = crls or {}
        self.error = 0
        self.open: list[Any] = []
        self.borrowed: list[Any] = []
        self.flags: list[int] = []
        self._kept: list[Any] = []

    def last_error(self) -> tuple[int, str]:
        return self.error, "The system cannot find the file specified"

    def CertOpenStore(self, provider: int, encoding: int, unused: int, flags: int, name: Any) -> Any:
        text = winstore.ffi.string(name)
        assert (provider, encoding, unused) == (10, 0, 0)
        self.flags.append(flags)
        if text not in self.certificates:
            self.error = self.ERROR_FILE_NOT_FOUND
            return winstore.ffi.NULL
        handle = winstore.ffi.new_handle(text)
        self.open.append(handle)
        return handle

    def CertCloseStore(self, store: Any, flags: int) -> int:
        self.open.remove(store)
        return 1

    def CertEnumCertificatesInStore(self, store: Any, previous: Any) -> Any:
        entries = self.certificates[winstore.ffi.from_handle(store)]
        return self._next("CERT_CONTEXT *", entries, previous)

    def CertEnumCRLsInStore(self, store: Any, previous: Any) -> Any:
        entries = [(data, 1, None) for data in self.crls.get(winstore.ffi.from_handle(store), [])]
        return self._next("CRL_CONTEXT *", entries, previous)

    def _next(self, kind: str, entries: Any, previous: Any) -> Any:
        at = 0
        if previous != winstore.ffi.NULL:
            self.borrowed.remove(previous)
            at = winstore.ffi.from_handle(previous.hCertStore)[0] + 1
        if at == len(entries):
            self.error = winstore.CRYPT_E_NOT_FOUND  # as it says at the end of a store
            return winstore.ffi.NULL
        data, encoding, purposes = entries[at]
        place = winstore.ffi.new_handle([at, purposes])
        room = winstore.ffi.new("uint8_t[]", data)
        self._kept += [place, room, winstore.ffi.from_handle(place)]
        entry = winstore.ffi.new(kind, [encoding, room, len(data), winstore.ffi.NULL, place])
        self.borrowed.append(entry)
        return entry

    def CertFreeCertificateContext(self, entry: Any) -> int:
        self.borrowed.remove(entry)
        return 1

    CertFreeCRLContext = CertFreeCertificateContext

    def CertGetEnhancedKeyUsage(self, certificate: Any, flags: int, usage: Any, size: Any) -> int:
        assert flags == 0
        purposes = winstore.ffi.from_handle(certificate.hCertStore)[1]
        self.error = winstore.CRYPT_E_NOT_FOUND if purposes is None else 0
        size[0] = winstore.ffi.sizeof("CERT_ENHKEY_USAGE") + 40 * len(purposes or ())
        if usage != winstore.ffi.NULL:
            texts = [winstore.ffi.new("char[]", each.encode()) for each in sorted(purposes or ())]
            array = winstore.ffi.new("char *[]", texts)
            self._kept += [texts, array]
            usage.cUsageIdentifier, usage.rgpszUsageIdentifier = len(texts), array
        return 1


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this a Windows with such stores."""

    def install(*arguments: Any) -> Crypt32:
        crypt32 = Crypt32(*arguments)
        monkeypatch.setattr(trust, "PLATFORM", "win32")
        monkeypatch.setattr(winstore, "_crypt32", lambda: crypt32)
        monkeypatch.setattr(winstore, "_last_error", crypt32.last_error)
        return crypt32

    return install


def test_enum_certificates_gives_what_the_standard_library_does(on_windows: Any) -> None:
    stores = {
        "ROOT": [
            (b"one", 1, None),
            (b"two", 1, {SERVER_AUTH, CLIENT_AUTH}),
            (b"three", 0x10000, set()),
            (b"two", 1, {SERVER_AUTH, CLIENT_AUTH}),
            (b"four", 7, None),
        ],
        "MY": [],
    }
    crypt32 = on_windows(stores)
    assert winstore.enum_certificates("ROOT") == [
        (b"one", "x509_asn", True),
        (b"two", "x509_asn", frozenset({SERVER_AUTH, CLIENT_AUTH})),
        (b"three", "pkcs_7_asn", frozenset()),
        (b"four", 7, True),
    ]
    assert winstore.enum_certificates("MY") == []
    assert not crypt32.open and not crypt32.borrowed
    # Read-only; and only what every user has may be made anew: a look must not leave an empty store behind.
    assert {flags & 0xC000 for flags in crypt32.flags} == {0x8000}
    crypt32.certificates["Mine"] = []
    assert winstore.enum_certificates("Mine") == [] and crypt32.flags[-1] & 0xC000 == 0xC000


def test_enum_crls(on_windows: Any) -> None:
    crypt32 = on_windows({"CA": []}, {"CA": [b"list", b"another", b"list"]})
    assert winstore.enum_crls("CA") == [(b"list", "x509_asn"), (b"another", "x509_asn")]
    assert not crypt32.open and not crypt32.borrowed


@pytest.mark.parametrize("call", [winstore.enum_certificates, winstore.enum_crls])
def test_a_store_that_does_not_exist(on_windows: Any, call: Callable[[Any], object]) -> None:
    on_windows({})
    with pytest.raises(OSError, match="opening the Windows certificate store 'NONE': The system cannot find"):
        call("NONE")
    with pytest.raises(TypeError, match="store_name is None, expected the name of a store"):
        call(None)


def test_an_error_on_the_way_leaves_nothing_open(on_windows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    crypt32 = on_windows({"ROOT": [(b"one", 1, None), (b"two", 1, None)]})

    def fail(*arguments: Any) -> int:
        crypt32.error = 5
        return 0

    monkeypatch.setattr(crypt32, "CertGetEnhancedKeyUsage", fail)
    with pytest.raises(OSError, match="reading a certificate's purposes"):
        winstore.enum_certificates("ROOT")
    assert not crypt32.open and not crypt32.borrowed


def test_the_windows_store_is_trusted(pki: PKI, on_windows: Any) -> None:
    root, other = pki.ca.certificate_der, pki.untrusted_ca.certificate_der
    for roots, ok in (
        ([(root, 1, None)], True),
        ([(b"nonsense", 1, None), (root, 1, {SERVER_AUTH, CODE_SIGNING})], True),
        ([(root, 1, {CODE_SIGNING})], False),
        ([(root, 1, set())], False),
        ([(root, 0x10000, None)], False),
        ([(other, 1, None)], False),
        ([], False),
    ):
        on_windows({"CA": [], "ROOT": roots})
        assert handshake(client_context(), pki).complete == ok
    on_windows({"CA": [(pki.intermediate.certificate_der, 1, {SERVER_AUTH})], "ROOT": [(root, 1, {CLIENT_AUTH})]})
    assert refusal(client_context(), pki) == 2
    assert handshake(client_context(txmembio.Purpose.CLIENT_AUTH), pki).complete


def test_nobody_else_needs_the_declarations_of_windows() -> None:
    program = "import sys, txmembio; txmembio.create_default_context(); print('txmembio.winstore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
