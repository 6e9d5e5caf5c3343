"""What `OpenSSL` does, step by step, as JSON: run with pyOpenSSL and with txmembio in its place, to compare the two.

    python openssl_behaviour.py FOLDER [--install]

FOLDER has the files that test_OpenSSL_behaviour.py writes there. Each function below that begins with an upper-case
letter is a scenario; what it returns, or how it fails, is its result. Random bytes are left out, and so are reasons in
OpenSSL's words where its versions word them differently.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

if "--install" in sys.argv:
    import txmembio

    txmembio.install("OpenSSL")

from OpenSSL import SSL, crypto  # type: ignore[import-not-found,unused-ignore]  # whichever there is

warnings.simplefilter("ignore")  # the newer pyOpenSSL's, that it would rather not be used like this

FOLDER = sys.argv[1]
CLIENT, SERVER = "client", "server"


def path(name: str) -> str:
    return os.path.join(FOLDER, name)


def data(name: str) -> bytes:
    with open(path(name), "rb") as file:
        return file.read()


def certificate(name: str = "server.pem") -> Any:
    return crypto.load_certificate(crypto.FILETYPE_PEM, data(name))


def key(name: str = "server.key") -> Any:
    return crypto.load_privatekey(crypto.FILETYPE_PEM, data(name))


def server_context(method: int = SSL.TLS_METHOD) -> Any:
    context = SSL.Context(method)
    context.use_certificate_chain_file(path("server.pem"))
    context.use_privatekey(key())
    return context


def client_context(method: int = SSL.TLS_METHOD, verify: bool = True) -> Any:
    context = SSL.Context(method)
    context.load_verify_locations(path("ca.pem"))
    if verify:
        context.set_verify(SSL.VERIFY_PEER)
    return context


def attempt(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """What it returns, or the exception's name and arguments."""
    try:
        value = call(*arguments, **keywords)
    except Exception as error:
        return {"raised": type(error).__name__, "args": plain(error.args)}
    return plain(value)


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value if isinstance(value, (int, str, float, bool, type(None))) else type(value).__name__


def keep(log: list[Any], entry: Any, result: Any) -> Any:
    """Writes down `entry`; returns `result`."""
    log.append(entry)
    return result


class Ends:
    """A client and a server in memory."""

    def __init__(self, client: Any = None, server: Any = None) -> None:
        self.client = SSL.Connection(client or client_context(), None)
        self.server = SSL.Connection(server or server_context(), None)
        self.client.set_connect_state()
        self.server.set_accept_state()

    def carry(self) -> bool:
        """Moves what there is to move; whether that was anything."""
        moved = False
        for source, target in ((self.client, self.server), (self.server, self.client)):
            try:
                while True:
                    target.bio_write(source.bio_read(65536))
                    moved = True
            except SSL.WantReadError:
                pass
        return moved

    def handshake(self) -> list[Any]:
        """What do_handshake() said last, at either end."""
        said: dict[str, Any] = {}
        for _ in range(20):
            for name, end in ((CLIENT, self.client), (SERVER, self.server)):
                if said.get(name, "WantReadError") == "WantReadError":
                    try:
                        end.do_handshake()
                        said[name] = "done"
                    except SSL.WantReadError:
                        said[name] = "WantReadError"
                    except Exception as error:
                        said[name] = plain([type(error).__name__, *last_words(error)])
            if not self.carry():
                break
        for name, end in ((CLIENT, self.client), (SERVER, self.server)):  # tickets, and alerts that came late
            if said[name] == "done":
                said[name] = attempt(end.recv, 1)
        return [said[CLIENT], said[SERVER]]

    def send(self, text: bytes, source: str = CLIENT) -> bytes:
        """Through, and what came out."""
        sender, receiver = (self.client, self.server) if source == CLIENT else (self.server, self.client)
        sender.send(text)
        self.carry()
        out = b""
        while len(out) < len(text):
            out += receiver.recv(65536)
        return out


