"""Certificates and keys in PEM files: pairs of the two, and a folder of them picked by server name.

In a folder, every file whose name ends in ``.pem`` counts, in subfolders too. It may hold private keys, certificates
and intermediate certificates in any order, together or apart, the way certbot, HAProxy, Kubernetes or a person left
them. `PEMFolder` finds out what belongs together:

- A certificate and a private key with the same public key are an *identity*, which serves the DNS names in the
  certificate's subjectAltName (RFC 9525, section 6.3): exact names, and wildcards for one label (``*.example.com``).
- Its chain is made of the other certificates, from issuer to issuer, without the root (RFC 8446, section 4.4.2).
- Of several identities with the same name, those that are valid now come first, and of these the longest-valid one.
- Clients that send no name, or an unknown one (those that connect to an address send none: RFC 6066, section 3), get
  the default: the identity in ``default.pem`` at the top of the folder if there is such a file, else the first by file
  name of those that serve a name.

The whole folder is read before anything of it is used, so a bad file never leaves half of it in place. What is served
can be replaced at any time, `txmembio.reload` says when; connections that exist keep what they have.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from .certificates import Certificate, PrivateKey
from .constants import AlertDescription
from .context import SSLContext
from .loading import read_file, trusted_in
from .watch import PEM_SUFFIX, pem_names, signature

DEFAULT_FILE = "default.pem"

LONGEST_CHAIN = 100
"""Certificates in one chain; OpenSSL's own limit on the depth of a chain, SSL_CTX_set_verify_depth(3)."""


@dataclass(frozen=True)
class PEMFile:
    """What one file holds. *name* is for people; it is the path within the folder, or as it was given."""

    name: str
    certificates: tuple[Certificate, ...]
    keys: tuple[PrivateKey, ...]

    @classmethod
    def read(cls, path: str, name: str | None = None) -> PEMFile:
        """
        Raises OSError when the file cannot be read, SSLError (which is one) for PEM that is damaged or cut short, and
        ValueError when it holds no PEM. Blocks of other kinds, such as DH parameters, are passed over.
        """
        data = read_file(path, "PEM file")
        if b"-----BEGIN " not in data:
            raise ValueError("there is no PEM in it")
        return cls(name or path, tuple(Certificate.from_pem_all(data)), tuple(PrivateKey.from_pem_all(data)))


@dataclass(frozen=True)
class Identity:
    """A certificate with its chain and its private key: what a side shows to prove who it is."""

    name: str
    """The file that holds the certificate."""
    certificate: Certificate
    key: PrivateKey = field(repr=False)
    chain: tuple[Certificate, ...]
    """Intermediate certificates, each followed by its issuer."""

    def use_in(self, context: SSLContext) -> None:
        """Make *context* show this identity."""
        certificates = (self.certificate, *self.chain)
        context.use_cert_chain(b"".join(each.pem() for each in certificates), self.key.pem())

    @property
    def dns_names(self) -> tuple[str, ...]:
        return _dns_names(self.certificate)

    def valid_at(self, moment: datetime) -> bool:
        return self.certificate.not_before <= moment <= self.certificate.not_after

    @property
    def turns(self) -> tuple[datetime, datetime]:
        """The first moments of being valid, and of being so no more: certificates count whole seconds."""
        return self.certificate.not_before, self.certificate.not_after + timedelta(seconds=1)


def _dns_names(certificate: Certificate) -> tuple[str, ...]:
    return tuple(value.lower() for kind, value in certificate.subject_alt_names if kind == "DNS")


def identity_from(certificates: PEMFile, keys: PEMFile, more: Iterable[Certificate] = ()) -> Identity | None:
    """
    The first certificate of one file that a key of the other fits, and None if there is no such pair.

    Its chain is the rest of the certificates in their order, then *more*: they were put there to be sent.
    """
    by_public_key = {key.public_key_sha256: key for key in keys.keys}
    for certificate in certificates.certificates:
        key = by_public_key.get(certificate.public_key_sha256)
        if key is not None:
            chain = (each for each in (*certificates.certificates, *more) if each.der != certificate.der)
            return Identity(certificates.name, certificate, key, tuple({each.der: each for each in chain}.values()))
    return None


