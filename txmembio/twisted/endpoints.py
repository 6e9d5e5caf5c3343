"""
What the endpoint strings ``membiotls:`` make (docs/endpoints.md is the reference of their keys).

    serverFromString(reactor, "membiotls:8443:privateKey=key.pem:certKey=chain.pem")
    serverFromString(reactor, "membiotls:/etc/pems:8443")
    clientFromString(reactor, "membiotls:example.com:443")

Twisted finds the strings through ``twisted/plugins/txmembio_endpoints.py``. Everything in a string is checked, and
every file read, when the string is parsed: a mistake is a ValueError of one line before anything listens or connects.
A server's files are read again when they change (`txmembio.twisted.reload`).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    clientFromString,
    serverFromString,
)
from twisted.logger import Logger

from .. import CERT_OPTIONAL, CERT_REQUIRED, Purpose, SSLContext, TLSVersion, VerifyFlags, create_default_context
from ..certificates import Certificate
from ..limits import HANDSHAKE_TIMEOUT, MAX_HANDSHAKES, RELOAD_INTERVAL, SHUTDOWN_TIMEOUT
from ..pems import (
    Identity,
    PEMFile,
    PEMFolder,
    PEMPair,
    ServedCertificates,
    identity_from,
    read_certificates,
    read_crls,
)
from ..redis_tickets import from_url, shown
from ..tickets import TicketKeyFiles, TicketKeySource
from .factory import (
    ServerSettings,
    Settings,
    wrapClientTLS,
)
from .reload import wrapReloadingServerTLS
from .strings import (
    CLIENT,
    HIGHEST_BACKLOG,
    HIGHEST_PORT,
    MOST_HANDSHAKES,
    SERVER_FOLDER,
    Arguments,
    bind,
    server_form,
    text,
)
from .tickets import TicketKeyUpdates

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint

_T = TypeVar("_T")

_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""Letters, digits and hyphens (RFC 1123, section 2.1), and the underscore that container networks like."""

_log = Logger()

CONNECT_TIMEOUT = 30.0
"""Seconds that ``tls:`` allows for each attempt to connect."""

BACKLOG = 50
"""What ``ssl:`` and ``tls:`` give to ``listen(2)``."""

CA_NAMES_ROOM = 32768
"""Bytes of CA names that a server tells its clients, who choose a certificate by them. The list cannot be longer than
65535 bytes with its lengths (RFC 8446, section 4.2.4), and one as long as that, of every CA there is, helps nobody."""


_TRUST_KEYS = ("clientCA", "crl", "dhParameters")
"""Files that are part of every context of a server."""

_IDENTITY_KEYS = ("certificate", "certKey", "privateKey", "extraCertChain")
"""Files that a server's one certificate may come from."""


def parseStreamServer(reactor: Any, *args: str | bytes, **kwargs: str | bytes) -> IStreamServerEndpoint:
    """The endpoint that a server string stands for. Raises ValueError for anything wrong in it."""
    positional = [text(value) for value in args]
    keyed = {key: text(value) for key, value in kwargs.items()}
    arguments = bind(server_form(positional, keyed), positional, keyed)
    # First, since "C:/pems" makes "/pems" the port: that error says more than one that there is no folder called "C".
    folder = arguments.form is SERVER_FOLDER
    below = _listening(reactor, arguments, 443, "::") if folder else _listening(reactor, arguments, None, "")
    interval = arguments.seconds("reloadInterval", RELOAD_INTERVAL, "for never")
    tickets = _ticket_keys(reactor, arguments, interval)
    certificates = _served_certificates(arguments, folder, tickets)
    below = below if tickets is None else tickets.around(below)
    settings: ServerSettings = {
        **_settings(reactor, arguments),
        "maxHandshakes": arguments.limit("maxHandshakes", MAX_HANDSHAKES, MOST_HANDSHAKES),
    }
    return wrapReloadingServerTLS(certificates, below, reloadInterval=interval, **settings)


