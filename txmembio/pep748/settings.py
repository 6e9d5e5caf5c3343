"""From a configuration to the core's `SSLContext`, which does what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from txmembio import certificates, constants
from txmembio.context import SSLContext, create_default_context
from txmembio.loading import pem_certificates, pem_key, read_file
from txmembio.pems import ContextsByName, Identity

from .configuration import (
    Certificate,
    CipherSuite,
    NextProtocol,
    PrivateKey,
    SigningChain,
    TLSClientConfiguration,
    TLSServerConfiguration,
    TLSVersion,
    TrustStore,
)
from .errors import TLSError, configuration_error

__all__ = ["cipher_suite", "client_settings", "server_settings", "tls_version", "validate_config"]

Configuration = TLSClientConfiguration | TLSServerConfiguration

Relax = Callable[[SSLContext], None]
"""What an insecure context takes back of the rules."""

_VERSIONS = {
    TLSVersion.MINIMUM_SUPPORTED: constants.TLSVersion.TLSv1_2,  # the PEP knows none below
    TLSVersion.TLSv1_2: constants.TLSVersion.TLSv1_2,
    TLSVersion.TLSv1_3: constants.TLSVersion.TLSv1_3,
    TLSVersion.MAXIMUM_SUPPORTED: constants.TLSVersion.TLSv1_3,
}

_SUITES = "ALL:!aNULL:!eNULL:!PSK:!SRP"
"""Of TLS 1.2 and earlier, those that authenticate the server by its certificate and encrypt. Nothing here could give a
shared secret or a password to the others, and without authentication nothing would be verified."""


def client_settings(configuration: TLSClientConfiguration, relax: Relax) -> SSLContext:
    """A client's context. Raises ConfigurationError, naming the field, for what cannot be; OSError for a file that
    cannot be read."""
    validate_config(configuration)
    context = _context(configuration, constants.Purpose.SERVER_AUTH)
    if configuration.certificate_chain is not None:
        _use(_identity(configuration.certificate_chain, "certificate_chain"), context)
    relax(context)
    return context


def server_settings(configuration: TLSServerConfiguration, relax: Relax) -> SSLContext:
    """A server's context, which shows each client the chain for the name it asks for. Raises as `client_settings`."""
    validate_config(configuration)
    chains = configuration.certificate_chain
    if not chains:
        raise configuration_error(f"certificate_chain is {chains!r}, expected at least one SigningChain")
    identities = [_identity(chain, f"certificate_chain[{at}]") for at, chain in enumerate(chains)]
    by_name: dict[str, list[Identity]] = {}
    for identity in identities:
        for name in identity.dns_names:
            by_name.setdefault(name, []).append(identity)
    # Of no name, or an unknown one, clients get the first chain, and its like with other kinds of keys.
    alike = [each for each in identities if set(each.dns_names) == set(identities[0].dns_names)]

    contexts: dict[tuple[int, ...], SSLContext] = {}

    def context_for(several: list[Identity]) -> SSLContext:
        key = tuple(id(each) for each in several)
        if key not in contexts:
            contexts[key] = _server_context(configuration, several, relax)
        return contexts[key]

    found = ContextsByName(context_for(alike), {name: context_for(each) for name, each in by_name.items()}, ())
    if len(contexts) > 1:

        def pick(connection: Any, server_name: str | None, context: SSLContext) -> None:
            connection.context = found.find(server_name) or found.default

        found.default.sni_callback = pick
    return found.default


def _server_context(configuration: TLSServerConfiguration, several: list[Identity], relax: Relax) -> SSLContext:
    """One that shows whichever of the identities fits the client's algorithms, the first of each kind of key."""
    context = _context(configuration, constants.Purpose.CLIENT_AUTH)
    if configuration.trust_store is not None:
        context.verify_mode = constants.CERT_REQUIRED
    for identity in reversed(several):  # a context has room for one of each kind of key: the last one stays
        _use(identity, context)
    relax(context)
    return context


def _context(configuration: Configuration, purpose: constants.Purpose) -> SSLContext:
    """One with all that both sides have: trust, versions, cipher suites and ALPN."""
    context = _trusting(configuration.trust_store, purpose)
    lowest = _version(configuration.lowest_supported_version)
    highest = _version(configuration.highest_supported_version)
    if configuration.ciphers is not None:
        lowest, highest = _choose_suites(configuration.ciphers, context, lowest, highest)
    if lowest is not None and highest is not None and lowest > highest:
        raise configuration_error(
            f"lowest_supported_version is {configuration.lowest_supported_version} and highest_supported_version is"
            f" {configuration.highest_supported_version}, expected a lowest that is not above the highest"
        )
    if lowest is not None:
        context.minimum_version = lowest
    if highest is not None:
        context.maximum_version = highest
    protocols = [_protocol(protocol) for protocol in configuration.inner_protocols]
    if protocols:
        try:
            context.set_alpn_protocols(protocols)
        except TLSError as error:
            raise configuration_error(f"inner_protocols: {error}") from error
    return context


def _trusting(store: TrustStore | None, purpose: constants.Purpose) -> SSLContext:
    """A new context with the safe defaults, that trusts whoever is in the store."""
    if store is None or store == TrustStore.system():
        context = create_default_context(purpose)  # a client's has the platform's roots now
        if store is not None and purpose == constants.Purpose.CLIENT_AUTH:
            context.load_default_certs(purpose)
        return context
    try:
        context = create_default_context(purpose, cadata=_data(store))
    except TLSError as error:
        raise configuration_error(f"trust_store ({store!r}): {error}") from error
    # Who hands over a certificate to trust means that one, be it a root's or not.
    context.verify_flags |= constants.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context