def read_certificates(path: str) -> list[Certificate]:
    """
    The certificates to trust that *path* holds: all in the file, or all in the ``*.pem`` files of the folder.

    Raises OSError when it cannot be read, and ValueError when a file is damaged or there is no certificate. As in
    Twisted's ``trustRoots=``, subfolders do not count, nor do links that lead nowhere: a system's folder may have some.
    """
    if os.path.isdir(path):
        names = [name for name in sorted(os.listdir(path)) if name.lower().endswith(PEM_SUFFIX)]
        files = [_read(path, name) for name in names if os.path.isfile(os.path.join(path, name))]
    else:
        files = [PEMFile.read(path)]
    certificates = {each.der: each for file in files for each in file.certificates}
    if not certificates:
        raise ValueError(f"no certificate in {len(files)} PEM files")
    return list(certificates.values())


def read_crls(path: str) -> bytes:
    """
    The certificate revocation lists (RFC 5280, section 5) in a file, or in the ``*.pem`` files of a folder, as PEM.

    Raises OSError when it cannot be read, and ValueError when a list is damaged or a file has none. Whether a list is
    still current is not looked at: OpenSSL does, each time it is needed. Subfolders do not count.
    """
    paths = [path]
    if os.path.isdir(path):
        paths = [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.lower().endswith(PEM_SUFFIX)]
    lists = []
    for each in paths:
        data = read_file(each, "CRL file")
        where = "" if each == path else f"{os.path.basename(each)}: "
        if b"-----BEGIN X509 CRL-----" not in data:
            raise ValueError(f"{where}there is no certificate revocation list in PEM in it")
        try:
            trusted_in(data, "the file")
        except OSError as error:  # an SSLError
            raise ValueError(f"{where}{error}") from error
        lists.append(data)
    if not lists:
        raise ValueError("there is no PEM file in it")
    return b"\n".join(lists)


@dataclass(frozen=True)
class Holdings:
    """What was found in files at one time. Never changes."""

    identities: tuple[Identity, ...]
    """By file."""
    default: frozenset[bytes] | None = None
    """The public keys (SHA-256) of ``default.pem``; None if there is no such file."""
    unpaired: Mapping[bytes, str] = field(default_factory=dict)
    """Private keys, and certificates that are not a CA's, without their counterpart: a remark by public key."""


@dataclass(frozen=True)
class ContextsByName:
    """What is served: the context for each server name. Never changes."""

    default: SSLContext
    by_name: Mapping[str, SSLContext]
    """By DNS name in lower case; the key of a wildcard begins with ``*.``."""
    remarks: tuple[str, ...]
    """What somebody should know about files that are of no use, one line each."""
    until: datetime | None = None
    """When a certificate begins or ends to be valid, so that the choice may be another one. None: never."""

    def find(self, server_name: str | None) -> SSLContext | None:
        """The context for a server name, an exact match before a wildcard's; None where there is none."""
        if server_name is None:
            return None
        name = server_name.lower()
        return self.by_name.get(name) or self.by_name.get("*." + name.partition(".")[2])