def parseStreamClient(reactor: Any, *args: str | bytes, **kwargs: str | bytes) -> IStreamClientEndpoint:
    """The endpoint that a client string stands for. Raises ValueError for anything wrong in it."""
    arguments = bind(CLIENT, [text(value) for value in args], {key: text(value) for key, value in kwargs.items()})
    hostname = _hostname(arguments)
    trusted = _der(_certificates(arguments, "trustRoots")) if "trustRoots" in arguments else None
    context = create_default_context(Purpose.SERVER_AUTH, cadata=trusted)
    _configure(context, arguments)
    _check_revocation(context, arguments)
    if "certificate" in arguments:
        _use_identity(context, arguments)
        context.post_handshake_auth = True  # a server may ask later: one that does is the reason for having it
    elif "privateKey" in arguments:
        raise arguments.refuse("privateKey", "certificate= beside it")
    # The connection that this makes is not used; it is the core's own check of the name it will verify.
    _attempt(arguments, "host", "a host name or an address", context.connection, False, hostname)
    return wrapClientTLS(context, hostname, _connecting(reactor, arguments, hostname), **_settings(reactor, arguments))


# --- what to run over -------------------------------------------------------------------------------------------------


def _listening(reactor: Any, arguments: Arguments, port: int | None, interface: str) -> IStreamServerEndpoint:
    """The server endpoint below TLS; *port* and *interface* are the form's defaults."""
    below = arguments.get("endpoint")
    if below is not None:
        arguments.exclusive("endpoint", ("port", "interface", "backlog"), "its own string says where to listen")
        what = "a server endpoint string"
        endpoint: IStreamServerEndpoint = _attempt(arguments, "endpoint", what, serverFromString, reactor, below)
        return endpoint
    number = arguments.number("port", port, 0, HIGHEST_PORT)
    backlog = arguments.number("backlog", BACKLOG, 0, HIGHEST_BACKLOG)
    interface = arguments.values.get("interface", interface)
    if isIPv6Address(interface):
        return TCP6ServerEndpoint(reactor, number, backlog, interface)
    return TCP4ServerEndpoint(reactor, number, backlog, interface)


def _connecting(reactor: Any, arguments: Arguments, hostname: str) -> IStreamClientEndpoint:
    """The client endpoint below TLS."""
    below = arguments.get("endpoint")
    if below is not None:
        # As in "tls:", which insists on a port that it then does not use.
        arguments.number("port", 0, 0, HIGHEST_PORT)
        arguments.exclusive("endpoint", ("timeout", "bindAddress"), "its own string says how to connect")
        what = "a client endpoint string"
        endpoint: IStreamClientEndpoint = _attempt(arguments, "endpoint", what, clientFromString, reactor, below)
        return endpoint
    address = arguments.get("bindAddress")
    return HostnameEndpoint(
        reactor,
        hostname,
        arguments.number("port", None, 1, HIGHEST_PORT),
        arguments.seconds("timeout", CONNECT_TIMEOUT),  # type: ignore[arg-type]  # None is passed on to the reactor
        None if address is None else (address, 0),
    )


def _hostname(arguments: Arguments) -> str:
    """``host=`` as ASCII, so that the name that is looked up and the name that is verified are the same one."""
    host = arguments.get("host")
    if not host:
        raise arguments.refuse("host", "the host name or address to connect to and to verify")
    if not host.isascii():
        try:
            from idna import encode  # what Twisted uses where it is installed
        except ImportError:
            encode = functools.partial(str.encode, encoding="idna")
        host = _attempt(arguments, "host", "a host name", encode, host).decode("ascii")
    if not (isIPAddress(host) or isIPv6Address(host) or _HOST_NAME.fullmatch(host)):
        raise arguments.refuse("host", "a host name or an address")
    return host


# --- TLS --------------------------------------------------------------------------------------------------------------


def _settings(reactor: Any, arguments: Arguments) -> Settings:
    return {
        "handshakeTimeout": arguments.seconds("handshakeTimeout", HANDSHAKE_TIMEOUT),
        "shutdownTimeout": arguments.seconds("shutdownTimeout", SHUTDOWN_TIMEOUT),
        "clock": reactor,
    }


def _configure(context: SSLContext, arguments: Arguments) -> None:
    """The keys that servers and clients have in common."""
    _set_versions(context, arguments)
    for key, what, apply in (
        ("ciphers", "TLS 1.2 ciphers", context.set_ciphers),
        ("cipherSuites", "TLS 1.3 cipher suites", context.set_ciphersuites),
        ("groups", "key exchange groups", context.set_groups),
    ):
        value = arguments.openssl_list(key)
        if value is not None:
            _attempt(arguments, key, f"OpenSSL's names of {what}, with commas between them", apply, value)
    names = arguments.alpn()
    if names is not None:
        context.set_alpn_protocols(names)


