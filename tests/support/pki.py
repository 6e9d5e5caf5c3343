"""A small public-key infrastructure, made anew for each test session: nothing with an expiry date is checked in.

Everything is lazy: a credential is made, and its files written, the first time a test asks for it. Use the session
fixture `pki`:

    def test_it(pki):
        context.load_cert_chain(pki.server.chain_file, pki.server.key_file)     # paths
        context.use_cert_chain(pki.server.chain, pki.server.private_key)        # the same as PEM bytes
        client.load_verify_locations(cafile=pki.ca.certificate_file)
        other = pki.issue("a.example")                                          # as many more as a test needs
        folder = pki.pem_folder("a.example", "b.example")                       # for `membiotls:/that/folder:8443`
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from trustme import KeyType

#: What every certificate for this host carries, so that a client may connect by name or by either loopback address.
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

#: The password of `PKI.encrypted`'s key.
PASSWORD = b"correct horse"

#: A date safely before and after any run: a day, so that a wrong time zone cannot change the verdict.
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Credential:
    """A certificate, its key and its chain: as PEM bytes, and as files with the same contents (paths are `str`)."""

    certificate: bytes
    """The leaf alone, PEM."""
    chain: bytes
    """The leaf and then the intermediates, PEM, as a server sends them."""
    private_key: bytes
    """The key, PEM; encrypted when `password` is set."""
    password: bytes | None
    certificate_file: str
    chain_file: str
    key_file: str
    combined_file: str
    """Key and chain in one file, as `certificate=` takes it."""

    @property
    def certificate_der(self) -> bytes:
        """The leaf, DER: what `getpeercert(binary_form=True)` answers."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.decode("ascii"))

    @property
    def private_key_der(self) -> bytes:
        """The key, DER (PKCS#8, unencrypted)."""
        key = serialization.load_pem_private_key(self.private_key, self.password)
        return key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def chain_der(self) -> list[bytes]:
        """The leaf and then the intermediates, DER: what `get_unverified_chain()` answers."""
        marker = b"-----END CERTIFICATE-----\n"
        blocks = [block + marker for block in self.chain.split(marker) if block.strip()]
        return [ssl.PEM_cert_to_DER_cert(block.decode("ascii")) for block in blocks]


@dataclass(frozen=True)
class Authority:
    """A certificate authority: what a test trusts, or does not."""

    ca: trustme.CA
    certificate: bytes
    """PEM."""
    certificate_file: str

    @property
    def certificate_der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.certificate.decode("ascii"))