class ServedCertificates(ABC):
    """
    What a server shows, and to whom: read from files, and replaced as a whole when they are read again.

    *new_context* makes a server context with everything but the certificate: versions, ciphers, client authentication.
    It is called for each identity, and again whenever the files are read again. With *refuse_unknown*, clients that ask
    for a name which is not served, or for none, get the alert unrecognized_name (RFC 6066, section 3) instead of the
    default. *paths* are the files and folders that `read` reads, and *new_context* too. The constructor reads them, and
    raises as `load` does.
    """

    def __init__(
        self, paths: Iterable[str], new_context: Callable[[], SSLContext], *, refuse_unknown: bool = False
    ) -> None:
        self.paths = tuple(os.path.abspath(path) for path in paths)
        self.signature = signature(self.paths)
        """What the files looked like before they were read."""
        self._new_context = new_context
        self._refuse_unknown = refuse_unknown
        self.holdings = self.read()
        """What the files held when they were last read and found good."""
        self.contexts = self.choose(self.holdings)
        """What is served now. Assigning another one takes effect with the next ClientHello."""

    @abstractmethod
    def read(self) -> Holdings:
        """Read the files as they are now. Raises OSError or ValueError, naming the file, when one is bad."""

    def server_context(self) -> SSLContext:
        """
        A context for all connections. Which of the others applies is decided when the ClientHello arrives, before
        OpenSSL looks at a ticket in it. Keep it for as long as the server runs: OpenSSL's own ticket keys are in it,
        and any given to its ``set_ticket_keys`` apply whatever is switched to.
        """
        context = self._new_context()
        context.sni_callback = self._switch
        return context

    def _switch(self, connection: Any, server_name: str | None, context: SSLContext) -> int | None:
        contexts = self.contexts
        found = contexts.find(server_name)
        if found is None and self._refuse_unknown:
            return AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = found or contexts.default
        return None

    def load(self, now: datetime | None = None) -> ContextsByName:
        """
        What would be served with the files as they are now. *now* says which certificates are valid; it has a time
        zone. Raises OSError or ValueError, naming the file, when one is bad.
        """
        return self.choose(self.read(), now)

    def choose(self, holdings: Holdings, now: datetime | None = None) -> ContextsByName:
        """A context for each name, of the identities that are best at a given time. Raises ValueError for one that
        OpenSSL cannot use, and whatever *new_context* raises."""
        moment = now or datetime.now(timezone.utc)
        best_first = sorted(
            holdings.identities, key=lambda each: (each.valid_at(moment), each.certificate.not_after), reverse=True
        )
        chosen: dict[str, Identity] = {}
        for identity in best_first:
            for name in identity.dns_names:
                chosen.setdefault(name, identity)
        default = _default(holdings, best_first, chosen)
        in_use = {id(each): each for each in (default, *chosen.values())}
        contexts = {key: self._context_for(identity) for key, identity in in_use.items()}
        remarks = list(holdings.unpaired.values())
        for identity in in_use.values():
            if not identity.valid_at(moment):
                certificate = identity.certificate
                remarks.append(f"{identity.name}: valid from {certificate.not_before} to {certificate.not_after} only")
        by_name = {name: contexts[id(identity)] for name, identity in chosen.items()}
        turns = (each for identity in best_first for each in identity.turns)
        until = min((each for each in turns if each > moment), default=None)
        return ContextsByName(contexts[id(default)], by_name, tuple(remarks), until)

    def _context_for(self, identity: Identity) -> SSLContext:
        context = self._new_context()
        try:
            identity.use_in(context)
        except OSError as error:  # an SSLError: a key too small for the security level, for one
            raise ValueError(f"{identity.name}: expected a certificate that OpenSSL can use ({error})") from error
        return context


class PEMFolder(ServedCertificates):
    """A folder of PEM files, with a context for each identity in it. *paths* are files and folders beside it that
    *new_context* reads."""

    def __init__(
        self,
        path: str,
        new_context: Callable[[], SSLContext],
        *,
        paths: Iterable[str] = (),
        refuse_unknown: bool = False,
    ) -> None:
        self.path = os.path.abspath(path)  # so that reading it again does not depend on the working directory
        super().__init__([self.path, *paths], new_context, refuse_unknown=refuse_unknown)

    def read(self) -> Holdings:
        """
        Raises OSError when the folder cannot be read, and ValueError when a file or subfolder, which it names, cannot
        be read, is damaged or contradicts itself, or when there is no certificate with a private key.
        """
        files = [_read(self.path, name) for name in sorted(pem_names(self.path), key=lambda name: name.split(os.sep))]
        identities, unpaired = _pair(files)
        if not identities:
            held = f"{sum(len(f.certificates) for f in files)} certificates and {sum(len(f.keys) for f in files)} keys"
            raise ValueError(f"no certificate with its private key in the *.pem files, which hold {held}")
        default = None
        for file in files:
            if file.name == DEFAULT_FILE:
                default = frozenset({key.public_key_sha256 for key in file.keys})
                default |= {certificate.public_key_sha256 for certificate in file.certificates}
                if not any(each.certificate.public_key_sha256 in default for each in identities):
                    raise ValueError(f"{file.name}: no certificate with its private key is in it or belongs to it")
        return Holdings(tuple(identities), default, unpaired)