def _set_versions(context: SSLContext, arguments: Arguments) -> None:
    low_key = high_key = "sslmethod"
    low, high = arguments.ssl_method()
    if "sslmethod" in arguments:
        arguments.exclusive("sslmethod", ("minVersion", "maxVersion"), "both say which versions there are")
    else:
        low_key, high_key = "minVersion", "maxVersion"
        low, high = arguments.version(low_key), arguments.version(high_key)
    lowest = TLSVersion[low] if low else context.minimum_version
    if low and lowest < TLSVersion.TLSv1_2 and "ciphers" not in arguments:
        raise arguments.refuse(
            low_key, "TLSv1.2 or newer, or ciphers= that older versions can use, as in ECDHE+AES,@SECLEVEL=0"
        )
    if high and TLSVersion[high] < lowest:
        raise arguments.refuse(high_key, f"a version not below {low_key}= ({lowest.name.replace('_', '.')})")
    if low:
        _attempt(arguments, low_key, "a version that OpenSSL has", setattr, context, "minimum_version", lowest)
    if high:
        _attempt(
            arguments, high_key, "a version that OpenSSL has", setattr, context, "maximum_version", TLSVersion[high]
        )


def _server_contexts(arguments: Arguments, tickets: TicketKeyUpdates | None) -> Callable[[], SSLContext]:
    """
    What makes server contexts that are complete but for the certificate. It reads the files of `_TRUST_KEYS` anew.

    One is made at once, so that a value which is wrong is found before any file with a certificate is read.
    """
    verify = arguments.choice("verifyClient", ("optional", "required", "later"))
    if "clientCA" not in arguments:
        for key in ("verifyClient", "crl"):
            if key in arguments:
                raise arguments.refuse(key, "clientCA= beside it, with the CAs that client certificates come from")

    def new_context() -> SSLContext:
        context = create_default_context(Purpose.CLIENT_AUTH)
        _configure(context, arguments)
        if "dhParameters" in arguments:
            expected = "a file of Diffie-Hellman parameters in PEM format"
            _attempt(arguments, "dhParameters", expected, context.load_dh_params, arguments.file("dhParameters"))
        if "clientCA" in arguments:
            client_ca = _certificates(arguments, "clientCA")
            context.load_verify_locations(cadata=_der(client_ca))
            if sum(len(each.subject_der) for each in client_ca) <= CA_NAMES_ROOM:
                context.add_client_ca_names(_der(client_ca))
            context.verify_mode = CERT_REQUIRED if verify in (None, "required") else CERT_OPTIONAL
            context.post_handshake_auth = verify == "later"
        _check_revocation(context, arguments)
        if tickets is not None:
            tickets.keys.use_in(context)
        return context

    new_context()
    return new_context


def _check_revocation(context: SSLContext, arguments: Arguments) -> None:
    """``crl=``, which also says that there has to be a list for every certificate that is checked."""
    check = arguments.choice("crlCheck", ("leaf", "chain"))
    if "crl" not in arguments:
        if check:
            raise arguments.refuse("crlCheck", "crl= beside it, with the certificate revocation lists")
        return
    lists = _attempt(
        arguments,
        "crl",
        "a file or folder with certificate revocation lists in PEM format",
        read_crls,
        arguments.file("crl"),
    )
    context.load_verify_locations(cadata=lists)
    flags = VerifyFlags.VERIFY_CRL_CHECK_CHAIN if check == "chain" else VerifyFlags.VERIFY_CRL_CHECK_LEAF
    context.verify_flags |= flags


# --- files ------------------------------------------------------------------------------------------------------------


def _served_certificates(arguments: Arguments, folder: bool, tickets: TicketKeyUpdates | None) -> ServedCertificates:
    """What a server shows: the certificates of a folder, or the one that its files hold."""
    path = arguments.get("path")
    if folder and not path:
        raise arguments.refuse("path", "a folder of PEM files")
    refuse = arguments.choice("unknownName", ("default", "refuse")) == "refuse"
    new_context = _server_contexts(arguments, tickets)
    also = [arguments.file(key) for key in _TRUST_KEYS if key in arguments]
    if folder:
        served: ServedCertificates = _attempt(
            arguments,
            "path",
            "a folder of PEM files with certificates and their keys",
            functools.partial(PEMFolder, paths=also, refuse_unknown=refuse),
            path,
            new_context,
        )
    else:
        arguments = _with_default_files(arguments)
        files = [arguments.file(key) for key in _IDENTITY_KEYS if key in arguments]
        read = functools.partial(_identity, arguments)
        served = PEMPair(read, new_context, paths=[*files, *also], refuse_unknown=refuse)
    for remark in served.contexts.remarks:
        _log.warn("{path}: {remark}", path=served.paths[0], remark=remark)
    return served


