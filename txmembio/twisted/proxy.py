"""Through an HTTP proxy to anywhere: its CONNECT method (RFC 9110 section 9.3.6) as a client endpoint.

    HTTPConnectEndpoint ──connect──►  proxyEndpoint          TCP to the proxy; with TLS around it for an https: proxy
                                      CONNECT host:port      answered 200
                                      the application        TLS to the host, say: wrapClientTLS around this endpoint

The proxy sees the host's name and port and nothing else of what is TLS beyond it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from twisted.internet.address import HostnameAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionDone, NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from .. import SSLContext
from .factory import Settings, wrapClientTLS

__all__ = ["HTTPConnectEndpoint", "ProxyConnectError"]

#: Seconds from the connection to the proxy until its answer, which it gives when it is connected to the host: as long
#: as `HostnameEndpoint` gives one attempt to connect.
ANSWER_TIMEOUT = 30.0

#: Bytes. Status line and header of an answer; servers commonly allow a request's header 8 or 16 KiB.
ANSWER_LIMIT = 16 * 1024

#: Bytes of what a proxy says, for an error to show: the longest registered reason phrase has 31.
SHOWN = 40

#: As a tunnel's other end is written (RFC 3986 section 3.2.2, less what no resolver takes), IPv6 with its zone.
_HOST = re.compile(r"[A-Za-z0-9._~:%-]+")

#: RFC 9110 section 5.1.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

#: RFC 9110 section 5.5: what a value may not have in it, since a line would end there.
_NOT_IN_HEADER_VALUE = re.compile(r"[\r\n\0]")

#: RFC 9112 section 4. The reason phrase is for people.
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")

#: RFC 9112 section 2.2: a recipient may take a bare LF for the end of a line.
_END_OF_HEADER = re.compile(rb"\n\r?\n")


class ProxyConnectError(ConnectError):
    """The proxy could not be reached, or did not connect to the host: the text says which proxy and host, and why.

    `__cause__` is what happened to the connection to the proxy, if that is why.
    """

    def __init__(self, proxy: str, target: str, problem: str, status: int | None = None) -> None:
        super().__init__(string=f"{proxy} did not connect to {target}: {problem}")
        #: The proxy, as `HTTPConnectEndpoint` was told to call it.
        self.proxy = proxy
        #: `host:port` of what lies beyond.
        self.target = target
        #: The status code of its answer (RFC 9110 section 15), or None if there was no answer.
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


@implementer(IStreamClientEndpoint)
class HTTPConnectEndpoint:
    """Connects to `host` and `port` through an HTTP proxy.

    For TLS to the host, `wrapClientTLS(context, host, HTTPConnectEndpoint(host, port, …))`. For TLS to the proxy (an
    `https:` proxy) `proxyEndpoint` is itself made by `wrapClientTLS`. Proxies can be chained: `proxyEndpoint` may be
    another `HTTPConnectEndpoint`.

    :param host: a name in ASCII, or an address; the proxy looks it up.
    :param port: 1 to 65535.
    :param proxyEndpoint: connects to the proxy.
    :param credentials: user name and password, sent without being asked for (Basic, RFC 7617).
    :param headers: more header fields of the request, such as `Proxy-Authorization` of another scheme.
    :param timeout: seconds from the connection to the proxy until it answers; None for no limit.
    :param proxyName: what errors call the proxy; by default, what `proxyEndpoint` calls itself.
    :param clock: runs the time-out; the reactor if not given.
    :raises ValueError: for anything here that cannot be sent in a request.
    """

    def __init__(
        self,
        host: str,
        port: int,
        proxyEndpoint: IStreamClientEndpoint,
        *,
        credentials: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = ANSWER_TIMEOUT,
        proxyName: str | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        if not _HOST.fullmatch(host):
            raise ValueError(f"host must be a name in ASCII or an address, not {host!r}")
        if not 0 < port < 65536:
            raise ValueError(f"port must be from 1 to 65535, not {port!r}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, or None for no limit, not {timeout!r}")
        self.address = HostnameAddress(host.encode("ascii"), port)
        self.target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.proxyName = repr(proxyEndpoint) if proxyName is None else proxyName
        self.timeout = timeout
        self.clock = clock
        #: What is sent to the proxy.
        self.request = _request(self.target, credentials, headers or {})
        self._proxyEndpoint = proxyEndpoint

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.target} through {self.proxyName}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect a protocol of `protocolFactory` to the host; fires with that protocol, once the proxy has connected.

        Fails with `ProxyConnectError`. Cancelling it cancels the attempt.
        """
        return self._proxyEndpoint.connect(_TunnelFactory(self, protocolFactory)).addCallbacks(
            lambda tunnel: cast(_Tunnel, tunnel).established, self._unreachable
        )

    def error(self, problem: str, status: int | None = None) -> ProxyConnectError:
        """The error that says `problem` of this proxy and host."""
        return ProxyConnectError(self.proxyName, self.target, problem, status)

    def _unreachable(self, reason: Failure) -> Failure:
        if not reason.check(ConnectError, OSError):  # cancelled, say
            return reason
        error = self.error(reason.getErrorMessage())
        error.__cause__ = reason.value
        return Failure(error)


