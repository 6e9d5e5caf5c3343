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

The whole folder is read before anything of it is used, so a bad file never leaves half of it in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from .certificates import Certificate, PrivateKey
from .context import SSLContext
from .loading import read_file

PEM_SUFFIX = ".pem"
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


@dataclass(frozen=True)
class ContextsByName:
    """A folder as it was when it was read: the context for each server name. Never changes."""

    default: SSLContext
    by_name: Mapping[str, SSLContext]
    """By DNS name in lower case; the key of a wildcard begins with ``*.``."""
    remarks: tuple[str, ...]
    """What somebody should know about files that are of no use, one line each."""

    def find(self, server_name: str | None) -> SSLContext | None:
        """The context for a server name, an exact match before a wildcard's; None where there is none."""
        if server_name is None:
            return None
        name = server_name.lower()
        return self.by_name.get(name) or self.by_name.get("*." + name.partition(".")[2])


class PEMFolder:
    """
    A folder of PEM files, with a context for each identity in it.

    *new_context* makes a server context with everything but the certificate: versions, ciphers, client authentication.
    The constructor reads the folder, and raises as `load` does.
    """

    def __init__(self, path: str, new_context: Callable[[], SSLContext]) -> None:
        self.path = os.path.abspath(path)  # so that a later load() does not depend on the working directory
        self._new_context = new_context
        self.contexts = self.load()
        """What is served now. To serve a changed folder, assign what `load` returns."""

    def server_context(self) -> SSLContext:
        """
        A context for all connections. Which of the folder's contexts applies is decided when the ClientHello arrives,
        before OpenSSL looks at a ticket in it.
        """
        context = self._new_context()
        context.sni_callback = self._switch
        return context

    def _switch(self, connection: Any, server_name: str | None, context: SSLContext) -> None:
        contexts = self.contexts
        connection.context = contexts.find(server_name) or contexts.default

    def load(self, now: datetime | None = None) -> ContextsByName:
        """
        Read the folder as it is now. *now* says which certificates are valid; it has a time zone.

        Raises OSError when the folder cannot be read, and ValueError when a file or subfolder, which it names, cannot
        be read or is damaged, or when there is no certificate with a private key.
        """
        files = [_read(self.path, name) for name in sorted(_pem_names(self.path), key=lambda name: name.split(os.sep))]
        identities, remarks = _pair(files)
        if not identities:
            held = f"{sum(len(f.certificates) for f in files)} certificates and {sum(len(f.keys) for f in files)} keys"
            raise ValueError(f"no certificate with its private key in the *.pem files, which hold {held}")
        moment = now or datetime.now(timezone.utc)
        identities.sort(key=lambda each: (each.valid_at(moment), each.certificate.not_after), reverse=True)
        chosen: dict[str, Identity] = {}
        for identity in identities:
            for name in identity.dns_names:
                chosen.setdefault(name, identity)
        default = _default(files, identities, chosen)
        in_use = {id(each): each for each in (default, *chosen.values())}
        contexts = {key: self._context_for(identity) for key, identity in in_use.items()}
        for identity in in_use.values():
            if not identity.valid_at(moment):
                certificate = identity.certificate
                remarks.append(f"{identity.name}: valid from {certificate.not_before} to {certificate.not_after} only")
        by_name = {name: contexts[id(identity)] for name, identity in chosen.items()}
        return ContextsByName(contexts[id(default)], by_name, tuple(remarks))

    def _context_for(self, identity: Identity) -> SSLContext:
        context = self._new_context()
        try:
            identity.use_in(context)
        except OSError as error:  # an SSLError: a key too small for the security level, for one
            raise ValueError(f"{identity.name}: {error}") from error
        return context


def _pair(files: list[PEMFile]) -> tuple[list[Identity], list[str]]:
    """The identities in *files*, by file, and remarks about private keys and certificates that have no counterpart."""
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
    remarks = []
    for certificate, name in held.values():
        if certificate.public_key_sha256 in keys:
            key, _ = keys[certificate.public_key_sha256]
            identities.append(Identity(name, certificate, key, _chain(certificate, name, by_subject)))
        elif not certificate.is_ca:
            subject = ", ".join(_dns_names(certificate)) or certificate.subject
            remarks.append(f"{name}: no private key for the certificate of {subject}")
    public_keys = {certificate.public_key_sha256 for certificate, _ in held.values()}
    remarks += [f"{name}: no certificate for the private key" for p, (_, name) in keys.items() if p not in public_keys]
    return identities, remarks


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


def _default(files: Iterable[PEMFile], identities: list[Identity], chosen: Mapping[str, Identity]) -> Identity:
    """What those clients get that do not name a server; *identities* are the best first, *chosen* those with a name."""
    for file in files:
        if file.name == DEFAULT_FILE:
            keys = {key.public_key_sha256 for key in file.keys} | {each.public_key_sha256 for each in file.certificates}
            for identity in identities:
                if identity.certificate.public_key_sha256 in keys:
                    return identity
            raise ValueError(f"{DEFAULT_FILE}: no certificate with its private key is in it or belongs to it")
    # min() keeps the first of equals, so that of one file's certificates the best one wins.
    return min(chosen.values() or identities, key=lambda each: each.name.split(os.sep))


def _pem_names(folder: str) -> Iterator[str]:
    """The paths within *folder* of its PEM files. Links are followed, each folder they lead to once."""
    seen = set()

    def refuse(error: OSError) -> None:
        if error.filename == folder:
            raise error
        raise ValueError(f"{os.path.relpath(error.filename, folder)}: {error.strerror}") from error

    for path, subfolders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()  # which path of several a folder is found by must not change from one start to the next
        for name in names:
            if name.lower().endswith(PEM_SUFFIX):
                yield os.path.relpath(os.path.join(path, name), folder)


def _read(folder: str, name: str) -> PEMFile:
    try:
        return PEMFile.read(os.path.join(folder, name), name)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