def _ticket_keys(reactor: Any, arguments: Arguments, interval: float | None) -> TicketKeyUpdates | None:
    """``ticketKeys=``: files with commas between them, looked at every *interval* seconds, or the URL of a Redis."""
    value = arguments.get("ticketKeys")
    if value is None:
        return None
    if "://" not in value:
        expected = "files with ticket keys, as nginx (48 or 80 bytes each) or HAProxy (lines of base64) has them"
        paths = [os.path.join(arguments.folder, name) for name in value.split(",")]
        source: TicketKeySource = TicketKeyFiles(paths, interval)
    else:
        expected = "a URL such as redis://host:6379/0?rotate=43200"
        arguments = replace(arguments, values={**arguments.values, "ticketKeys": shown(value)})  # no password in errors
        source = _attempt(arguments, "ticketKeys", expected, from_url, value)
    return _attempt(arguments, "ticketKeys", expected, _ticket_key_updates, reactor, source)


def _ticket_key_updates(reactor: Any, source: TicketKeySource) -> TicketKeyUpdates:
    try:
        return TicketKeyUpdates(reactor, source)
    except OSError as error:  # there may be several files
        raise ValueError(f"{error.filename!r}: {error.strerror}") from error


def _with_default_files(arguments: Arguments) -> Arguments:
    """``privateKey=`` is ``server.pem`` where nothing else is said, as in ``ssl:``."""
    if "certificate" in arguments or "privateKey" in arguments:
        return arguments
    return replace(arguments, values={"privateKey": "server.pem", **arguments.values})


def _identity(arguments: Arguments) -> Identity:
    """
    The certificate that the string names. ``certificate=`` is a file with the chain, and with the key unless
    ``privateKey=`` names another; ``certKey=`` and ``privateKey=`` are those of ``ssl:``.
    """
    if "certificate" in arguments:
        arguments.exclusive("certificate", ("certKey", "extraCertChain"), "that file has the certificate and its chain")
        certificate = "certificate"
        private = "privateKey" if "privateKey" in arguments else "certificate"
    else:
        certificate = "certKey" if "certKey" in arguments else "privateKey"
        private = "privateKey"
    certificates = _pem_file(arguments, certificate)
    if not certificates.certificates:
        raise arguments.refuse(certificate, "a file with a certificate in PEM format", "there is none in it")
    keys = certificates if private == certificate else _pem_file(arguments, private)
    if not keys.keys:
        raise arguments.refuse(private, "a file with a private key in PEM format", "there is none in it")
    more = _pem_file(arguments, "extraCertChain").certificates if "extraCertChain" in arguments else ()
    if "extraCertChain" in arguments and not more:
        raise arguments.refuse("extraCertChain", "a file with certificates in PEM format", "there is none in it")
    identity = identity_from(certificates, keys, more)
    if identity is None and private == certificate:
        raise arguments.refuse(private, "a certificate and the private key that fits it", "its key fits none of them")
    if identity is None:
        raise ValueError(
            f"membiotls: {arguments.shown(private)} does not match {arguments.shown(certificate)}: "
            f"expected the private key that fits the certificate"
        )
    return identity


def _use_identity(context: SSLContext, arguments: Arguments) -> None:
    """Make a client's *context* show the certificate that the string names."""
    identity = _identity(arguments)
    _attempt(arguments, "certificate", "a certificate that OpenSSL can use", identity.use_in, context)


def _pem_file(arguments: Arguments, key: str) -> PEMFile:
    return _attempt(
        arguments,
        key,
        "a readable file in PEM format",
        PEMFile.read,
        arguments.file(key),
        f"membiotls: {arguments.shown(key)}",
    )


def _certificates(arguments: Arguments, key: str) -> list[Certificate]:
    """The certificates of CAs in the file or folder that *key* names."""
    expected = "a file or folder with certificates in PEM format"
    return _attempt(arguments, key, expected, read_certificates, arguments.file(key))


def _der(certificates: Iterable[Certificate]) -> bytes:
    """One after another, which is what a context takes."""
    return b"".join(each.der for each in certificates)


def _attempt(arguments: Arguments, key: str, expected: str, call: Callable[..., _T], *args: Any) -> _T:
    """Call; whatever is raised becomes the error for the value of *key*. (Parsers of other strings raise anything.)"""
    try:
        return call(*args)
    except Exception as error:
        raise arguments.refuse(key, expected, error) from error