def last_words(error: BaseException) -> list[Any]:
    """The newest entry of an error queue."""
    if not error.args or not isinstance(error.args[0], list):
        return [plain(error.args)]
    return [plain(error.args[0][-1])] if error.args[0] else []


# --- connections ---


def Handshake() -> Any:
    ends = Ends()
    return ends.handshake(), ends.send(b"hello") == b"hello", ends.send(b"back", SERVER) == b"back"


def HandshakeTLS12() -> Any:
    ends = Ends(client_context(SSL.TLSv1_2_METHOD))
    facts = ends.handshake(), ends.client.get_protocol_version_name(), ends.client.get_protocol_version()
    return [*facts, ends.client.get_cipher_version(), ends.server.get_cipher_bits()]


def BeforeTheHandshake() -> Any:
    ends = Ends()
    client = ends.client
    return {
        name: attempt(getattr(client, name), *arguments)
        for name, arguments in {
            "get_peer_certificate": (),
            "get_peer_cert_chain": (),
            "get_verified_chain": (),
            "get_certificate": (),
            "get_alpn_proto_negotiated": (),
            "get_cipher_name": (),
            "get_cipher_bits": (),
            "get_cipher_version": (),
            "get_finished": (),
            "get_peer_finished": (),
            "get_servername": (),
            "get_session": (),
            "get_shutdown": (),
            "get_app_data": (),
            "get_client_ca_list": (),
            "get_verify_mode": (),
            "client_random": (),
            "server_random": (),
            "master_key": (),
            "pending": (),
            "renegotiate_pending": (),
            "total_renegotiations": (),
            "want_read": (),
            "want_write": (),
            "bio_read": (100,),
            "recv": (100,),
            "send": (b"x",),
            "makefile": (),
        }.items()
    }


def AfterTheHandshake() -> Any:
    ends = Ends()
    ends.handshake()
    client, server = ends.client, ends.server
    return [
        client.get_cipher_name() == server.get_cipher_name(),
        client.get_protocol_version_name(),
        client.get_finished() == server.get_peer_finished(),
        server.get_finished() == client.get_peer_finished(),
        client.client_random() == server.client_random(),
        client.server_random() == server.server_random(),
        client.master_key() == server.master_key(),
        client.export_keying_material(b"EXPORTER-x", 32) == server.export_keying_material(b"EXPORTER-x", 32),
        client.export_keying_material(b"EXPORTER-x", 8, b"") == client.export_keying_material(b"EXPORTER-x", 8),
        client.get_peer_certificate().digest("sha256").decode(),
        plain(server.get_peer_certificate()),
        [each.get_serial_number() for each in client.get_peer_cert_chain()],
        [each.get_serial_number() for each in client.get_verified_chain()],
        plain(server.get_peer_cert_chain()),
        server.get_certificate().get_serial_number(),
        client.get_peer_certificate(as_cryptography=True).serial_number,
        client.get_context() is not server.get_context(),
        client.get_state_string().decode(),
        client.want_read(),
    ]


def BadArguments() -> Any:
    ends = Ends()
    client, context, free = ends.client, client_context(), client_context()
    return [
        attempt(SSL.Context, "TLS"),
        attempt(SSL.Context, 99),
        attempt(SSL.Connection, "context"),
        attempt(SSL.Connection, context, "socket"),
        attempt(client.set_context, None),
        attempt(client.set_tlsext_host_name, "text"),
        attempt(client.set_tlsext_host_name, b"a\0b"),
        attempt(client.set_alpn_protos, []),
        attempt(client.set_session, None),
        attempt(client.set_verify, "yes"),
        attempt(client.set_verify, SSL.VERIFY_PEER, "callback"),
        attempt(client.set_shutdown, "x"),
        attempt(client.set_options, "x"),
        attempt(client.bio_read, "x"),
        attempt(client.nothing_of_the_kind if hasattr(client, "nothing_of_the_kind") else lambda: "AttributeError"),
        attempt(free.set_options, "x"),
        attempt(free.set_mode, "x"),
        attempt(free.set_verify, "x"),
        attempt(free.set_verify, SSL.VERIFY_PEER, 3),
        attempt(free.set_verify_depth, "x"),
        attempt(free.set_timeout, "x"),
        attempt(free.set_session_cache_mode, "x"),
        attempt(free.set_cipher_list, 3),
        attempt(free.set_tls13_ciphersuites, "x"),
        attempt(free.set_alpn_protos, []),
        attempt(free.use_certificate, "x"),
        attempt(free.use_privatekey, "x"),
        attempt(free.use_privatekey_file, path("server.key"), "x"),
        attempt(free.use_certificate_file, path("server.pem"), "x"),
        attempt(free.set_client_ca_list, ["x"]),
        attempt(free.set_passwd_cb, "x"),
    ]


def raised(call: Callable[..., Any], *arguments: Any) -> str:
    try:
        call(*arguments)
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__}, {type(error.args[0]).__name__}"
    return "nothing"


def Mistakes() -> Any:
    """OpenSSL's own errors: which exception, and that there is a queue in it."""
    context = client_context()
    other = SSL.Context(SSL.TLS_METHOD)
    other.use_certificate(certificate())
    return [
        raised(context.set_cipher_list, b"nothing-of-the-kind"),
        raised(context.set_tls13_ciphersuites, b"nothing-of-the-kind"),
        raised(context.load_verify_locations, path("missing")),
        raised(context.load_verify_locations, path("garbage.pem")),
        raised(context.use_certificate_file, path("missing")),
        raised(context.use_certificate_chain_file, path("garbage.pem")),
        raised(context.use_privatekey_file, path("garbage.pem")),
        raised(context.load_client_ca, path("missing").encode()),
        raised(context.load_tmp_dh, path("missing")),
        raised(context.check_privatekey),
        raised(other.use_privatekey, key("other.key")),
        raised(context.set_session_id, b"x" * 33),
        raised(crypto.load_certificate, crypto.FILETYPE_PEM, b"garbage"),
        raised(crypto.load_certificate, crypto.FILETYPE_ASN1, b"garbage"),
        raised(crypto.load_privatekey, crypto.FILETYPE_PEM, b"garbage"),
        raised(crypto.load_publickey, crypto.FILETYPE_PEM, b"garbage"),
    ]


def Unverified() -> Any:
    stranger = SSL.Context(SSL.TLS_METHOD)
    stranger.set_verify(SSL.VERIFY_PEER)
    return Ends(stranger).handshake()


def VerifyCallback() -> Any:
    calls: list[Any] = []

    def verify(connection: Any, x509: Any, number: int, depth: int, ok: int) -> bool:
        calls.append([type(connection).__name__, x509.get_serial_number(), number, depth, ok])
        return True

    context = client_context(verify=False)
    context.set_verify(SSL.VERIFY_PEER, verify)
    return Ends(context).handshake(), calls


def VerifyCallbackThatAccepts() -> Any:
    numbers: list[Any] = []
    stranger = SSL.Context(SSL.TLS_METHOD)
    stranger.set_verify(SSL.VERIFY_PEER, lambda _c, _x, number, depth, ok: keep(numbers, [number, depth, ok], True))
    return Ends(stranger).handshake(), numbers


def VerifyCallbackThatRefuses() -> Any:
    context = client_context(verify=False)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: False)
    return Ends(context).handshake()[0]


def VerifyCallbackThatFails() -> Any:
    def verify(*_: Any) -> bool:
        raise KeyError("mine")

    context = client_context(verify=False)
    context.set_verify(SSL.VERIFY_PEER, verify)
    return Ends(context).handshake()[0]


def VerifyCallbackWithoutVerification() -> Any:
    calls: list[Any] = []
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_verify(SSL.VERIFY_NONE, lambda _c, _x, number, depth, ok: keep(calls, [number, depth, ok], False))
    return Ends(context).handshake(), bool(calls)


def VerifyOfOneConnection() -> Any:
    calls: list[Any] = []
    ends = Ends(SSL.Context(SSL.TLS_METHOD))
    ends.client.set_verify(SSL.VERIFY_PEER, lambda _c, _x, number, depth, ok: keep(calls, depth, True))
    mode = ends.client.get_verify_mode()
    return ends.handshake(), calls, mode, ends.client.get_context().get_verify_mode()


def ClientCertificate() -> Any:
    server = server_context()
    server.load_verify_locations(path("ca.pem"))
    server.load_client_ca(path("ca.pem").encode())
    server.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    refused = Ends(None, server).handshake()
    client = client_context()
    client.use_certificate_chain_file(path("client.pem"))
    client.use_privatekey(key("client.key"))
    ends = Ends(client, server)
    ends.handshake()
    names = [name.CN or name.O for name in ends.client.get_client_ca_list()]
    return refused[1], ends.server.get_peer_certificate().get_serial_number(), names


def ServerName() -> Any:
    heard: list[Any] = []
    server = server_context()
    server.set_tlsext_servername_callback(lambda connection: heard.append(connection.get_servername()))
    named = Ends(None, server)
    named.client.set_tlsext_host_name(b"a.example")
    said = named.handshake()
    Ends(None, server).handshake()
    return said, plain(heard), plain(named.server.get_servername()), plain(named.client.get_servername())


def ServerNameSwitches() -> Any:
    other = SSL.Context(SSL.TLS_METHOD)
    other.use_certificate_chain_file(path("other.pem"))
    other.use_privatekey(key("other.key"))
    server = server_context()
    server.set_tlsext_servername_callback(lambda connection: connection.set_context(other))
    ends = Ends(None, server)
    ends.handshake()
    return ends.client.get_peer_certificate().get_serial_number(), ends.server.get_context() is other


def ServerNameThatFails() -> Any:
    def fail(_: Any) -> None:
        raise KeyError("mine")

    told: list[Any] = []
    before, sys.excepthook = sys.excepthook, lambda kind, *_: told.append(kind.__name__)
    try:
        server = server_context()
        server.set_tlsext_servername_callback(fail)
        return Ends(None, server).handshake()[1][0], told
    finally:
        sys.excepthook = before


def alpn(callback: Callable[..., Any], offered: list[bytes] | None = None) -> Any:
    server = server_context()
    server.set_alpn_select_callback(callback)
    ends = Ends(None, server)
    ends.client.set_alpn_protos(offered or [b"h2", b"http/1.1"])
    said = ends.handshake()
    said = [each[:1] if isinstance(each, list) else each for each in said]
    return said, plain([ends.client.get_alpn_proto_negotiated(), ends.server.get_alpn_proto_negotiated()])


def Alpn() -> Any:
    seen: list[Any] = []
    chosen = alpn(lambda _, offered: keep(seen, offered, offered[1]))
    return chosen, plain(seen)


def AlpnGoesOnWithout() -> Any:
    return alpn(lambda *_: SSL.NO_OVERLAPPING_PROTOCOLS)


def AlpnRefuses() -> Any:
    return alpn(lambda *_: b"")[1]


def AlpnCallbackThatFails() -> Any:
    def fail(*_: Any) -> bytes:
        raise KeyError("mine")

    return alpn(fail)[0][1]


def AlpnCallbackThatReturnsText() -> Any:
    return alpn(lambda *_: "h2")[0][1]


def AlpnCallbackAfterTheConnection() -> Any:
    server = server_context()
    ends = Ends(None, server)
    try:
        server.set_alpn_select_callback(lambda _, offered: offered[0])
    except ValueError:
        return "h2"  # pyOpenSSL has not let anybody since 26.2; before that it worked
    ends.client.set_alpn_protos([b"h2"])
    ends.handshake()
    return plain(ends.server.get_alpn_proto_negotiated())


def InfoCallback() -> Any:
    steps: list[Any] = []
    client = client_context()
    client.set_info_callback(lambda connection, where, value: steps.append([type(connection).__name__, where, value]))
    Ends(client).handshake()
    kinds = {where for _, where, _ in steps}
    return (
        {name for name, _, _ in steps} == {"Connection"},
        SSL.SSL_CB_HANDSHAKE_START in kinds,
        SSL.SSL_CB_HANDSHAKE_DONE in kinds,
        SSL.SSL_CB_CONNECT_LOOP in kinds,
        SSL.SSL_CB_ACCEPT_LOOP in kinds,
    )


def KeylogCallback() -> Any:
    lines: list[bytes] = []
    client = client_context()
    client.set_keylog_callback(lambda connection, line: lines.append(line))
    Ends(client).handshake()
    return sorted(line.split()[0].decode() for line in lines)


def PlainShutdown() -> Any:
    ends = Ends()
    ends.handshake()
    first = attempt(ends.client.shutdown)
    ends.carry()
    heard = attempt(ends.server.recv, 10)
    second = attempt(ends.server.shutdown)
    ends.carry()
    third = attempt(ends.client.shutdown)
    return [
        first, heard, second, third,
        ends.client.get_shutdown(), ends.server.get_shutdown(),
        raised(ends.client.send, b"x")[:13], attempt(ends.server.recv, 10),
    ]  # fmt: skip


def HalfShutdown() -> Any:
    ends = Ends()
    ends.handshake()
    ends.client.shutdown()
    return ends.send(b"still", SERVER) == b"still"


def ShutdownBeforeTheHandshake() -> Any:
    return raised(Ends().client.shutdown).split(",")[0]


def EndWithoutShutdown() -> Any:
    ends = Ends()
    ends.handshake()
    ends.client.bio_shutdown()
    return [attempt(ends.client.recv, 10)]


def EndInTheHandshake() -> Any:
    ends = Ends()
    attempt(ends.client.do_handshake)
    ends.client.bio_shutdown()
    return [attempt(ends.client.do_handshake)]


def GarbageOnTheWire() -> Any:
    ends = Ends()
    ends.server.bio_write(b"GET / HTTP/1.0\r\n\r\n" * 4)
    return raised(ends.server.do_handshake)


def Peek() -> Any:
    ends = Ends()
    ends.handshake()
    ends.client.send(b"abcdef")
    ends.carry()
    peeked = ends.server.recv(3, socket.MSG_PEEK)
    into = bytearray(10)
    count = ends.server.recv_into(into, 2)
    return plain([peeked, count, bytes(into[:count]), ends.server.pending(), ends.server.recv(100)])


def EmptySend() -> Any:
    ends = Ends()
    ends.handshake()
    return attempt(ends.client.sendall, b"")


def LargeSend() -> Any:
    ends = Ends()
    ends.handshake()
    text = bytes(range(256)) * 4096
    total = ends.client.sendall(text)
    ends.carry()
    out = b""
    while len(out) < len(text):
        out += ends.server.recv(65536)
    return plain(total is None or total == len(text)), out == text


def SendOfOtherBuffers() -> Any:
    ends = Ends()
    ends.handshake()
    sent = [ends.client.send(bytearray(b"abc")), ends.client.send(memoryview(b"def")), ends.client.send("ghi")]
    ends.carry()
    out = b""
    while len(out) < 9:
        out += ends.server.recv(100)
    return sent, plain(out)


def Sessions() -> Any:
    server = server_context()
    server.set_session_id(b"here")
    server.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    client = client_context(SSL.TLSv1_2_METHOD)
    first = Ends(client, server)
    first.handshake()
    session = first.client.get_session()
    second = Ends(client, server)
    second.client.set_session(session)
    second.handshake()
    stranger = Ends(client_context(SSL.TLSv1_2_METHOD), server)
    return (
        first.client.master_key() == second.client.master_key(),
        attempt(stranger.client.set_session, session)["raised"],
        type(session).__name__,
    )


def Renegotiation() -> Any:
    ends = Ends(client_context(SSL.TLSv1_2_METHOD))
    ends.handshake()
    before = ends.server.total_renegotiations(), ends.server.renegotiate_pending()
    asked = ends.server.renegotiate(), ends.server.renegotiate_pending()
    attempt(ends.server.do_handshake)
    for _ in range(6):
        ends.carry()
        for end in (ends.client, ends.server):
            attempt(end.recv, 10)
    return before, asked, ends.server.total_renegotiations(), ends.server.renegotiate_pending()


def Settings() -> Any:
    context = SSL.Context(SSL.TLS_METHOD)
    return [
        context.get_verify_mode(), context.get_verify_depth(), context.get_timeout(), context.get_session_cache_mode(),
        context.set_timeout(10), context.get_timeout(),
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF), context.get_session_cache_mode(),
        context.set_verify_depth(3), context.get_verify_depth(),
        bool(context.set_options(SSL.OP_NO_TICKET) & SSL.OP_NO_TICKET),
        bool(context.set_mode(SSL.MODE_RELEASE_BUFFERS) & SSL.MODE_RELEASE_BUFFERS),
        bool(context.clear_mode(SSL.MODE_RELEASE_BUFFERS) & SSL.MODE_RELEASE_BUFFERS),
        context.set_app_data([1]), context.get_app_data(),
        type(context.get_cert_store()).__name__,
    ]  # fmt: skip


def Ciphers() -> Any:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    return SSL.Connection(context, None).get_cipher_list()


def Versions() -> Any:
    client, server = client_context(), server_context()
    client.set_max_proto_version(SSL.TLS1_2_VERSION)
    old = Ends(client, server)
    old.handshake()
    server.set_min_proto_version(SSL.TLS1_3_VERSION) if not hasattr(server, "_used") else None
    return old.client.get_protocol_version_name()


def Files() -> Any:
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_chain_file(path("server.pem"))
    context.use_privatekey_file(path("server.key"))
    context.check_privatekey()
    asked: list[Any] = []
    encrypted = SSL.Context(SSL.TLS_METHOD)
    encrypted.set_passwd_cb(lambda most, again, data: keep(asked, [most, bool(again), data], b"secret"), "mine")
    encrypted.use_certificate_file(path("server.pem").encode())
    encrypted.use_privatekey_file(path("encrypted.key"))
    wrong = SSL.Context(SSL.TLS_METHOD)
    wrong.set_passwd_cb(lambda *_: b"wrong")
    return Ends(None, context).handshake(), asked, raised(wrong.use_privatekey_file, path("encrypted.key"))


def Sockets() -> Any:
    left, right = socket.socketpair()
    left.settimeout(20)
    right.settimeout(None)
    left.setblocking(True)
    client, server = SSL.Connection(client_context(), left), SSL.Connection(server_context(), right)
    client.set_connect_state()
    server.set_accept_state()
    heard: list[bytes] = []

    def serve() -> None:
        heard.append(server.recv(100))
        server.sendall(b"answer")
        server.shutdown()

    thread = threading.Thread(target=serve)
    thread.start()
    client.do_handshake()
    client.sendall(b"question")
    answer = client.recv(100)
    end = attempt(client.recv, 100)
    thread.join()
    number = client.fileno() == left.fileno()
    memory = attempt(client.bio_read, 10), attempt(client.bio_write, b"x"), attempt(client.bio_shutdown)
    left.close()
    right.close()
    return plain([heard, answer, end, number, memory])


def SocketsThatWouldBlock() -> Any:
    left, right = socket.socketpair()
    left.setblocking(False)
    client = SSL.Connection(client_context(), left)
    client.set_connect_state()
    first = attempt(client.do_handshake)
    right.close()
    second = attempt(client.do_handshake)
    left.close()
    return first, second["raised"]


# --- crypto ---


def Certificate() -> Any:
    x509 = certificate()
    return plain(
        [
            x509.get_version(), x509.get_serial_number(), x509.get_notBefore(), x509.get_notAfter(), x509.has_expired(),
            x509.get_signature_algorithm(), x509.digest("sha1"), x509.digest("sha256"), x509.subject_name_hash(),
            x509.get_extension_count(), x509.get_subject().get_components(), x509.get_issuer().get_components(),
            repr(x509.get_subject()), x509.get_subject().hash(), x509.get_subject().der(),
            x509.get_pubkey().bits(), x509.get_pubkey().type(), x509.to_cryptography().serial_number,
            crypto.dump_certificate(crypto.FILETYPE_PEM, x509), crypto.dump_certificate(crypto.FILETYPE_ASN1, x509),
            crypto.dump_publickey(crypto.FILETYPE_PEM, x509.get_pubkey()),
            attempt(x509.digest, "no-such-digest"), attempt(crypto.dump_certificate, 77, x509),
        ]
    )  # fmt: skip


def Made() -> Any:
    pkey = crypto.PKey()
    pkey.generate_key(crypto.TYPE_RSA, 2048)
    x509 = crypto.X509()
    empty = [x509.get_version(), x509.get_notBefore(), x509.get_serial_number(), x509.get_subject().get_components()]
    x509.set_version(2)
    x509.set_serial_number(2**100 + 1)
    x509.set_notBefore(b"20200101000000Z")
    x509.set_notAfter(b"20600101000000Z")
    x509.get_subject().CN = "Somebody"
    x509.get_subject().O = "Sömewhere"
    x509.get_subject().C = "DE"
    x509.get_subject().CN = "Somebody else"
    x509.set_issuer(x509.get_subject())
    x509.set_pubkey(pkey)
    x509.sign(pkey, "sha256")
    again = crypto.load_certificate(crypto.FILETYPE_ASN1, crypto.dump_certificate(crypto.FILETYPE_ASN1, x509))
    name = again.get_subject()
    copy = crypto.X509Name(name)
    copy.L = "Elsewhere"
    store = crypto.X509Store()
    store.add_cert(again)
    return plain(
        [
            empty, again.get_version(), again.get_serial_number(), again.get_notBefore(), again.get_notAfter(),
            name.get_components(), name.commonName, name.CN, name.L, copy.L, name == copy, name < copy,
            again.get_issuer() == name, again.has_expired(), again.get_signature_algorithm(), name.der(),
            attempt(getattr, name, "noSuchAttribute"), attempt(setattr, name, "noSuchAttribute", "x"),
            attempt(x509.set_notAfter, b"yesterday"), attempt(x509.set_notAfter, "20600101000000Z"),
            attempt(x509.set_serial_number, "1"), attempt(x509.set_version, "1"), attempt(x509.set_pubkey, None),
            attempt(x509.sign, None, "sha256"), attempt(x509.sign, pkey, "no-such-digest"),
            attempt(x509.sign, again.get_pubkey(), "sha256"), attempt(x509.sign, crypto.PKey(), "sha256"),
            attempt(x509.set_issuer, "x"), attempt(x509.gmtime_adj_notAfter, "x"),
            crypto.X509StoreContext(store, again).verify_certificate(),
        ]
    )  # fmt: skip


def Unsigned() -> Any:
    return raised(crypto.dump_certificate, crypto.FILETYPE_PEM, crypto.X509())


def Keys() -> Any:
    pkey = key()
    text = crypto.dump_privatekey(crypto.FILETYPE_PEM, pkey)
    secret = crypto.dump_privatekey(crypto.FILETYPE_PEM, pkey, "aes-256-cbc", b"secret")
    asked: list[Any] = []
    foreign = crypto.PKey.from_cryptography_key(pkey.to_cryptography_key())
    der = crypto.dump_privatekey(crypto.FILETYPE_ASN1, pkey)
    return plain(
        [
            text, der, pkey.type(), pkey.bits(),
            crypto.dump_privatekey(crypto.FILETYPE_ASN1, foreign) == der,
            crypto.dump_privatekey(crypto.FILETYPE_PEM, crypto.load_privatekey(crypto.FILETYPE_ASN1, der)) == text,
            secret.splitlines()[0],
            crypto.load_privatekey(crypto.FILETYPE_PEM, secret, b"secret").bits(),
            crypto.load_privatekey(crypto.FILETYPE_PEM, secret, lambda *a: keep(asked, a, b"secret")).bits(), asked,
            raised(crypto.load_privatekey, crypto.FILETYPE_PEM, secret, b"wrong"),
            attempt(crypto.load_privatekey, crypto.FILETYPE_PEM, secret, lambda *_: "text"),
            attempt(crypto.load_privatekey, crypto.FILETYPE_PEM, secret, lambda *_: b"x" * 2000),
            attempt(crypto.load_privatekey, crypto.FILETYPE_PEM, secret, 3),
            attempt(crypto.load_privatekey, crypto.FILETYPE_ASN1, der, b"secret"),
            attempt(crypto.load_privatekey, 77, der),
            attempt(crypto.dump_privatekey, crypto.FILETYPE_PEM, "key"),
            attempt(crypto.dump_privatekey, crypto.FILETYPE_PEM, pkey, "aes-256-cbc"),
            attempt(crypto.dump_privatekey, crypto.FILETYPE_PEM, pkey, "no-such-cipher", b"x"),
            attempt(crypto.dump_privatekey, 77, pkey),
            attempt(crypto.PKey().generate_key, "RSA", 2048), attempt(crypto.PKey().generate_key, crypto.TYPE_RSA, "x"),
            attempt(crypto.PKey().generate_key, crypto.TYPE_RSA, 0), attempt(crypto.PKey().generate_key, 77, 2048),
            attempt(crypto.PKey.from_cryptography_key, "key"),
            attempt(certificate().get_pubkey().check),
        ]
    )  # fmt: skip


def Stores() -> Any:
    def verified(trusted: Any, flags: int = 0) -> Any:
        store = crypto.X509Store()
        store.add_cert(trusted)
        if flags:
            store.set_flags(flags)
        context = crypto.X509StoreContext(store, certificate(), [certificate("intermediate.pem")])
        try:
            return [each.get_serial_number() for each in context.get_verified_chain()]
        except crypto.X509StoreContextError as error:
            return [error.errors[:2], error.certificate.get_serial_number(), str(error) == error.errors[2]]

    empty = crypto.X509Store()
    empty.load_locations(path("ca.pem"))
    crypto.X509StoreContext(empty, certificate(), [certificate("intermediate.pem")]).verify_certificate()
    return [
        verified(certificate("ca.pem")),
        verified(certificate("other.pem")),
        verified(certificate("ca.pem"), crypto.X509StoreFlags.CRL_CHECK)[:2],
        attempt(empty.add_cert, "x")["raised"],
        attempt(empty.add_crl, "x"),
        raised(empty.load_locations, path("missing")),
        attempt(crypto.X509StoreContext, empty, certificate(), ["x"]),
    ]


def StoreOfAContext() -> Any:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_verify(SSL.VERIFY_PEER)
    context.get_cert_store().add_cert(certificate("ca.pem"))
    return Ends(context).handshake()


def Curves() -> Any:
    curve = crypto.get_elliptic_curve("prime256v1")
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_tmp_ecdh(curve)
    return [
        curve.name, repr(curve), curve in crypto.get_elliptic_curves(),
        crypto.get_elliptic_curve("prime256v1") is curve, attempt(crypto.get_elliptic_curve, "no-such-curve"),
    ]  # fmt: skip


def main() -> None:
    scenarios = {name: value for name, value in globals().items() if callable(value) and name[0].isupper()}
    for kind in ("Any", "Callable", "Ends"):
        scenarios.pop(kind, None)
    json.dump({name: attempt_all(call) for name, call in scenarios.items()}, sys.stdout, default=plain)


def attempt_all(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return {"raised": type(error).__name__, "args": plain(error.args)}


if __name__ == "__main__":
    main()
