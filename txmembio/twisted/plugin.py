"""What Twisted's plugin system loads whenever a process uses any endpoint string that is not built in: so it is little.

The TLS core, with its C extension, is imported when a string begins with ``membiotls:``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint


@implementer(IPlugin, IStreamServerEndpointStringParser, IStreamClientEndpointStringParserWithReactor)
class StringParser:
    """Both kinds of endpoint string that begin with ``membiotls:``."""

    prefix = "membiotls"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamServerEndpoint:
        from .endpoints import parseStreamServer

        return parseStreamServer(reactor, *args, **kwargs)

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamClientEndpoint:
        from .endpoints import parseStreamClient

        return parseStreamClient(reactor, *args, **kwargs)
