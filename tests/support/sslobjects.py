"""Two SSLObjects joined in memory, of the standard library's `ssl` or of txmembio, in any mixture: the same script of
operations on each mixture gives comparable outcomes.

    ends = sslobjects.Ends(ssl_client_context, txmembio_server_context)
    ends.handshake()
    ends.client.outcome("write", b"hello")      # ("returned", 5)
    ends.deliver("server")
    ends.server.outcome("read", 100)            # ("returned", b"hello")

Wire is delivered in whole TLS records, or all but the last byte of one: a count of bytes would mean something else in
each handshake, since the length of an ECDSA signature or of a ticket varies.
"""

from __future__ import annotations

import ssl
from typing import Any

import txmembio

from .pki import PKI

Contexts = dict[tuple[str, str], Any]
"""A context for each (module, side)."""

#: What an operation came to: ("returned", value) or ("raised", class name, errno, library, reason).
Outcome = tuple[Any, ...]

#: OpenSSL's name for the end of the wire. Some releases of Python raise a mere SSLError with it.
EOF_REASON = "UNEXPECTED_EOF_WHILE_READING"

#: Bytes in front of a TLS record's contents: type, version, length (RFC 8446 section 5.1).
RECORD_HEADER = 5


def module_of(context: ssl.SSLContext | txmembio.SSLContext) -> Any:
    """The module whose MemoryBIO goes with this context."""
    return ssl if isinstance(context, ssl.SSLContext) else txmembio


def outcome(operation: Any, *arguments: Any, **more: Any) -> Outcome:
    """What calling it came to, in a form that is equal wherever a program could not tell the difference."""
    try:
        value = operation(*arguments, **more)
    except Exception as error:
        if isinstance(error, ssl.SSLError):
            library, reason = getattr(error, "library", None), getattr(error, "reason", None)
            if reason == EOF_REASON:
                return ("raised", "SSLEOFError", ssl.SSL_ERROR_EOF, library, reason)
            return ("raised", type(error).__name__, error.errno, library, reason)
        return ("raised", type(error).__name__)
    return ("returned", value)


class End:
    """One SSLObject and its two BIOs."""

    def __init__(self, context: Any, **arguments: Any) -> None:
        module = module_of(context)
        self.incoming = module.MemoryBIO()
        self.outgoing = module.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **arguments)
        self.flight = bytearray()
        """Wire that has left this end and has not been delivered."""
        self.owed = 0
        """Bytes at the start of `flight` that belong to a record whose beginning has been delivered."""

    def outcome(self, operation: str, *arguments: Any, **more: Any) -> Outcome:
        """Do it, and say what it came to."""
        return outcome(getattr(self.tls, operation), *arguments, **more)

    def read_into(self, length: int, size: int) -> Outcome:
        """`read(length, buffer)` with a buffer of `size` bytes; what was put into it is part of the outcome."""
        buffer = bytearray(size)
        return (*self.outcome("read", length, buffer), bytes(buffer))

    def collect(self) -> bytearray:
        """Everything on its way from here."""
        self.flight += self.outgoing.read()
        return self.flight


class Ends:
    """A client and a server."""

    def __init__(
        self,
        client_context: Any,
        server_context: Any,
        server_hostname: str | None = "localhost",
        session: Any = None,
    ) -> None:
        self.client = End(client_context, server_hostname=server_hostname, session=session)
        self.server = End(server_context, server_side=True)

    def end(self, name: str) -> End:
        """`client` or `server`."""
        return {"client": self.client, "server": self.server}[name]

    def deliver(self, to: str, records: int | None = None, torn: bool = False) -> int:
        """Move whole records to an end's incoming BIO, all of them by default; `torn` keeps back the last byte of the
        last one. Returns how many records there were to move.
        """
        sender = self.server if to == "client" else self.client
        wire = sender.collect()
        ends = record_ends(wire, sender.owed)[:records]
        if not ends:
            return 0
        count = ends[-1] - (1 if torn else 0)
        if outcome(self.end(to).incoming.write, bytes(wire[:count]))[0] == "returned":
            del wire[:count]
            sender.owed = ends[-1] - count
        return len(ends)

    def settle(self) -> None:
        """Deliver everything both ways, once."""
        self.deliver("server")
        self.deliver("client")

    def handshake(self) -> None:
        """Shake hands. Raises the error of whichever end refuses."""
        done: set[str] = set()
        while len(done) < 2:
            before = len(done)
            moved = 0
            for name, other in (("client", "server"), ("server", "client")):
                try:
                    self.end(name).tls.do_handshake()
                    done.add(name)
                except ssl.SSLWantReadError:
                    pass
                finally:
                    moved += self.deliver(other)
            assert moved or len(done) > before, "nothing moves any more"

    def talk(self) -> None:
        """Some application data both ways, which takes session tickets with it."""
        for name, other in (("client", "server"), ("server", "client")):
            self.end(name).tls.write(b"hello " + name.encode())
            self.deliver(other)
            assert self.end(other).tls.read(100) == b"hello " + name.encode()


def record_ends(wire: bytes | bytearray, at: int = 0) -> list[int]:
    """Where each record ends, given where the first whole one starts. Bytes that are no whole record count as one."""
    found = [at] if at else []
    while at < len(wire):
        header = wire[at : at + RECORD_HEADER]
        at += RECORD_HEADER + int.from_bytes(header[3:], "big")
        found.append(min(at, len(wire)))
    return found


def knows_shared_ciphers() -> bool:
    """False for releases of Python whose shared_ciphers() gives this end's own suites, whatever the peer has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
    return tls.shared_ciphers() is None


def client_context(module: Any, pki: PKI, version: int | None = None) -> Any:
    """A bare client's context, with the standard library's defaults, that trusts `pki.ca`; `version` alone if given."""
    context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    return _prepared(context, pki, version, ["h2", "http/1.1"])


def server_context(module: Any, pki: PKI, version: int | None = None) -> Any:
    """A bare server's. With an RSA key: the length of an ECDSA signature varies, and with it the wire."""
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server_rsa.chain_file, pki.server_rsa.key_file)
    return _prepared(context, pki, version, ["http/1.1"])


def _prepared(context: Any, pki: PKI, version: int | None, protocols: list[str]) -> Any:
    context.load_verify_locations(pki.ca.certificate_file)
    context.set_alpn_protocols(protocols)
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # Pythons can be configured to have other defaults
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # some releases of Python forgive truncation by default
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def contexts_of_both(pki: PKI, version: int) -> Contexts:
    """Theirs and ours, for clients and for servers."""
    return {
        (module.__name__, side): make(module, pki, version)
        for module in (ssl, txmembio)
        for side, make in (("client", client_context), ("server", server_context))
    }