def _version(version: TLSVersion | None) -> constants.TLSVersion | None:
    return None if version is None else _VERSIONS[version]


def tls_version(name: str | None) -> TLSVersion | None:
    """The PEP's member for what OpenSSL calls it."""
    return None if name is None else TLSVersion(name)


def _protocol(protocol: object) -> str:
    name = protocol.value if isinstance(protocol, NextProtocol) else protocol
    try:
        if isinstance(name, bytes):
            return name.decode()
    except UnicodeDecodeError:
        pass
    raise configuration_error(f"inner_protocols has {protocol!r}, expected a NextProtocol, or bytes that are UTF-8")


@cache
def _suites() -> dict[int, str]:
    """The cipher suites of this OpenSSL: its names by their numbers."""
    context = SSLContext(constants.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(_SUITES)
    context.set_ciphersuites(":".join(suite.name for suite in CipherSuite if suite >> 8 == 0x13))
    return {suite["id"] & 0xFFFF: suite["name"] for suite in context.get_ciphers()}


@cache
def _numbers() -> dict[str, int]:
    return {name: number for number, name in _suites().items()}


def cipher_suite(name: str) -> CipherSuite | int:
    """The number of the cipher suite that OpenSSL calls by this name."""
    number = _numbers()[name]
    try:
        return CipherSuite(number)
    except ValueError:
        return number


def _choose_suites(
    ciphers: Iterable[CipherSuite | int],
    context: SSLContext,
    lowest: constants.TLSVersion | None,
    highest: constants.TLSVersion | None,
) -> tuple[constants.TLSVersion | None, constants.TLSVersion | None]:
    """Enables these suites and no others. A version that has none among them is ruled out: returns the lowest and the
    highest one that remain."""
    numbers = tuple(ciphers)
    unknown = [number for number in numbers if number not in _suites()]
    if unknown or not numbers:
        text = ", ".join(f"{n:#06x}" if isinstance(n, int) else repr(n) for n in unknown) or "empty"
        raise configuration_error(
            f"ciphers: {text}, expected one or more suites that {constants.OPENSSL_VERSION} has and that authenticate"
            " by certificates"
        )
    names = [_suites()[number] for number in numbers]
    newer = [name for name in names if name.startswith("TLS_")]
    older = [name for name in names if not name.startswith("TLS_")]
    if newer:
        context.set_ciphersuites(":".join(newer))
    elif lowest == constants.TLSVersion.TLSv1_3:
        raise configuration_error("ciphers has none of TLS 1.3, which lowest_supported_version asks for")
    else:
        highest = constants.TLSVersion.TLSv1_2
    if older:
        context.set_ciphers(":".join(older))
    elif highest == constants.TLSVersion.TLSv1_2:
        raise configuration_error("ciphers has none of TLS 1.2, which highest_supported_version asks for")
    else:
        lowest = constants.TLSVersion.TLSv1_3
    return lowest, highest


def _data(source: Certificate | PrivateKey | TrustStore) -> bytes:
    data: bytes | None = source._buffer
    if data is None:
        data = read_file(source._path or "", type(source).__name__)
    if not data:
        raise configuration_error(f"{type(source).__name__} {source.describe()} is empty, expected PEM or DER")
    return data


def _certificates(source: Certificate) -> list[certificates.Certificate]:
    data = _data(source)
    if b"-----BEGIN" in data:
        return pem_certificates(data, "the certificate")
    return [certificates.Certificate.from_der(data)]


def _identity(chain: SigningChain, what: str) -> Identity:
    """The chain, read. Raises ConfigurationError, naming it, for contents that are no certificate or no key."""
    certificate, key = chain.leaf
    try:
        leaf, *more = _certificates(certificate)
        for each in chain.chain:
            more += _certificates(each)
        data = _data(certificate if key is None else key)
        if b"-----BEGIN" in data:
            private = pem_key(data, None, "the private key")
        elif key is None:
            raise configuration_error("a certificate in DER has no private key beside it: expected a PrivateKey")
        else:
            private = certificates.PrivateKey.from_der(data)
    except TLSError as error:
        raise configuration_error(f"{what} ({chain!r}): {error}") from error
    return Identity(f"{what} ({chain!r})", leaf, private, tuple(more))


def _use(identity: Identity, context: SSLContext) -> None:
    try:
        identity.use_in(context)
    except TLSError as error:
        raise configuration_error(f"{identity.name}: {error}") from error


def validate_config(configuration: Configuration) -> None:
    """Raises ConfigurationError, naming the field, where a certificate, key or trust store is given by an identifier,
    for which this implementation has no store; nothing is read. TypeError for what is no configuration."""
    if isinstance(configuration, TLSClientConfiguration):
        one = configuration.certificate_chain
        chains = {} if one is None else {"certificate_chain": one}
    elif isinstance(configuration, TLSServerConfiguration):
        chains = {f"certificate_chain[{at}]": each for at, each in enumerate(configuration.certificate_chain or ())}
    else:
        raise TypeError(
            f"configuration is {configuration!r}, expected a TLSClientConfiguration or a TLSServerConfiguration"
        )
    sources: list[tuple[str, Any]] = [("trust_store", configuration.trust_store)]
    for what, chain in chains.items():
        sources += [(f"{what}.leaf[{at}]", each) for at, each in enumerate(chain.leaf)]
        sources += [(f"{what}.chain[{at}]", each) for at, each in enumerate(chain.chain)]
    for what, source in sources:
        if source is not None and source._id is not None:
            raise configuration_error(f"{what} is {source!r}, expected one from a buffer or a file")