class PKI:
    """The credentials of one test session, in `folder`. All leaves come from `intermediate`, which `ca` signed, unless
    said otherwise.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # Authorities

    @cached_property
    def ca(self) -> Authority:
        """The root that tests trust."""
        return self._authority("ca", trustme.CA(organization_name="txmembio tests", key_type=KeyType.ECDSA))

    @cached_property
    def intermediate(self) -> Authority:
        """Signed by `ca`; sent by servers, trusted by nobody in itself."""
        return self._authority("intermediate", self.ca.ca.create_child_ca(key_type=KeyType.ECDSA))

    @cached_property
    def untrusted_ca(self) -> Authority:
        """A root that nobody trusts."""
        return self._authority("untrusted-ca", trustme.CA(organization_name="Nobody", key_type=KeyType.ECDSA))

    @cached_property
    def roots(self) -> str:
        """A folder with `ca` in it, as `trustRoots=` takes one."""
        folder = self._subfolder("roots")
        (folder / "ca.pem").write_bytes(self.ca.certificate)
        return str(folder)

    # Credentials

    @cached_property
    def server(self) -> Credential:
        """This host's: `LOCAL_NAMES`, an EC key."""
        return self.issue(*LOCAL_NAMES, name="server")

    @cached_property
    def server_rsa(self) -> Credential:
        """This host's, with an RSA key (2048 bits)."""
        return self.issue(*LOCAL_NAMES, name="server-rsa", key_type=KeyType.RSA)

    @cached_property
    def encrypted(self) -> Credential:
        """`server`, its key encrypted with `PASSWORD`."""
        key = serialization.load_pem_private_key(self.server.private_key, None)
        encrypted = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSWORD),
        )
        return self._credential("encrypted", self.server.certificate, self.server.chain, encrypted, PASSWORD)

    @cached_property
    def wildcard(self) -> Credential:
        """For `*.example.com`, and no other name."""
        return self.issue("*.example.com", name="wildcard")

    @cached_property
    def wrong_name(self) -> Credential:
        """Good, but for `wrong.example`: never for this host."""
        return self.issue("wrong.example", name="wrong-name")

    @cached_property
    def expired(self) -> Credential:
        """This host's, expired a day ago."""
        now = datetime.now(timezone.utc)
        return self.issue(*LOCAL_NAMES, name="expired", not_before=now - 30 * ONE_DAY, not_after=now - ONE_DAY)

    @cached_property
    def not_yet_valid(self) -> Credential:
        """This host's, good from tomorrow."""
        now = datetime.now(timezone.utc)
        return self.issue(*LOCAL_NAMES, name="not-yet-valid", not_before=now + ONE_DAY, not_after=now + 30 * ONE_DAY)

    @cached_property
    def untrusted(self) -> Credential:
        """This host's, from `untrusted_ca`."""
        return self.issue(*LOCAL_NAMES, name="untrusted", authority=self.untrusted_ca)

    @cached_property
    def client(self) -> Credential:
        """A client's: `client@example.com`, common name `a client`. From `ca` itself: Twisted's `tls:` endpoint sends
        no intermediates.
        """
        return self.issue("client@example.com", name="client", common_name="a client", authority=self.ca)

    @cached_property
    def untrusted_client(self) -> Credential:
        """A client's, from `untrusted_ca`."""
        return self.issue("client@example.com", name="untrusted-client", authority=self.untrusted_ca)

    @cached_property
    def mismatched(self) -> Credential:
        """`server`'s certificate with `client`'s key."""
        return self._credential(
            "mismatched", self.server.certificate, self.server.chain, self.client.private_key, password=None
        )

    # Making more

    def issue(
        self,
        *identities: str,
        name: str | None = None,
        authority: Authority | None = None,
        common_name: str | None = None,
        key_type: KeyType = KeyType.ECDSA,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Credential:
        """A new credential for `identities` (host names, addresses, mail addresses), its files called after `name` or
        the first of them.
        """
        leaf = (authority or self.intermediate).ca.issue_cert(
            *identities, common_name=common_name, key_type=key_type, not_before=not_before, not_after=not_after
        )
        blocks = [blob.bytes() for blob in leaf.cert_chain_pems]
        return self._credential(
            name or identities[0], blocks[0], b"".join(blocks), leaf.private_key_pem.bytes(), password=None
        )

    def pem_folder(self, *names: str) -> str:
        """A folder of `<name>.pem` files, key and chain in each, as `tls:` and `membiotls:` read one."""
        folder = self._subfolder("pems")
        for name in names:
            credential = self.issue(name)
            (folder / f"{name}.pem").write_bytes(credential.private_key + credential.chain)
        return str(folder)

    def _authority(self, name: str, ca: trustme.CA) -> Authority:
        path = self.folder / f"{name}.pem"
        pem = ca.cert_pem.bytes()
        path.write_bytes(pem)
        return Authority(ca, pem, str(path))

    def _credential(
        self, name: str, certificate: bytes, chain: bytes, private_key: bytes, password: bytes | None
    ) -> Credential:
        folder = self._subfolder(name.replace("*", "_").replace(":", "_"))

        def write(filename: str, contents: bytes) -> str:
            (folder / filename).write_bytes(contents)
            return str(folder / filename)

        return Credential(
            certificate,
            chain,
            private_key,
            password,
            certificate_file=write("certificate.pem", certificate),
            chain_file=write("chain.pem", chain),
            key_file=write("key.pem", private_key),
            combined_file=write("combined.pem", private_key + chain),
        )

    def _subfolder(self, name: str) -> Path:
        """A new folder called after `name`; a number is added when there is one already."""
        number = 0
        while True:
            folder = self.folder / (f"{name}-{number}" if number else name)
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder
