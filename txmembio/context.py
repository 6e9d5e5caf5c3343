"""SSLContext: what one side of many connections has in common. The standard library's, with more."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from txmembio import ciphers, errors
from txmembio._openssl.lib import NULL, ffi, lib
from txmembio.connection import Connection
from txmembio.constants import (
    HAS_PSK,
    PROTOCOL_TLS_CLIENT,
    PROTOCOL_TLS_SERVER,
    Options,
    Purpose,
    VerifyFlags,
)
from txmembio.context_base import c_words
from txmembio.context_certificates import CertificateContext
from txmembio.keylog import KeyLog, key_log
from txmembio.loading import Path
from txmembio.messages import MessageCallback, described
from txmembio.names import ServerName
from txmembio.session import SSLSession

if TYPE_CHECKING:
    from txmembio.memorybio import MemoryBIO
    from txmembio.sslobject import SSLObject

__all__ = ["SSLContext", "create_default_context", "require_context"]

SNICallback = Callable[[Any, "str | None", "SSLContext"], "int | None"]
ALPNCallback = Callable[[list[str]], "str | None"]
PSKClientCallback = Callable[["str | None"], "tuple[str | None, bytes]"]
PSKServerCallback = Callable[["str | None"], bytes]

MAX_ALPN_LIST = 65533
"""Bytes of an ALPN list in wire format: what a two-byte length in a two-byte extension leaves (RFC 7301 section
3.1)."""


def require_context(value: object, what: str) -> SSLContext:
    """`value` if it is one of our contexts. Raises TypeError otherwise, which for one of the standard library's says
    what to pass instead: its certificates live in another OpenSSL, where nobody can fetch them from."""
    if isinstance(value, SSLContext):
        return value
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if any(base.__module__ in ("ssl", "_ssl") and base.__name__.endswith("SSLContext") for base in kind.__mro__):
        raise TypeError(
            f"{what} is the standard library's {name}, whose certificates and keys cannot be read out of it:"
            " expected a txmembio.SSLContext (txmembio.create_default_context() takes the same arguments)"
        )
    raise TypeError(f"{what} is {value!r} ({name}), expected a txmembio.SSLContext")


def alpn_wire(protocols: Sequence[str | bytes]) -> bytes:
    """Protocols as RFC 7301 section 3.1 lists them. Raises SSLError, as the standard library does, for one that is not
    1 to 255 bytes long, or a list over 65533 bytes."""
    if isinstance(protocols, (str, bytes)):
        raise TypeError(f"ALPN protocols are {protocols!r}, expected a list of such names")
    wire = bytearray()
    for protocol in protocols:
        name = protocol.encode() if isinstance(protocol, str) else bytes(memoryview(protocol))
        if not 1 <= len(name) <= 255:
            raise errors.make(
                errors.SSLError, 1, f"ALPN protocols must be 1 to 255 in length: {protocol!r} has {len(name)} bytes"
            )
        wire += bytes([len(name)]) + name
    if len(wire) > MAX_ALPN_LIST:
        raise errors.make(
            errors.SSLError, 1, f"a list of ALPN protocols of {len(wire)} bytes, expected at most {MAX_ALPN_LIST}"
        )
    return bytes(wire)


def _check_psk(callback: object) -> None:
    if not HAS_PSK:
        raise NotImplementedError("TLS-PSK is not supported by your OpenSSL version.")
    if callback is not None and not callable(callback):
        raise TypeError("not a callable object")


class SSLContext(CertificateContext):
    """Certificates, trust and rules of many connections. A new one has exactly the standard library's defaults;
    :func:`create_default_context` makes a safe one.

    It may be changed between connections; each takes what is set when it is made. Change it from one thread at a time.
    """

    sslobject_class: ClassVar[type[SSLObject]]
    """What wrap_bio() makes."""
    sslsocket_class: ClassVar[Any] = None
    """What wrap_socket() makes; ``import txmembio.ssl`` sets it, since nothing here knows sockets."""
    _alpn: Any = None  # a callback, or protocols in wire format in C's memory, or None
    _alpn_protocols: tuple[str, ...] = ()
    _sni_callback: SNICallback | None = None
    _keylog: KeyLog | None = None
    _message_callback: MessageCallback | None = None
    _psk_client: PSKClientCallback | None = None
    _psk_server: PSKServerCallback | None = None
    _session_id_context: bytes | None = None
    _identity: bytes  # the session-id context, once it is settled

    # --- connections ---

    def connection(
        self,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,
    ) -> Connection:
        """A new connection, without I/O.

        `server_hostname` is the name or IP address a client wants to reach: it goes into SNI, and the peer's
        certificate must be for it if :attr:`check_hostname`. `session` is offered for resumption. Raises ValueError
        where they do not go together, SSLError where the context is for the other side.
        """
        self._check_side(server_side, server_hostname, session)
        self._settle()
        name = None if server_hostname is None else ServerName(server_hostname)
        connection = Connection(self, bool(server_side), name, session)
        if self._psk_client is not None and not server_side:
            # OpenSSL makes a session of the key, without a session-id context, and refuses it where there is one.
            lib.SSL_set_session_id_context(connection._ssl, b"", 0)
        return connection

    def _check_side(self, server_side: bool, server_hostname: object, session: object) -> None:
        if server_side and self._protocol == PROTOCOL_TLS_CLIENT:
            raise errors.make(errors.SSLError, 1, "Cannot create a server socket with a PROTOCOL_TLS_CLIENT context")
        if not server_side and self._protocol == PROTOCOL_TLS_SERVER:
            raise errors.make(errors.SSLError, 1, "Cannot create a client socket with a PROTOCOL_TLS_SERVER context")
        if server_side and server_hostname is not None:
            raise ValueError("server_hostname can only be specified in client mode")
        if server_side and session is not None:
            raise ValueError("session can only be specified in client mode")
        if session is not None and not isinstance(session, SSLSession):
            raise TypeError("Value is not a SSLSession.")
        if not server_side and self.check_hostname and not server_hostname:
            raise ValueError("check_hostname requires server_hostname")

    def wrap_bio(
        self,
        incoming: MemoryBIO,
        outgoing: MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,
    ) -> SSLObject:
        """An SSLObject that reads wire from `incoming` and writes it to `outgoing`, as in the standard library."""
        from txmembio import sslobject  # noqa: F401  (sets sslobject_class)

        return self.sslobject_class._create(
            incoming, outgoing, server_side=server_side, server_hostname=server_hostname, session=session, context=self
        )

    def wrap_socket(
        self,
        sock: Any,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,
    ) -> Any:
        """An SSLSocket that takes over a ``socket.socket``, as in the standard library. Raises RuntimeError where
        nobody has imported ``txmembio.ssl``, which has that class."""
        if self.sslsocket_class is None:
            raise RuntimeError("wrap_socket() needs `import txmembio.ssl`: the core of txmembio knows no sockets")
        return self.sslsocket_class._create(
            sock=sock,
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=server_hostname,
            context=self,
            session=session,
        )

    def _settle(self) -> None:
        """Before a connection takes the context: the session-id context follows from who may authenticate how, so that
        sessions can be resumed in every process with this configuration, and never under another one."""
        if self._settled:
            return
        identity = self._session_id_context
        if identity is None:
            identity = hashlib.sha256(self._rules().encode() + self._trusted.digest()).digest()
        self._identity = identity
        if not lib.SSL_CTX_set_session_id_context(self._native, identity, len(identity)):
            raise errors.queued(f"setting the session-id context {identity!r}")
        self._settled = True

    def _rules(self) -> str:
        """All that decides whether a peer is accepted, but for whom we trust: the same text in every process."""
        callback = self._verify_callback
        rules = (
            int(self._verify_mode),
            self._post_handshake_auth,
            int(self.verify_flags),
            lib.SSL_CTX_get_verify_depth(self._native),
            self._check_hostname and self._host_flags,
            callback and (getattr(callback, "__module__", ""), getattr(callback, "__qualname__", "")),
        )
        return repr(rules)

    @property
    def session_id_context(self) -> bytes | None:
        """Sessions are resumed only under the same one (SSL_CTX_set_session_id_context(3)), at most 32 bytes. None, the
        default: derived from the rules for client authentication, the same in every process that has the same."""
        return self._session_id_context

    @session_id_context.setter
    def session_id_context(self, value: bytes | None) -> None:
        value = None if value is None else bytes(memoryview(value))
        if value is not None and not 1 <= len(value) <= lib.SSL_MAX_SID_CTX_LENGTH:
            raise ValueError(
                f"session_id_context is {value!r}, expected 1 to {lib.SSL_MAX_SID_CTX_LENGTH} bytes, or None"
            )
        self._session_id_context = value
        self._settled = False

    # --- names: SNI and ALPN ---

    def set_alpn_protocols(self, alpn_protocols: Sequence[str]) -> None:
        """What a client offers and a server picks from, in order of preference (RFC 7301). Nothing in common means that
        no protocol is agreed on, and the handshake goes on, as in the standard library."""
        wire = alpn_wire(alpn_protocols)
        if lib.SSL_CTX_set_alpn_protos(self._native, wire, len(wire)):  # 0 is success here
            raise errors.queued(f"setting ALPN protocols {alpn_protocols!r}")
        self._alpn_protocols = tuple(name if isinstance(name, str) else bytes(name).decode() for name in alpn_protocols)
        self._alpn = ffi.new("unsigned char[]", list(wire)) if wire else None

    @property
    def alpn_protocols(self) -> list[str]:
        """What set_alpn_protocols() was given."""
        return list(self._alpn_protocols)

    def set_alpn_callback(self, callback: ALPNCallback | None) -> None:
        """On a server: `callback(offered) -> chosen` picks one of the client's protocols, or None to go on without. An
        exception, or a choice that was not offered, refuses the handshake. None takes the callback away, and
        set_alpn_protocols() applies again."""
        if callback is None:
            self.set_alpn_protocols(self._alpn_protocols)
        elif callable(callback):
            self._alpn = callback
        else:
            raise TypeError(f"the ALPN callback is {callback!r}, expected a callable object or None")

    @property
    def alpn_callback(self) -> ALPNCallback | None:
        """What set_alpn_callback() was given."""
        return None if self._alpn is None or isinstance(self._alpn, ffi.CData) else self._alpn

    @property
    def sni_callback(self) -> SNICallback | None:
        """`callback(connection, server_name, context)`, called on a server for every ClientHello, before OpenSSL looks
        at a session ticket; `server_name` is None where the client sent none. It may assign ``connection.context``. It
        returns None to go on, or the number of the alert to refuse with; an exception refuses with internal_error.

        `connection` is the SSLObject, or the Connection where there is none."""
        return self._sni_callback

    @sni_callback.setter
    def sni_callback(self, callback: SNICallback | None) -> None:
        if self._protocol == PROTOCOL_TLS_CLIENT:
            raise ValueError("sni_callback cannot be set on TLS_CLIENT context")
        if callback is not None and not callable(callback):
            raise TypeError("not a callable object")
        self._sni_callback = callback
        self._want(lib.TXM_WANTS_CLIENT_HELLO, callback is not None)

    def set_servername_callback(self, server_name_callback: SNICallback | None) -> None:
        """The standard library's older spelling of :attr:`sni_callback`; the name is "" where there is none."""
        self.sni_callback = server_name_callback

    def set_npn_protocols(self, npn_protocols: Sequence[str]) -> None:
        """Does nothing: ALPN has replaced NPN (RFC 7301), and OpenSSL has no NPN in TLS 1.3."""
        warnings.warn("ssl NPN is deprecated, use ALPN instead", DeprecationWarning, stacklevel=2)

    # --- pre-shared keys ---

    def set_psk_client_callback(self, callback: PSKClientCallback | None) -> None:
        """On a client: `callback(hint) -> (identity, key)` gives what it shares with the server (RFC 4279, RFC 8446
        section 4.2.11); the hint is None where the server gave none, and always in TLS 1.3. An exception, or an empty
        key, refuses, in TLS 1.3 too. None takes the callback away. Raises SSLError on a server's context."""
        if self._protocol == PROTOCOL_TLS_SERVER:
            text = "Cannot add PSK client callback to a PROTOCOL_TLS_SERVER context"
            raise errors.make(errors.SSLError, 1, text)
        _check_psk(callback)
        self._psk_client = callback
        self._want(lib.TXM_WANTS_PSK, callback is not None or self._psk_server is not None)
        lib.txm_psk_client_enable(self._native, callback is not None)

    def set_psk_server_callback(self, callback: PSKServerCallback | None, identity_hint: str | None = None) -> None:
        """On a server: `callback(identity) -> key`. An empty key says that the identity is not known: TLS 1.2 refuses
        the handshake; TLS 1.3 goes on without a key, and so with the certificate if there is one, since a ticket comes
        as an identity, too. An exception refuses. One that is not UTF-8 (RFC 4279 section 5.1) is not known, and
        the callback is not asked. `identity_hint` goes to clients that speak TLS 1.2. Otherwise as for clients."""
        if self._protocol == PROTOCOL_TLS_CLIENT:
            text = "Cannot add PSK server callback to a PROTOCOL_TLS_CLIENT context"
            raise errors.make(errors.SSLError, 1, text)
        _check_psk(callback)
        hint = NULL if identity_hint is None or callback is None else c_words(identity_hint, "identity_hint")
        if not lib.SSL_CTX_use_psk_identity_hint(self._native, hint):
            raise errors.queued(f"setting the PSK identity hint {identity_hint!r}")
        self._psk_server = callback
        self._want(lib.TXM_WANTS_PSK, callback is not None or self._psk_client is not None)
        lib.txm_psk_server_enable(self._native, callback is not None)

    def _on_psk_client(self, hint: bytes | None) -> tuple[bytes, bytes]:
        if self._psk_client is None:
            return b"", b""
        identity, key = self._psk_client(hint.decode() if hint else None)
        return b"" if identity is None else c_words(identity, "the PSK identity"), bytes(memoryview(key))

    def _on_psk_server(self, identity: bytes | None) -> bytes:
        if self._psk_server is None:
            return b""
        try:
            name = identity.decode() if identity else None
        except UnicodeDecodeError:  # a TLS 1.3 ticket, as a rule
            return b""
        return bytes(memoryview(self._psk_server(name)))

    # --- tickets and sessions ---

    @property
    def num_tickets(self) -> int:
        """How many TLS 1.3 tickets a server sends after a full handshake. Servers only."""
        return int(lib.SSL_CTX_get_num_tickets(self._native))

    @num_tickets.setter
    def num_tickets(self, value: int) -> None:
        if value < 0:
            raise ValueError("value must be non-negative")
        if self._protocol != PROTOCOL_TLS_SERVER:
            raise ValueError("SSLContext is not a server context.")
        if not lib.SSL_CTX_set_num_tickets(self._native, value):
            raise ValueError("failed to set num tickets.")

    def set_ticket_keys(self, keys: Sequence[bytes]) -> None:
        """Keys for session tickets, of 48 or 80 bytes each, in nginx's format: the first encrypts, all decrypt, and a
        ticket under another than the first is renewed. The same keys in several processes let each resume what another
        began. They count on the context that connections are made with, not on those an SNI callback switches to.
        Raises ValueError for none, more than 32, or keys of another or different lengths."""
        lengths = {len(key) for key in keys}
        if lengths not in ({48}, {80}) or not 1 <= len(keys) <= lib.TXM_TICKET_KEYS:
            raise ValueError(
                f"{len(keys)} ticket keys of {sorted(lengths)} bytes, expected 1 to {lib.TXM_TICKET_KEYS},"
                " each of 48 bytes or each of 80"
            )
        lib.txm_errors_clear()
        if not lib.txm_ticket_keys_set(self._native, b"".join(keys), len(keys[0]), len(keys)):
            raise errors.queued("setting session ticket keys")

    def session_stats(self) -> dict[str, int]:
        """Counters of handshakes and resumptions (SSL_CTX_sess_number(3)), under the standard library's names."""
        names = {
            "number": lib.SSL_CTX_sess_number,
            "connect": lib.SSL_CTX_sess_connect,
            "connect_good": lib.SSL_CTX_sess_connect_good,
            "connect_renegotiate": lib.SSL_CTX_sess_connect_renegotiate,
            "accept": lib.SSL_CTX_sess_accept,
            "accept_good": lib.SSL_CTX_sess_accept_good,
            "accept_renegotiate": lib.SSL_CTX_sess_accept_renegotiate,
            "hits": lib.SSL_CTX_sess_hits,
            "misses": lib.SSL_CTX_sess_misses,
            "timeouts": lib.SSL_CTX_sess_timeouts,
            "cache_full": lib.SSL_CTX_sess_cache_full,
        }
        return {name: int(count(self._native)) for name, count in names.items()}

    # --- key log ---

    @property
    def keylog_filename(self) -> str | None:
        """A file that every connection's secrets are appended to, for a protocol analyser; whoever has it can read
        everything. None, the default, for none. Raises OSError where it cannot be opened."""
        return None if self._keylog is None else self._keylog.path

    @keylog_filename.setter
    def keylog_filename(self, value: Path | None) -> None:
        log = None if value is None else key_log(value)
        self._keylog = log
        self._want(lib.TXM_WANTS_KEYLOG, log is not None)
        lib.txm_keylog_enable(self._native, log is not None)

    def _on_keylog(self, line: bytes) -> None:
        if self._keylog is not None:
            self._keylog.write(line)

    @property
    def _msg_callback(self) -> MessageCallback | None:
        """Called for every message of the protocol but application data, with its decrypted contents; see
        :data:`txmembio.messages.MessageCallback`. It cannot change or refuse anything; an exception is raised when the
        step is done. The standard library's name."""
        return self._message_callback

    @_msg_callback.setter
    def _msg_callback(self, callback: MessageCallback | None) -> None:
        if callback is not None and not callable(callback):
            raise TypeError(f"{callback} is not callable.")
        self._message_callback = callback
        self._want(lib.TXM_WANTS_MESSAGES, callback is not None)
        lib.txm_messages_enable(self._native, callback is not None)

    def _on_message(self, connection: Any, sent: bool, version: int, content_type: int, data: bytes) -> None:
        if self._message_callback is not None:
            about = described(version, content_type, data)
            self._message_callback(connection, "write" if sent else "read", *about, data)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self._protocol.name}, {self._verify_mode.name}>"


def create_default_context(
    purpose: Purpose = Purpose.SERVER_AUTH,
    *,
    cafile: Path | None = None,
    capath: Path | None = None,
    cadata: str | bytes | None = None,
) -> SSLContext:
    """A context with the settings a careful engineer would choose: TLS 1.2 and 1.3, forward secrecy and AEAD only, no
    renegotiation, no compression; and the system's policy where that is stricter.

    Purpose.SERVER_AUTH makes one for clients, which verify the server's chain and name against `cafile`, `capath`,
    `cadata`, or, if all are left out, the platform's roots. Purpose.CLIENT_AUTH makes one for servers, which ask for no
    client certificate unless told to. ``SSLKEYLOGFILE`` is honoured. Raises what load_verify_locations() raises.
    """
    oid = getattr(purpose, "oid", None)
    if oid not in (Purpose.SERVER_AUTH.oid, Purpose.CLIENT_AUTH.oid):
        raise TypeError(f"purpose is {purpose!r}, expected a member of txmembio.Purpose")
    client = oid == Purpose.SERVER_AUTH.oid
    context = SSLContext(PROTOCOL_TLS_CLIENT if client else PROTOCOL_TLS_SERVER)
    ciphers.keep_forward_secret_aead(context._native)
    context.options |= Options.OP_NO_RENEGOTIATION | Options.OP_PRIORITIZE_CHACHA
    context.hostname_checks_common_name = False
    if sys.version_info >= (3, 13):  # from then on the standard library's default context does, too
        context.verify_flags |= VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | VerifyFlags.VERIFY_X509_STRICT
    if cafile is not None or capath is not None or cadata is not None:
        context.load_verify_locations(cafile, capath, cadata)
    elif client:
        context.load_default_certs(Purpose.SERVER_AUTH)
    keylog = os.environ.get("SSLKEYLOGFILE")
    if keylog and not sys.flags.ignore_environment:
        context.keylog_filename = keylog
    return context
