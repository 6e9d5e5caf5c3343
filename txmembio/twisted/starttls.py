"""TLS begun on a live connection: `startTLS`, and the method of that name on transports (`StartTLSFactory`).

    before     transport ────────────────────► protocol
    after      transport ──►  TLSTransport ──► protocol

The protocol stays as it is: it is not told `connectionMade` again, and its `transport` is now the `TLSTransport`. What
it has written leaves first, in plaintext; a producer it has registered goes on, into TLS.

The transport of before may be known to others, a producer for instance, which writes to what it was given. So its
methods are replaced: they lead to TLS as well, and only the TLS transport can still reach the real ones (`_Beneath`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IProtocol, ISSLTransport, ITLSTransport, ITransport
from twisted.protocols.policies import (
    ProtocolWrapper,
    ThrottlingProtocol,
    TimeoutProtocol,
    TrafficLoggingProtocol,
    WrappingFactory,
)
from zope.interface import alsoProvides, directlyProvidedBy, directlyProvides, noLongerProvides, providedBy

from .. import PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, Connection, SSLContext
from ..context import require_context
from ..counters import Counters
from .factory import ServerSettings, Settings, TLSFactory, check_settings
from .injection import Guard, unparsed
from .reasons import PlaintextInjected
from .transport import TLSTransport

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IProtocolFactory
    from twisted.python.failure import Failure
    from typing_extensions import Unpack

__all__ = ["StartTLSFactory", "startTLS"]

#: The methods by which a protocol or a producer moves plaintext, paces it, or ends it.
_REROUTED = (
    "write",
    "writeSequence",
    "loseConnection",
    "loseWriteConnection",
    "abortConnection",
    "registerProducer",
    "unregisterProducer",
    "stopConsuming",
    "pauseProducing",
    "resumeProducing",
    "stopProducing",
)

#: Wrappers that pass on every byte as it is, so that TLS may as well begin beneath them. It has to: one that closes the
#: connection after a time does not let close_notify through afterwards.
_POLICIES = (TimeoutProtocol, ThrottlingProtocol, TrafficLoggingProtocol)


def startTLS(
    protocol_or_transport: Any,
    context: SSLContext,
    *,
    hostname: str | None = None,
    server: bool | None = None,
    nested: bool = False,
    **settings: Unpack[Settings],
) -> TLSTransport:
    """Begin TLS on a connection that is there. Everything from here on, in both directions, is inside TLS.

    To be called when the protocol has agreed with its peer on it: by a server right after it has written the answer
    that says so, by a client as soon as it has received that. Writing can go on at once; the handshake is reported as
    on any TLS connection, and its failure to `connectionLost`.

    Plaintext that the peer sent too early ends the connection, with `PlaintextInjected` as its reason, as far as it
    can be seen (docs/starttls.md lists where it can).

    :param protocol_or_transport: a connected protocol, or its transport: TCP, UNIX, a process, standard I/O, another
        TLSTransport. TLS comes between the two.
    :param context: a `txmembio.SSLContext`.
    :param hostname: (clients) the server's name or address, as for `TLSFactory`.
    :param server: whether to answer the handshake or begin it; needed only if `context` is good for both.
    :param nested: begin a second TLS inside one that is running, as one does through an HTTPS proxy.
    :param settings: `handshakeTimeout`, `shutdownTimeout`, `clock`, `counters` and `onHandshake`, as for `TLSFactory`.
    :return: the transport that the protocol now has.
    :raises TypeError, ValueError: as `TLSFactory`; also for what is neither a protocol nor a transport, and for a
        transport that nothing can be put on.
    :raises RuntimeError: the connection is not there, or is being closed, or (without `nested`) speaks TLS already.
    """
    transport, protocol = _ends(protocol_or_transport)
    context = require_context(context, "context")
    made_by: Any = getattr(protocol, "factory", None)  # it may have an opinion on ALPN
    factory = _UpgradeFactory(context, _is_client(context, server), made_by, hostname=hostname, **settings)
    return _upgrade(transport, protocol, factory, nested)


class StartTLSFactory(WrappingFactory):
    """Gives transports a `startTLS(context)` that takes a `txmembio.SSLContext`.

    That is how the protocols in Twisted that can begin TLS do it. They take the context wherever they expect a context
    factory, and find that their transport provides `ITLSTransport`. A transport that speaks TLS from the start is
    left as it is.

    :param wrappedFactory: the application's factory. Its protocols are connected as they are, without a wrapper.
    :param hostname: (clients) the server's name or address, as for `TLSFactory`.
    :param server: as for `startTLS`.
    :param settings: as for `TLSFactory`. What its connections do is counted in `counters`; those that never begin TLS
        are not counted.
    :raises TypeError, ValueError: as `TLSFactory`, of which the method raises those that have to do with the context.
    """

    noisy = False  # the wrapped factory announces itself

    def __init__(
        self,
        wrappedFactory: IProtocolFactory,
        *,
        hostname: str | None = None,
        server: bool | None = None,
        **settings: Unpack[ServerSettings],
    ) -> None:
        super().__init__(wrappedFactory)
        check_settings(SSLContext(PROTOCOL_TLS_SERVER), False, hostname, **settings)  # all but the context is known now
        self.counters = settings.get("counters") or Counters()
        self._settings: ServerSettings = {**settings, "counters": self.counters}
        self._hostname = hostname
        self._server = server
        self._factories: dict[SSLContext, _UpgradeFactory] = {}  # one for each, so that `maxHandshakes` can be kept

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """The wrapped factory's protocol; its transport will have `startTLS`."""
        protocol = self.wrappedFactory.buildProtocol(addr)
        if protocol is not None:
            self._await_transport(protocol)
        return protocol

    def _await_transport(self, protocol: Any) -> None:
        make_connection = protocol.makeConnection

        def makeConnection(transport: Any) -> None:
            del protocol.makeConnection
            self._equip(transport)
            make_connection(transport)

        protocol.makeConnection = makeConnection

    def _equip(self, transport: Any) -> None:
        if ISSLTransport.providedBy(transport):
            return
        reference = weakref.ref(transport)  # the method is the transport's own, which must not keep itself alive

        def startTLS(contextFactory: SSLContext, normal: bool = True) -> None:
            """ITLSTransport. `normal` has no meaning here: which role it is, the context says."""
            _upgrade(reference(), None, self._factory(contextFactory), nested=False)

        transport.startTLS = startTLS
        alsoProvides(transport, ITLSTransport)

    def _factory(self, context: SSLContext) -> _UpgradeFactory:
        context = require_context(context, "context")
        factory = self._factories.get(context)
        if factory is None:
            is_client = _is_client(context, self._server)
            factory = _UpgradeFactory(
                context, is_client, self.wrappedFactory, hostname=self._hostname, **self._settings
            )
            self._factories[context] = factory
        return factory