class PEMPair(ServedCertificates):
    """One certificate and its private key, which *read_identity* reads; it raises OSError or ValueError, naming the
    file, when one is bad. *paths* are its files, and those that *new_context* reads."""

    def __init__(
        self,
        read_identity: Callable[[], Identity],
        new_context: Callable[[], SSLContext],
        *,
        paths: Iterable[str],
        refuse_unknown: bool = False,
    ) -> None:
        self._read_identity = read_identity
        super().__init__(paths, new_context, refuse_unknown=refuse_unknown)

    def read(self) -> Holdings:
        """Raises what *read_identity* raises."""
        return Holdings((self._read_identity(),))


def _pair(files: list[PEMFile]) -> tuple[list[Identity], dict[bytes, str]]:
    """
    The identities in *files*, by file, and remarks about private keys and certificates that have no counterpart.

    Raises ValueError for a file in which a certificate has a private key beside its own: nobody could say which of the
    two is the one that was meant to be there.
    """
    held: dict[bytes, tuple[Certificate, str]] = {}
    keys: dict[bytes, tuple[PrivateKey, str]] = {}
    for file in files:
        for certificate in file.certificates:
            held.setdefault(certificate.der, (certificate, file.name))
        for key in file.keys:
            keys.setdefault(key.public_key_sha256, (key, file.name))
    by_subject: dict[bytes, list[tuple[Certificate, str]]] = {}
    for certificate, name in held.values():
        by_subject.setdefault(certificate.subject_der, []).append((certificate, name))

    identities = []
    unpaired: dict[bytes, str] = {}
    for certificate, name in held.values():
        if certificate.public_key_sha256 in keys:
            key, _ = keys[certificate.public_key_sha256]
            identities.append(Identity(name, certificate, key, _chain(certificate, name, by_subject)))
        elif not certificate.is_ca:
            subject = ", ".join(_dns_names(certificate)) or certificate.subject
            unpaired[certificate.public_key_sha256] = f"{name}: no private key for the certificate of {subject}"
    public_keys = {certificate.public_key_sha256 for certificate, _ in held.values()}
    unpaired |= {
        p: f"{name}: no certificate for the private key" for p, (_, name) in keys.items() if p not in public_keys
    }
    for file in files:
        own = {key.public_key_sha256 for key in file.keys}
        if own & unpaired.keys() and own & {each.public_key_sha256 for each in file.certificates}:
            raise ValueError(
                f"{file.name}: {len(own)} private keys for a certificate: expected the one that fits it, and no other"
            )
    return identities, unpaired


def _chain(
    certificate: Certificate, name: str, by_subject: Mapping[bytes, list[tuple[Certificate, str]]]
) -> tuple[Certificate, ...]:
    """The issuers of *certificate* up to the root, which is left out since whoever trusts it has it."""
    chain: list[Certificate] = []
    last = certificate
    while last.subject_der != last.issuer_der and len(chain) < LONGEST_CHAIN:
        # An intermediate may exist several times: cross-signed, or renewed. One in the same file is there on purpose.
        issuers = [
            (file == name, issuer.not_after, issuer)
            for issuer, file in by_subject.get(last.issuer_der, ())
            if issuer not in chain and issuer.subject_der != issuer.issuer_der and last.is_issued_by(issuer)
        ]
        if not issuers:
            break
        last = max(issuers, key=lambda each: each[:2])[2]
        chain.append(last)
    return tuple(chain)


def _default(holdings: Holdings, best_first: list[Identity], chosen: Mapping[str, Identity]) -> Identity:
    """What those clients get that do not name a server; *chosen* are the identities with a name."""
    if holdings.default is not None:
        return next(each for each in best_first if each.certificate.public_key_sha256 in holdings.default)
    # min() keeps the first of equals, so that of one file's certificates the best one wins.
    return min(chosen.values() or best_first, key=lambda each: each.name.split(os.sep))


def _read(folder: str, name: str) -> PEMFile:
    try:
        return PEMFile.read(os.path.join(folder, name), name)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
