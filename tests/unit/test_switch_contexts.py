"""Contexts of the standard library that become ours, and sockets that OpenSSL is not given before it must be."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support import pair
from support.pki import PKI
from txmembio.switch import _contexts, _sockets


@pytest.fixture(autouse=True)
def recording() -> Iterator[None]:
    """What install("tornado") does to `ssl`."""
    before = dict(vars(ssl.SSLContext))
    undoings = [_contexts.record(), _sockets.defer()]
    yield
    for undo in reversed(undoings):
        undo()
    assert dict(vars(ssl.SSLContext)) == before


def standard_server(pki: PKI) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki.server.chain_file, pki.server.key_file)
    return context


def standard_client(pki: PKI) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pki.ca.certificate_file)


def connect(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> pair.Pair:
    return pair.connect(_contexts.ours(client), _contexts.ours(server), server_hostname=name)


def refused(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> tuple[Any, Any]:
    ends = pair.unconnected(_contexts.ours(client), _contexts.ours(server), server_hostname=name)
    ends.attempt_handshake()
    return ends.client.error, ends.server.error


def test_standard_contexts_become_ours(pki: PKI) -> None:
    client, server = standard_client(pki), standard_server(pki)
    ends = connect(client, server)
    assert ends.complete
    assert ends.client.connection.getpeercert(True) == pki.server.certificate_der
    assert isinstance(_contexts.ours(server), txmembio.SSLContext)
    assert _contexts.ours(server) is _contexts.ours(server)
    assert not isinstance(server, txmembio.SSLContext)


@pytest.mark.parametrize("value", [None, True, {"certfile": "x"}, txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)])
def test_all_else_stays_as_it_is(value: object) -> None:
    assert _contexts.ours(value) is value


def test_what_was_made_before_is_refused(pki: PKI) -> None:
    context = standard_server(pki)
    _contexts._notes.clear()
    with pytest.raises(TypeError, match="was made before txmembio was installed") as caught:
        _contexts.ours(context)
    assert "SSLContext" in str(caught.value)


def test_the_standard_ones_go_on_working(pki: PKI) -> None:
    """They are still the standard library's, for all who do not ask for ours."""
    client, server = standard_client(pki), standard_server(pki)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert [end.version() for end in ends] == ["TLSv1.3"] * 2


def test_files_may_be_gone_later(pki: PKI, tmp_path: Path) -> None:
    chain, key, roots = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "roots.pem"
    shutil.copy(pki.server.chain_file, chain)
    shutil.copy(pki.server.key_file, key)
    shutil.copy(pki.ca.certificate_file, roots)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(os.fsencode(chain), keyfile=key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cafile=roots)
    for path in (chain, key, roots):
        path.unlink()
    assert connect(client, server).complete


def test_a_key_beside_its_certificate(pki: PKI) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki.server.combined_file)
    assert connect(standard_client(pki), server).complete


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("kind", [str, bytes, bytearray])
def test_passwords(kind: type, called: bool, pki: PKI) -> None:
    """One that is asked for is asked for once."""
    assert pki.encrypted.password is not None
    password: Any = pki.encrypted.password.decode() if kind is str else kind(pki.encrypted.password)
    asked = []

    def ask() -> Any:
        asked.append(password)
        return password

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki.encrypted.chain_file, pki.encrypted.key_file, ask if called else password)
    assert connect(standard_client(pki), server).complete
    assert len(asked) == called


def test_a_call_that_fails_leaves_no_trace(pki: PKI) -> None:
    server = standard_server(pki)
    with pytest.raises(FileNotFoundError):
        server.load_cert_chain("nowhere.pem")
    with pytest.raises(ssl.SSLError):
        server.load_cert_chain(pki.mismatched.chain_file, pki.mismatched.key_file)
    with pytest.raises(ssl.SSLError):
        server.set_ciphers("NONE-SUCH")
    assert connect(standard_client(pki), server).complete


@pytest.mark.parametrize("form", ["text", "DER"])
def test_roots_in_every_form(form: str, pki: PKI) -> None:
    text = pki.ca.certificate.decode()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=text if form == "text" else ssl.PEM_cert_to_DER_cert(text))
    assert connect(client, standard_server(pki)).complete


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program, for `openssl rehash`")
def test_roots_in_a_folder(pki: PKI, tmp_path: Path) -> None:
    shutil.copy(pki.ca.certificate_file, tmp_path / "ca.pem")
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(capath=tmp_path)
    assert connect(client, standard_server(pki)).complete