def _is_client(context: SSLContext, server: bool | None) -> bool:
    if server is None:
        if context.protocol not in (PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER):
            raise ValueError(f"server must be True or False: the context is good for both ({context.protocol!r})")
        return context.protocol == PROTOCOL_TLS_CLIENT
    return not server


class _UpgradeFactory(TLSFactory):
    """What the TLS transports belong to."""

    def upgrade(self, protocol: IProtocol) -> _UpgradedTransport:
        """A transport around a protocol that there is."""
        connection = self.context.connection(server_side=not self.isClient, server_hostname=self.hostname)
        self._negotiate(connection)
        return _UpgradedTransport(self, protocol, connection)


class _UpgradedTransport(TLSTransport):
    """TLS that was begun on a live connection."""

    __slots__ = ("_guard",)

    def __init__(self, factory: TLSFactory, wrappedProtocol: IProtocol, connection: Connection) -> None:
        super().__init__(factory, wrappedProtocol, connection)
        self._guard: Guard | None = None

    def begin(self, transport: Any, protocols: list[Any], early: int) -> None:
        """Take `transport` as the one beneath and begin the handshake; but not if there are `early` bytes."""
        self.attach(_Beneath(transport, self), transport)  # type: ignore[arg-type]
        # The protocol may have paused the transport of before. If so, loseConnection() has to resume it.
        self._reading_paused = hasattr(transport, "resumeProducing")
        self._guard = Guard(protocols, lambda: self.connection.handshake_complete, self._found_plaintext)
        if early:
            self._found_plaintext(f"{early} bytes were in its buffer")
        else:
            self.begin_handshake()

    def _found_plaintext(self, where: str) -> None:
        self._abort(PlaintextInjected(where))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Undo what refers to this transport, so that it can go away."""
        super().connectionLost(reason)
        if self._guard is not None:
            self._guard.release()
            self._guard = None
            self.transport.restore()


class _Beneath:
    """A transport as it was before its methods led to TLS; all else is the transport's."""

    def __init__(self, transport: Any, tls: TLSTransport) -> None:
        self._transport = transport
        self._replaced = []
        for name in (*_REROUTED, "getPeerCertificate"):
            method = getattr(transport, name, None)
            if (method is None) == (name in _REROUTED):
                continue  # nothing to replace; and what has a certificate is TLS itself, and has its own
            if method is not None:
                setattr(self, name, method)
            setattr(transport, name, _route(tls, name))
            self._replaced.append(name)
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def restore(self) -> None:
        """Give the transport its methods back."""
        for name in self._replaced:
            with suppress(AttributeError):
                delattr(self._transport, name)
        self._replaced.clear()


def _route(tls: TLSTransport, name: str) -> Callable[..., Any]:
    # Looked up when it is called: with a second TLS inside this one, it is replaced here too.
    return lambda *arguments: getattr(tls, name)(*arguments)