def _request(target: str, credentials: tuple[str, str] | None, headers: Mapping[str, str]) -> bytes:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if credentials is not None:
        name, password = credentials
        if ":" in name:
            raise ValueError(f"credentials: a user name ends at the first colon (RFC 7617 section 2), so not {name!r}")
        lines.append("Proxy-Authorization: Basic " + b64encode(f"{name}:{password}".encode()).decode())
    for field, value in headers.items():
        if not _HEADER_NAME.fullmatch(field):
            raise ValueError(f"headers: {field!r} is not the name of a header field")
        if _NOT_IN_HEADER_VALUE.search(value):
            raise ValueError(f"headers: the value of {field} has the end of a line, or a NUL, in it")
        lines.append(f"{field}: {value}")
    return "\r\n".join([*lines, "", ""]).encode()


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
class _TunnelFactory:
    """Makes a `_Tunnel` in front of each protocol of the application's factory; started and stopped with that."""

    def __init__(self, endpoint: HTTPConnectEndpoint, factory: IProtocolFactory) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self.doStart = factory.doStart
        self.doStop = factory.doStop

    def buildProtocol(self, addr: IAddress) -> _Tunnel:
        return _Tunnel(self._endpoint, self._factory)

    def acceptableProtocols(self) -> list[bytes]:
        """What ALPN offers to an https: proxy."""
        return [b"http/1.1"]


@implementer(IHandshakeListener)
class _Tunnel(Protocol):
    """Asks the proxy; then passes on to the application's protocol what comes. It is not in the way of what goes: the
    transport of that protocol is the one that leads to the proxy.
    """

    def __init__(self, endpoint: HTTPConnectEndpoint, factory: IProtocolFactory) -> None:
        self.established: Deferred[IProtocol] = Deferred(lambda _: self._give_up())
        self._endpoint = endpoint
        self._factory = factory
        self._received = bytearray()
        self._timer: IDelayedCall | None = None
        self._pending = True  # `established` has not fired
        #: The application's, once it has the connection. So Twisted's wrappers call it, and so `startTLS` finds it.
        self.wrappedProtocol: IProtocol | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        timeout, clock = self._endpoint.timeout, self._endpoint.clock
        if timeout is not None:
            if clock is None:
                from twisted.internet import reactor  # not before it is needed: importing it installs it

                clock = cast(IReactorTime, reactor)
            self._timer = clock.callLater(timeout, self._timed_out)
        self.transport.write(self._endpoint.request)

    def dataReceived(self, data: bytes) -> None:
        """Only until the proxy has answered."""
        if not self._pending:
            return
        self._received += data
        while end := self._end_of_header():
            status_line = _STATUS_LINE.match(self._received)
            if status_line is None:
                self._fail(f"its answer has no status line: {bytes(self._received[:SHOWN])!r}")
                return
            status, phrase = int(status_line[1]), _printable(status_line[2] or b"")
            del self._received[:end]
            if 100 <= status < 200 and status != 101:
                continue  # interim: the answer is still to come (RFC 9110 section 15.2)
            if 200 <= status < 300:
                # No body, whatever the header says (RFC 9110 section 9.3.6): what follows is from the host.
                self._hand_over()
            else:
                self._fail(f"it answered {status} {phrase}".rstrip(), status)
            return

    def handshakeCompleted(self) -> None:
        """Of TLS that was begun in the tunnel: the application's. Of TLS to the proxy: nobody's."""
        listener = IHandshakeListener(self.wrappedProtocol, None)
        if listener is not None:
            listener.handshakeCompleted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        application, self.wrappedProtocol = self.wrappedProtocol, None
        vars(self).pop("dataReceived", None)
        if application is not None:
            application.connectionLost(reason)
        elif reason.check(ConnectionDone):
            self._fail("it closed the connection without an answer", cause=reason.value)
        else:
            self._fail(reason.getErrorMessage(), cause=reason.value)

    def _end_of_header(self) -> int:
        """Where the header that has been received ends, or 0: it does not, and if it never will, that is a failure."""
        start = b"HTTP/1."
        if self._received[: len(start)] != start[: len(self._received)]:
            self._fail(f"its answer is not HTTP/1: {bytes(self._received[:SHOWN])!r}")
            return 0
        end = _END_OF_HEADER.search(self._received)
        if end is None and len(self._received) > ANSWER_LIMIT:
            self._fail(f"the header of its answer is longer than {ANSWER_LIMIT} bytes")
        return 0 if end is None else end.end()

    def _hand_over(self) -> None:
        """The connection is the application's."""
        self._decided()
        try:
            application = self._factory.buildProtocol(self._endpoint.address)
            if application is None:
                raise NoProtocol
        except Exception:
            self._abort()
            self.established.errback(Failure())
            return
        self.wrappedProtocol = application
        self.dataReceived = application.dataReceived  # type: ignore[method-assign]
        half_closeable = IHalfCloseableProtocol(application, None)
        if half_closeable is not None:
            self.readConnectionLost = half_closeable.readConnectionLost
            self.writeConnectionLost = half_closeable.writeConnectionLost
            directlyProvides(self, IHalfCloseableProtocol)
        assert self.transport is not None
        application.makeConnection(self.transport)
        self.established.callback(application)
        rest = bytes(self._received)
        self._received.clear()
        if rest and self.wrappedProtocol is not None:
            application.dataReceived(rest)

    def _fail(self, problem: str, status: int | None = None, cause: BaseException | None = None) -> None:
        if self._pending:
            error = self._endpoint.error(problem, status)
            error.__cause__ = cause
            self._give_up()
            self.established.errback(error)

    def _timed_out(self) -> None:
        self._timer = None
        self._fail(f"no answer within {self._endpoint.timeout:g} seconds")

    def _give_up(self) -> None:
        self._decided()
        self._received.clear()
        self._abort()

    def _decided(self) -> None:
        self._pending = False
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _abort(self) -> None:
        # Whatever the proxy goes on to say, a page about its refusal for one, nobody will read.
        transport: Any = self.transport
        getattr(transport, "abortConnection", transport.loseConnection)()


def _printable(phrase: bytes) -> str:
    """What an error, and so a log, may show of a proxy's reason phrase."""
    return "".join(filter(str.isprintable, phrase[:SHOWN].decode("latin-1"))).strip()


def tunnels(
    proxy: str, context: SSLContext, reactor: Any, connecting: Mapping[str, Any], settings: Settings
) -> Callable[[str, int], HTTPConnectEndpoint]:
    """What makes the endpoint for a host and port, through the proxy of this URL.

    :param proxy: `http://proxy:3128`, `https://name:password@proxy`; ports 80 and 443 are the defaults.
    :param context: for the TLS to an https: proxy.
    :param connecting: more arguments of `HostnameEndpoint`, for the proxy.
    :param settings: of the TLS to an https: proxy.
    :raises ValueError: the URL is of another form.
    """
    try:
        url = urlsplit(proxy)
        port = {"http": 80, "https": 443}[url.scheme] if url.port is None else url.port
    except (ValueError, KeyError):
        port = 0
    host = url.hostname if port else None
    if not host or not host.isascii() or url.path not in ("", "/") or url.query or url.fragment:
        without_password = re.sub("//.*@", "//…@", proxy)
        raise ValueError(
            "proxy must be the URL of an HTTP proxy, such as http://proxy.example:3128 or"
            f" https://name:password@proxy.example, not {without_password!r}"
        )
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, host, port, **connecting)
    if url.scheme == "https":
        endpoint = wrapClientTLS(context, host, endpoint, **settings)
    through = partial(
        HTTPConnectEndpoint,
        proxyEndpoint=endpoint,
        credentials=None if url.username is None else (unquote(url.username), unquote(url.password or "")),
        proxyName=f"{url.scheme}://[{host}]:{port}" if ":" in host else f"{url.scheme}://{host}:{port}",
        clock=reactor,
    )
    through(host, port)  # raises now what it would raise at each request
    return through