def test_default_roots(pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca.certificate_file)
    monkeypatch.setenv("SSL_CERT_DIR", str(pki.folder / "nowhere"))
    assert connect(ssl.create_default_context(), standard_server(pki)).complete


def test_what_is_changed_later_is_followed(pki: PKI) -> None:
    """A certificate is renewed, and clients have to show theirs: all in contexts that are in use."""
    client, server = standard_client(pki), standard_server(pki)
    connect(client, server)
    server.load_cert_chain(pki.server_rsa.chain_file, pki.server_rsa.key_file)
    server.load_cert_chain(pki.wrong_name.chain_file, pki.wrong_name.key_file)
    ours = pair.connect(_contexts.ours(client), _contexts.ours(server), server_hostname="wrong.example")
    assert ours.client.connection.getpeercert(True) == pki.wrong_name.certificate_der
    server.load_verify_locations(pki.ca.certificate_file)
    server.verify_mode = ssl.CERT_REQUIRED
    twin = _contexts.ours(server)
    with pytest.raises(txmembio.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        pair.connect(_contexts.ours(client), twin, server_hostname="wrong.example")
    client.load_cert_chain(pki.client.chain_file, pki.client.key_file)
    assert pair.connect(_contexts.ours(client), twin, server_hostname="wrong.example").complete


def test_a_context_in_use_follows_without_being_asked_for_again(pki: PKI) -> None:
    """As a server does, which was given it once."""
    server = standard_server(pki)
    twin = _contexts.ours(server)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert pair.connect(pair.client_context(pki), twin).client.connection.version() == "TLSv1.2"


def test_verification_can_be_turned_off_and_on(pki: PKI) -> None:
    client, server = standard_client(pki), standard_server(pki)
    twin = _contexts.ours(client)
    client.check_hostname = False
    assert connect(client, server, "wrong.example").complete
    client.verify_mode = ssl.CERT_NONE
    assert not twin.connection(server_hostname="x.example").context.check_hostname
    assert twin.verify_mode == txmembio.CERT_NONE
    client.check_hostname = True
    error, _ = refused(client, server, "wrong.example")
    assert isinstance(error, ssl.SSLCertVerificationError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("minimum_version", ssl.TLSVersion.TLSv1_3),
        ("maximum_version", ssl.TLSVersion.TLSv1_2),
        ("options", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).options | ssl.OP_NO_TICKET),
        ("verify_flags", ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_TRUSTED_FIRST),
        ("num_tickets", 0),
        ("post_handshake_auth", True),
        ("hostname_checks_common_name", False),
    ],
)
def test_attributes(name: str, value: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert getattr(_contexts.ours(context), name) == getattr(context, name)
    setattr(context, name, value)
    assert getattr(_contexts.ours(context), name) == value


@pytest.mark.parametrize(
    "protocol", [ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS, ssl.PROTOCOL_TLSv1_2]
)
@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS:DeprecationWarning")
def test_every_protocol(protocol: Any) -> None:
    context = ssl.SSLContext(protocol)
    twin = _contexts.ours(context)
    assert twin.protocol == protocol
    assert (twin.verify_mode, twin.check_hostname) == (context.verify_mode, context.check_hostname)


def test_the_key_log_is_followed(pki: PKI, tmp_path: Path) -> None:
    client = standard_client(pki)
    client.keylog_filename = str(tmp_path / "keys")
    connect(client, standard_server(pki))
    assert "CLIENT_TRAFFIC_SECRET_0" in (tmp_path / "keys").read_text()


def test_ciphers_and_alpn(pki: PKI) -> None:
    client, server = standard_client(pki), standard_server(pki)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    server.set_alpn_protocols(["http/1.1"])
    client.set_alpn_protocols(["h2", "http/1.1"])
    connection = connect(client, server).client.connection
    cipher = connection.cipher()
    assert cipher is not None and cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert connection.selected_alpn_protocol() == "http/1.1"


def test_groups(pki: PKI) -> None:
    server = standard_server(pki)
    server.set_ecdh_curve("secp384r1")
    client = pair.client_context(pki)
    client.set_groups("X25519:P-384")
    assert pair.connect(client, _contexts.ours(server)).client.connection.group() in ("P-384", "secp384r1")


@pytest.mark.parametrize("spelling", ["sni_callback", "set_servername_callback"])
def test_a_server_name_callback_may_choose_another_context(spelling: str, pki: PKI) -> None:
    """It sees standard contexts, and gives one; and it can ask the connection."""
    other = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    other.load_cert_chain(pki.wildcard.chain_file, pki.wildcard.key_file)
    server = standard_server(pki)
    seen = []

    def choose(connection: Any, name: str | None, context: Any) -> int | None:
        seen.append(
            (name, context is server, connection.context is server, connection.server_side, connection.version())
        )
        if name == "none.example":
            return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        if name == "a.example.com":
            connection.context = other
            assert connection.context is other
        return None

    if spelling == "sni_callback":
        server.sni_callback = choose
    else:
        server.set_servername_callback(choose)
    client = standard_client(pki)
    ends = connect(client, server, "a.example.com")
    assert ends.client.connection.getpeercert(True) == pki.wildcard.certificate_der
    assert connect(client, server).client.connection.getpeercert(True) == pki.server.certificate_der
    error, _ = refused(client, server, "none.example")
    assert error.alert == "unrecognized_name"
    assert seen[0][:4] == ("a.example.com", True, True, True)
    server.sni_callback = None
    connect(client, server)
    assert len(seen) == 3


def test_psk_is_refused(pki: PKI) -> None:
    if not hasattr(ssl.SSLContext, "set_psk_server_callback"):
        pytest.skip("Python 3.13 is the first with set_psk_server_callback()")
    server: Any = standard_server(pki)
    server.set_psk_server_callback(lambda identity: b"secret")
    with pytest.raises(TypeError, match=r"set_psk_server_callback\(\) was called"):
        _contexts.ours(server)


def test_a_context_that_is_gone_is_forgotten(pki: PKI) -> None:
    """Its twin may go on being used."""
    context = standard_server(pki)
    twin, gone = _contexts.ours(context), weakref.ref(context)
    del context
    gc.collect()
    assert gone() is None
    assert pair.connect(pair.client_context(pki), twin).complete
    assert not len(_contexts._notes)


class Equal(ssl.SSLContext):
    """One that is equal to all of its kind, and so has no hash."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)


class Counted(Equal):
    """And one that has."""

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize("kind", [Equal, Counted])
def test_contexts_that_are_equal_are_not_mixed_up(kind: type[ssl.SSLContext], pki: PKI) -> None:
    servers = [kind(ssl.PROTOCOL_TLS_SERVER) for _ in range(2)]
    for server, credential in zip(servers, (pki.server, pki.wrong_name), strict=True):
        server.load_cert_chain(credential.chain_file, credential.key_file)
    client = standard_client(pki)
    client.check_hostname = False
    seen = [connect(client, server).client.connection.getpeercert(True) for server in servers]
    assert seen == [pki.server.certificate_der, pki.wrong_name.certificate_der]
    del server, servers, client
    gc.collect()
    assert not len(_contexts._notes)


# Sockets


@pytest.fixture
def joined() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets, connected with one another by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


@pytest.mark.parametrize("at_once", [True, False])
def test_sockets_work_as_ever(at_once: bool, pki: PKI, joined: tuple[socket.socket, socket.socket]) -> None:
    """For those who make no stream of them: blocking, with every way to begin."""
    client, server = joined
    results = []

    def serve() -> None:
        with standard_server(pki).wrap_socket(server, server_side=True, do_handshake_on_connect=at_once) as wrapped:
            results.append(wrapped.recv(100))
            wrapped.sendall(b"answer")

    thread = threading.Thread(target=serve)
    thread.start()
    context = standard_client(pki)
    with context.wrap_socket(client, server_hostname="localhost", do_handshake_on_connect=at_once) as wrapped:
        assert isinstance(wrapped, ssl.SSLSocket)
        wrapped.sendall(b"question")
        assert type(wrapped) is ssl.SSLSocket
        assert wrapped.recv(100) == b"answer"
        assert wrapped.version() == "TLSv1.3"
    thread.join()
    assert results == [b"question"]


@pytest.mark.parametrize(
    "use",
    [
        lambda sock: sock.do_handshake(),
        lambda sock: sock.send(b"plaintext"),
        lambda sock: sock.recv(1),
        lambda sock: sock.version(),
        lambda sock: sock.cipher(),
        lambda sock: sock.pending(),
        lambda sock: sock.session,
        lambda sock: sock.unwrap(),
    ],
)
def test_no_use_of_tls_is_missed(use: Callable[[ssl.SSLSocket], object], pki: PKI) -> None:
    """Above all, nothing is sent in the clear."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        context = standard_client(pki)
        wrapped = context.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False)
        assert type(wrapped) is _sockets.DeferredSocket
        assert (wrapped.context, wrapped.server_side, wrapped.server_hostname) == (context, False, "localhost")
        assert type(wrapped) is _sockets.DeferredSocket
        with contextlib.suppress(OSError):
            use(wrapped)
        assert type(wrapped) is ssl.SSLSocket
        theirs.setblocking(False)
        try:
            sent = theirs.recv(10)
        except BlockingIOError:
            sent = b""
        assert sent[:1] in (b"", b"\x16")
        wrapped.close()