def _upgrade(transport: Any, protocol: Any, factory: _UpgradeFactory, nested: bool) -> TLSTransport:
    """Put TLS on `transport`, below whatever it delivers to; `protocol` is what the caller named, if it did."""
    transport = _seat(transport)
    _check(transport, nested)
    owner, name = _place(transport)
    above = getattr(owner, name)
    protocols = _stack(above)
    if protocol is not None and protocol not in protocols:
        protocols.append(protocol)
    parsers = [each for each in protocols if not isinstance(each, ProtocolWrapper)]
    tls = factory.upgrade(above)
    # What can be refused has been: from here on the connection is in between.
    early = sum(map(unparsed, parsers))
    producer, streaming, paused = _take_producer(transport)
    setattr(owner, name, tls)
    for each in protocols:
        if getattr(each, "transport", None) is transport:
            each.transport = tls
        if isinstance(each, ProtocolWrapper):
            _declare_secure(each)
    tls.begin(transport, parsers, early)
    _declare_secure(transport)
    if producer is not None:
        tls.registerProducer(producer, streaming)
        if paused and tls.producer is producer:
            # The transport that paused it will resume what it knows now, which was never told to pause.
            tls.call_application(producer.resumeProducing)
    return tls


def _ends(target: Any) -> tuple[Any, Any]:
    """The transport that is meant, and the protocol if that was given."""
    if ITransport.providedBy(target):
        return target, None
    if not IProtocol.providedBy(target):
        raise TypeError(f"expected a connected protocol or its transport, not {type(target).__name__}: {target!r}")
    transport = getattr(target, "transport", None)
    if transport is None:
        raise RuntimeError(f"startTLS() on a protocol that is not connected: {target!r}")
    return transport, target


def _place(transport: Any) -> tuple[Any, str]:
    """Where `transport` keeps what it delivers to: an object and the name of its attribute."""
    if isinstance(transport, ProtocolWrapper):
        return transport, "wrappedProtocol"
    # What ProcessEndpoint gives to a protocol is no more than a view of the process.
    wrapper = getattr(getattr(transport, "_process", None), "proto", None)
    for owner in (transport, wrapper):
        if hasattr(owner, "protocol"):
            return owner, "protocol"
    if not getattr(transport, "connected", True):
        raise RuntimeError(f"startTLS() on a connection that is gone: {transport!r}")
    raise TypeError(
        f"cannot put TLS between {type(transport).__name__} and its protocol; connect the protocol through a"
        " twisted.protocols.policies.WrappingFactory, and TLS goes above that"
    )


def _stack(protocol: Any) -> list[Any]:
    """`protocol`, what it wraps, and so on."""
    stack = []
    while protocol is not None:
        stack.append(protocol)
        # The second name is that of the client endpoints' own wrapper.
        protocol = getattr(protocol, "wrappedProtocol", None) or getattr(protocol, "_wrappedProtocol", None)
    return stack


def _seat(transport: Any) -> Any:
    """What TLS goes on: `transport`; or the last TLS above it, if there is one; or what is below a mere policy."""
    owner, name = _place(transport)
    for each in reversed(_stack(getattr(owner, name))):
        if isinstance(each, TLSTransport):
            return each
    while isinstance(transport, _POLICIES):
        transport = transport.transport
    return transport


def _check(transport: Any, nested: bool) -> None:
    """Refuse a transport that cannot begin TLS now."""
    owner, name = _place(transport)
    if getattr(owner, name) is None or not getattr(transport, "connected", True):
        raise RuntimeError(f"startTLS() on a connection that is gone: {transport!r}")
    if getattr(transport, "disconnecting", False):
        raise RuntimeError(f"startTLS() on a connection that is being closed: {transport!r}")
    if ISSLTransport.providedBy(transport) and not nested:
        raise RuntimeError(
            "startTLS() on a connection that speaks TLS already; nested=True begins a second TLS inside it"
        )


def _take_producer(transport: Any) -> tuple[Any, bool, bool]:
    """Unregister the producer, if there is one. Returns it, whether it is a push producer, and whether it is paused."""
    # Standard I/O and processes have a descriptor for each direction.
    pipes = getattr(getattr(transport, "_process", None), "pipes", {})
    for consumer in (transport, getattr(transport, "_writer", None), pipes.get(0)):
        producer = getattr(consumer, "producer", None)
        if producer is not None:
            streaming = bool(getattr(consumer, "streamingProducer", True))
            paused = streaming and bool(getattr(consumer, "producerPaused", False))
            transport.unregisterProducer()
            return producer, streaming, paused
    return None, False, False


def _declare_secure(transport: Any) -> None:
    """Let whoever looks at `transport` know that what it writes there is in TLS."""
    alsoProvides(transport, ISSLTransport)
    if ITLSTransport in directlyProvidedBy(transport):
        noLongerProvides(transport, ITLSTransport)
    if hasattr(transport, "startTLS"):
        transport.startTLS = _refuse_startTLS


def _refuse_startTLS(contextFactory: object, normal: bool = True) -> None:
    raise RuntimeError("startTLS() on a connection that speaks TLS already")
