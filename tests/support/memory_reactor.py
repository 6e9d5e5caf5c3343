"""Twisted's `MemoryReactorClock` with a resolver, which that of older Twisteds lacks: every host is an IPv4 address."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer


@implementer(IHostnameResolver, IHostResolution)
class _Literally:
    name = "literally"

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolutionReceiver.resolutionBegan(self)
        resolutionReceiver.addressResolved(IPv4Address("TCP", hostName, portNumber))
        resolutionReceiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        """Nothing is under way when resolveHostName() has returned."""


@implementer(IReactorPluggableNameResolver)
class MemoryReactor(MemoryReactorClock):
    """Keeps what it is asked to listen on and to connect to; its time passes when it is told so (`advance`)."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver: IHostnameResolver = _Literally()

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Replace the resolver; returns the one before."""
        before, self.nameResolver = self.nameResolver, resolver
        return before