def test_a_socket_that_is_closed_was_never_given_away(pki: PKI) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        wrapped = standard_client(pki).wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False)
        wrapped.close()
        assert theirs.recv(1) == b""


def test_one_that_is_not_connected_yet(pki: PKI) -> None:
    context = standard_client(pki)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        context.wrap_socket(socket.socket(), server_hostname="localhost", do_handshake_on_connect=False) as wrapped,
    ):
        wrapped.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            wrapped.setblocking(False)
            with pytest.raises(ssl.SSLWantReadError):
                wrapped.do_handshake()
            assert accepted.recv(1) == b"\x16"


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts the times that a socket is given to OpenSSL, and makes that slow."""
    begun = threading.Semaphore(0)
    kind: Any = ssl.SSLContext
    wrap = kind._wrap_socket

    def slowly(*args: Any, **kwargs: Any) -> Any:
        made = wrap(*args, **kwargs)
        if isinstance(made, _sockets._Later):
            make = made.make

            def make_slowly(*args: Any) -> Any:
                begun.release()
                time.sleep(0.1)
                return make(*args)

            made.make = make_slowly
        return made

    monkeypatch.setattr(kind, "_wrap_socket", slowly)
    return begun


def test_threads_begin_it_once(pki: PKI, at_work: threading.Semaphore) -> None:
    ours, theirs = socket.socketpair()
    context = standard_client(pki)
    wrapped: Any = context.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False)
    seen: list[object] = []
    with wrapped, theirs:
        threads = [threading.Thread(target=lambda: seen.append(wrapped._sslobj)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [type(wrapped), len(seen), len(set(map(id, seen)))] == [ssl.SSLSocket, 5, 1]
        assert at_work.acquire(blocking=False) and not at_work.acquire(blocking=False)
        assert wrapped._sslobj.owner is wrapped


def test_one_that_a_thread_closes_while_another_begins_stays_closed(pki: PKI, at_work: threading.Semaphore) -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    context = standard_client(pki)
    wrapped: Any = context.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False)
    with theirs:
        thread = threading.Thread(target=wrapped.version)
        thread.start()
        assert at_work.acquire(timeout=5)
        wrapped.close()
        thread.join()
        assert (wrapped._sslobj, wrapped.fileno(), theirs.recv(1)) == (None, -1, b"")


def test_one_that_could_not_begin_may_try_again(pki: PKI) -> None:
    ours, theirs = socket.socketpair()
    context = standard_client(pki)
    wrapped: Any = context.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False)
    with wrapped, theirs:
        later = vars(wrapped)["_sslobj"]
        make, later.make = later.make, lambda sock: 1 // 0
        with pytest.raises(ZeroDivisionError):
            wrapped.version()
        assert type(wrapped) is _sockets.DeferredSocket
        later.make = make
        assert wrapped.version() is None
        assert type(wrapped) is ssl.SSLSocket


def test_one_that_nobody_holds_is_closed_at_once(pki: PKI) -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    context = standard_client(pki)
    gc.disable()
    try:
        with theirs, pytest.warns(ResourceWarning, match="unclosed"):
            wrapped = context.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False)
            del wrapped
            assert theirs.recv(1) == b""
    finally:
        gc.enable()


def test_a_socket_can_be_taken_back(pki: PKI) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.settimeout(5)
        number = ours.fileno()
        wrapped = standard_client(pki).wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False)
        with _sockets.taken(wrapped) as plain:
            assert type(plain) is socket.socket
            assert (plain.fileno(), wrapped.fileno()) == (number, -1)
            assert plain.gettimeout() == 5
            assert (plain.family, plain.type) == (theirs.family, theirs.type)
            plain.sendall(b"in the clear")
            assert theirs.recv(100) == b"in the clear"


def test_one_that_has_shaken_hands_stays_what_it_is(pki: PKI, joined: tuple[socket.socket, socket.socket]) -> None:
    client, server = joined
    thread = threading.Thread(target=lambda: standard_server(pki).wrap_socket(server, server_side=True).close())
    thread.start()
    with standard_client(pki).wrap_socket(client, server_hostname="localhost") as wrapped:
        with pytest.raises(ValueError, match="has completed a handshake"):
            _sockets.taken(wrapped)
        assert wrapped.fileno() != -1
    thread.join()
