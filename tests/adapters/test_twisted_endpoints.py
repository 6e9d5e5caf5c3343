"""Endpoint strings: each key shown to do what it says, in a handshake over a socket."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IProtocolNegotiationFactory, IReactorUNIX
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from zope.interface import implementer

import txmembio
from support.memory_reactor import MemoryReactor
from support.peers import escape
from support.pki import PKI, Credential
from support.reactors import need
from txmembio.twisted import TLSTransport

DH_PARAMETERS = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""The group ffdhe2048 (RFC 7919, appendix A.1)."""


# --- a conversation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What one side's connection was, while it was open."""

    version: str | None
    cipher: str
    group: str | None
    alpn: str | None
    server_name: str | None
    peer: bytes | None
    chain: list[bytes]


def facts(transport: Any) -> Facts:
    connection = transport.connection
    return Facts(
        version=connection.version(),
        cipher=connection.cipher()[0],
        group=connection.group(),
        alpn=connection.selected_alpn_protocol(),
        server_name=connection.server_name(),
        peer=connection.getpeercert(binary_form=True),
        chain=connection.get_unverified_chain(),
    )


class Answering(Protocol):
    """The server: answers, once, and waits for the end."""

    factory: Any
    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.factory.seen.put(facts(self.transport))
        self.transport.write(data[::-1])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.lost.put(reason.value)


class Asking(Protocol):
    """The client: asks, and closes when it has the answer; *done* says what it saw, or why it got none."""

    transport: Any

    def __init__(self) -> None:
        self.done: Deferred[Facts] = Deferred()
        self.seen: Facts | None = None

    def connectionMade(self) -> None:
        self.transport.write(b"ping")

    def dataReceived(self, data: bytes) -> None:
        assert data == b"gnip"
        self.seen = facts(self.transport)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.seen is None:
            self.done.errback(reason)
        else:
            self.done.callback(self.seen)


class Server(Factory):
    protocol = Answering

    def __init__(self) -> None:
        self.seen: DeferredQueue[Facts] = DeferredQueue()
        self.lost: DeferredQueue[BaseException] = DeferredQueue()
        self.listening: Any = None

    @property
    def port(self) -> int:
        port: int = self.listening.getHost().port
        return port


@implementer(IProtocolNegotiationFactory)
class NegotiatingServer(Server):
    """As twisted.web's site is: it knows its protocols by itself."""

    def acceptableProtocols(self) -> list[bytes]:
        return [b"two"]


@asynccontextmanager
async def serving(description: str, server: Server | None = None) -> AsyncIterator[Server]:
    server = server or Server()
    server.listening = await serverFromString(reactor, f"membiotls:{description}").listen(server)
    try:
        yield server
    finally:
        await server.listening.stopListening()


async def ask(description: str) -> Facts:
    asking = Asking()
    await clientFromString(reactor, f"membiotls:{description}").connect(Factory.forProtocol(lambda: asking))
    return await asking.done


async def converse(server: Server, pki: PKI, keys: str = "", host: str = "localhost") -> tuple[Facts, Facts]:
    """What the server and the client saw of each other."""
    below = escape(f"tcp:127.0.0.1:{server.port}")
    client = await ask(f"{host}:endpoint={below}:trustRoots={escape(pki.ca.certificate_file)}{keys}")
    seen = await server.seen.get()
    await server.lost.get()
    return seen, client


async def refused(server: Server, pki: PKI, keys: str = "", host: str = "localhost") -> tuple[Any, Any]:
    """Why the client, and why the server, ended a connection without an answer."""
    with pytest.raises(Exception) as caught:
        await converse(server, pki, keys, host)
    return caught.value, await server.lost.get()


def files(credential: Credential) -> str:
    return f"privateKey={escape(credential.key_file)}:certKey={escape(credential.chain_file)}"


@pytest.fixture
def local(pki: PKI) -> str:
    """A server on a free port of this host's IPv4 loopback."""
    return f"0:interface=127.0.0.1:{files(pki.server)}"


# --- which certificate ------------------------------------------------------------------------------------------------


def _certificate(pki: PKI) -> str:
    return f"certificate={escape(pki.server.combined_file)}"


def _certificate_and_key(pki: PKI) -> str:
    return f"certificate={escape(pki.server.chain_file)}:privateKey={escape(pki.server.key_file)}"


def _private_key_and_cert_key(pki: PKI) -> str:
    return files(pki.server)


def _private_key_alone(pki: PKI) -> str:
    return f"privateKey={escape(pki.server.combined_file)}"


def _extra_cert_chain(pki: PKI) -> str:
    chain = escape(pki.intermediate.certificate_file)
    return (
        f"privateKey={escape(pki.server.key_file)}:certKey={escape(pki.server.certificate_file)}:extraCertChain={chain}"
    )


def _by_position(pki: PKI) -> str:
    return f"{escape(pki.server.key_file)}:{escape(pki.server.chain_file)}"


@pytest.mark.parametrize(
    "form",
    [
        _certificate,
        _certificate_and_key,
        _private_key_and_cert_key,
        _private_key_alone,
        _extra_cert_chain,
        _by_position,
    ],
)
@pytest_twisted.ensureDeferred
async def test_certificate_and_chain_come_from_the_files_named(pki: PKI, form: Callable[[PKI], str]) -> None:
    async with serving(f"0:{form(pki)}:interface=127.0.0.1") as server:
        _, client = await converse(server, pki)
    assert client.chain == pki.server.chain_der


@pytest_twisted.ensureDeferred
async def test_private_key_defaults_to_server_pem(pki: PKI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("server.pem").write_bytes(pki.server.private_key + pki.server.chain)
    async with serving("0:interface=127.0.0.1") as server:
        _, client = await converse(server, pki)
    assert client.peer == pki.server.certificate_der


@pytest_twisted.ensureDeferred
async def test_strings_of_bytes_do_as_well(pki: PKI, local: str) -> None:
    server = Server()
    server.listening = await serverFromString(reactor, b"membiotls:" + local.encode()).listen(server)
    asking = Asking()
    client = f"membiotls:localhost:{server.port}:trustRoots={escape(pki.ca.certificate_file)}".encode()
    await clientFromString(reactor, client).connect(Factory.forProtocol(lambda: asking))
    assert (await asking.done).peer == pki.server.certificate_der
    await server.listening.stopListening()


def has_ipv6_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


# --- a folder of certificates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{path}:0", "path={path}:port=0", "0:path={path}", "{path}:port=0"])
@pytest_twisted.ensureDeferred
async def test_folder_picks_the_certificate_by_server_name(pki: PKI, form: str) -> None:
    path = escape(pki.pem_folder("a.example", "*.b.example"))
    async with serving(form.format(path=path) + ":interface=127.0.0.1") as server:
        for host in ("a.example", "x.b.example"):
            seen, client = await converse(server, pki, host=host)
            assert seen.server_name == host
            assert len(client.chain) == 2
        error, _ = await refused(server, pki, host="c.example")
    assert isinstance(error, txmembio.SSLCertVerificationError)
    assert "c.example" in str(error)


@pytest.mark.skipif(not has_ipv6_loopback(), reason="there is no address ::1")
@pytest_twisted.ensureDeferred
async def test_folder_listens_on_ipv6(pki: PKI) -> None:
    path = escape(pki.pem_folder("localhost"))
    async with serving(f"{path}:0:interface=\\:\\:1") as server:
        below = escape(rf"tcp:host=\:\:1:port={server.port}")
        client = await ask(f"localhost:endpoint={below}:trustRoots={escape(pki.ca.certificate_file)}")
    assert client.server_name == "localhost"


# --- where to listen and connect --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "port", "backlog", "interface"),
    [
        ("8443:{files}", 8443, 50, ""),
        ("8443:{files}:backlog=7:interface=127.0.0.2", 8443, 7, "127.0.0.2"),
        ("port=8443:{files}:interface=\\:\\:1", 8443, 50, "::1"),
        ("{folder}", 443, 50, "::"),
        ("{folder}:8443", 8443, 50, "::"),
        ("{folder}:8443:7:127.0.0.1", 8443, 7, "127.0.0.1"),
        ("path={folder}:backlog=7:interface=", 443, 7, ""),
    ],
)
def test_where_a_server_listens(pki: PKI, keys: str, port: int, backlog: int, interface: str) -> None:
    memory = MemoryReactor()
    description = keys.format(files=files(pki.server), folder=escape(pki.pem_folder("localhost")))
    serverFromString(memory, f"membiotls:{description}").listen(Server())
    [(got_port, _, got_backlog, got_interface)] = memory.tcpServers
    assert (got_port, got_backlog, got_interface) == (port, backlog, interface)


@pytest.mark.parametrize(
    ("keys", "timeout", "bind_address"),
    [
        ("", 30.0, None),
        (":5", 5.0, None),
        (":timeout=0.5:bindAddress=127.0.0.2", 0.5, ("127.0.0.2", 0)),
        (":none:127.0.0.2", None, ("127.0.0.2", 0)),
    ],
)
def test_how_a_client_connects(keys: str, timeout: float | None, bind_address: tuple[str, int] | None) -> None:
    memory = MemoryReactor()
    clientFromString(memory, f"membiotls:127.0.0.1:8443{keys}").connect(Server())
    memory.advance(1)
    [(host, port, _, got_timeout, got_address)] = memory.tcpClients
    assert (host, port, got_timeout, got_address) == ("127.0.0.1", 8443, timeout, bind_address)


@pytest_twisted.ensureDeferred
async def test_endpoint_runs_over_a_unix_socket_on_both_sides(pki: PKI, tmp_path: Path) -> None:
    need(IReactorUNIX)
    below = escape(f"unix:{tmp_path / 'socket'}")
    async with serving(f"endpoint={below}:{files(pki.server)}") as server:
        client = await ask(f"localhost:443:endpoint={below}:trustRoots={escape(pki.ca.certificate_file)}")
        await server.lost.get()
    assert client.peer == pki.server.certificate_der


@pytest_twisted.ensureDeferred
async def test_folder_runs_over_an_endpoint_too(pki: PKI, tmp_path: Path) -> None:
    need(IReactorUNIX)
    below = escape(f"unix:{tmp_path / 'socket'}")
    async with serving(f"{escape(pki.pem_folder('localhost'))}:endpoint={below}") as server:
        await ask(f"localhost:endpoint={below}:trustRoots={escape(pki.ca.certificate_file)}")
        await server.lost.get()


@pytest_twisted.ensureDeferred
async def test_endpoint_runs_after_the_proxy_protocol(pki: PKI) -> None:
    """The PROXY header comes before TLS, in plaintext: what a proxy in front of this server sends."""
    below = escape("haproxy:tcp:0:interface=127.0.0.1")
    async with serving(f"endpoint={below}:{files(pki.server)}") as server:
        client = clientFromString(reactor, f"tcp:127.0.0.1:{server.port}")
        tls = txmembio.create_default_context(cafile=pki.ca.certificate_file).connection(server_hostname="localhost")
        proxy = Proxy(tls)
        await client.connect(Factory.forProtocol(lambda: proxy))
        assert await proxy.answer == b"gnip"
        assert proxy.source == ("192.0.2.1", 4321)


class Proxy(Protocol):
    """Sends the header of the PROXY protocol, then speaks TLS by hand."""

    transport: Any

    def __init__(self, connection: txmembio.Connection) -> None:
        self.connection = connection
        self.answer: Deferred[bytes] = Deferred()
        self.source = ("192.0.2.1", 4321)

    def connectionMade(self) -> None:
        self.transport.write(b"PROXY TCP4 192.0.2.1 192.0.2.2 4321 443\r\n")
        self.connection.do_handshake()
        self.connection.send_plaintext(b"ping")
        self.transport.write(self.connection.wire_to_send())

    def dataReceived(self, data: bytes) -> None:
        plaintext = self.connection.receive_wire(data)
        if plaintext:
            self.connection.close()
        self.transport.write(self.connection.wire_to_send())
        if plaintext:
            self.answer.callback(plaintext)
            self.transport.loseConnection()


# --- versions, ciphers, groups, ALPN ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings(r"ignore:ssl\.TLSVersion\.TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("server_keys", "client_keys", "version"),
    [
        ("", "", "TLSv1.3"),
        (":maxVersion=1.2", "", "TLSv1.2"),
        ("", ":maxVersion=TLSv1_2", "TLSv1.2"),
        (":sslmethod=TLSv1_2_METHOD", "", "TLSv1.2"),
        (":sslmethod=SSLv23_METHOD", "", "TLSv1.3"),
        (":minVersion=TLSv1.3", "", "TLSv1.3"),
        (":minVersion=1.3", ":maxVersion=1.2", None),
        (":maxVersion=1.2", ":minVersion=1.3", None),
        (":sslmethod=TLSv1_2_METHOD", ":minVersion=1.3", None),
        (":minVersion=1.1:maxVersion=1.1:ciphers=ECDHE+AES,@SECLEVEL=0", "", None),
        (
            ":minVersion=1.1:maxVersion=1.1:ciphers=ECDHE+AES,@SECLEVEL=0",
            ":minVersion=1.1:ciphers=ECDHE+AES,@SECLEVEL=0",
            "TLSv1.1",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_versions(pki: PKI, local: str, server_keys: str, client_keys: str, version: str | None) -> None:
    async with serving(local + server_keys) as server:
        if version is not None:
            seen, client = await converse(server, pki, client_keys)
            assert seen.version == client.version == version
            return
        client_error, server_error = await refused(server, pki, client_keys)
    assert client_error.alert == server_error.alert == "protocol_version"


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize(
    ("keys", "fact", "value"),
    [
        (":maxVersion=1.2:ciphers=ECDHE-ECDSA-AES256-GCM-SHA384", "cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (":maxVersion=1.2:ciphers=ECDHE+CHACHA20\\:!RSA", "cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        (":cipherSuites=TLS_CHACHA20_POLY1305_SHA256", "cipher", "TLS_CHACHA20_POLY1305_SHA256"),
        (":groups=P-384", "group", "secp384r1"),
        (":groups=P-521,P-384", "group", "secp521r1"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_ciphers_and_groups(pki: PKI, local: str, side: str, keys: str, fact: str, value: str) -> None:
    async with serving(local + (keys if side == "server" else "")) as server:
        seen, client = await converse(server, pki, keys if side == "client" else "")
    assert getattr(seen, fact) == getattr(client, fact) == value


@pytest_twisted.ensureDeferred
async def test_groups_without_one_in_common_are_refused(pki: PKI, local: str) -> None:
    async with serving(local + ":groups=P-384") as server:
        client_error, server_error = await refused(server, pki, ":groups=P-521")
    assert client_error.alert == server_error.alert == "handshake_failure"


@pytest_twisted.ensureDeferred
async def test_dh_parameters_are_used(pki: PKI, tmp_path: Path) -> None:
    (tmp_path / "dh.pem").write_text(DH_PARAMETERS)
    keys = f"{files(pki.server_rsa)}:dhParameters={escape(str(tmp_path / 'dh.pem'))}"
    async with serving(f"0:interface=127.0.0.1:{keys}:maxVersion=1.2:ciphers=DHE+AESGCM") as server:
        _, client = await converse(server, pki, ":ciphers=DHE+AESGCM")
    assert client.cipher.startswith("DHE-RSA-AES")


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize(
    ("server_keys", "client_keys", "chosen"),
    [
        (":alpn=h2,http/1.1", ":alpn=http/1.1,h2", "h2"),
        (":alpn=h2,http/1.1", ":alpn=http/1.1", "http/1.1"),
        (":alpn=h2", "", None),
        ("", ":alpn=h2", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_alpn(pki: PKI, local: str, folder: bool, server_keys: str, client_keys: str, chosen: str | None) -> None:
    if folder:
        local = f"{escape(pki.pem_folder('a.example', 'localhost'))}:0:interface=127.0.0.1"
    async with serving(local + server_keys) as server:
        seen, client = await converse(server, pki, client_keys)
    assert seen.alpn == client.alpn == chosen


# --- who is verified --------------------------------------------------------------------------------------------------


def client_identity(credential: Credential) -> str:
    return f":certificate={escape(credential.chain_file)}:privateKey={escape(credential.key_file)}"


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("verify", ["", ":verifyClient=required", ":verifyClient=optional"])
@pytest_twisted.ensureDeferred
async def test_client_ca(pki: PKI, local: str, folder: bool, version: str, verify: str) -> None:
    if folder:
        local = f"{escape(pki.pem_folder('a.example', 'localhost'))}:0:interface=127.0.0.1"
    keys = f":clientCA={escape(pki.ca.certificate_file)}{verify}:maxVersion={version}"
    async with serving(local + keys) as server:
        seen, _ = await converse(server, pki, client_identity(pki.client))
        assert seen.peer == pki.client.certificate_der

        client_error, server_error = await refused(server, pki, client_identity(pki.untrusted_client))
        assert isinstance(server_error, txmembio.SSLCertVerificationError)
        assert client_error.alert == "unknown_ca"

        if verify.endswith("optional"):
            seen, _ = await converse(server, pki)
            assert seen.peer is None
        else:
            client_error, server_error = await refused(server, pki)
            assert isinstance(server_error, txmembio.SSLError)
            assert client_error.alert == ("handshake_failure" if version == "1.2" else "certificate_required")


@pytest_twisted.ensureDeferred
async def test_client_certificate_with_its_key_in_one_file(pki: PKI, local: str) -> None:
    async with serving(f"{local}:clientCA={escape(pki.ca.certificate_file)}") as server:
        seen, _ = await converse(server, pki, f":certificate={escape(pki.client.combined_file)}")
    assert seen.peer == pki.client.certificate_der


@pytest.mark.parametrize(
    ("credential", "words"),
    [
        ("untrusted", "self-signed certificate|unable to get local issuer"),
        ("expired", "certificate has expired"),
        ("wrong_name", "localhost"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_client_verifies_chain_and_name(pki: PKI, credential: str, words: str) -> None:
    async with serving(f"0:interface=127.0.0.1:{files(getattr(pki, credential))}") as server:
        client_error, server_error = await refused(server, pki)
    assert isinstance(client_error, txmembio.SSLCertVerificationError)
    assert re.search(words, str(client_error))
    assert isinstance(server_error, txmembio.SSLError)


@pytest_twisted.ensureDeferred
async def test_client_trusts_the_platform_unless_told_otherwise(
    pki: PKI, local: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca.certificate_file)
    async with serving(local) as server:
        await ask(f"localhost:{server.port}")
        await server.lost.get()
        monkeypatch.setenv("SSL_CERT_FILE", pki.untrusted_ca.certificate_file)
        with pytest.raises(txmembio.SSLCertVerificationError):
            await ask(f"localhost:{server.port}")
        await server.lost.get()


@pytest_twisted.ensureDeferred
async def test_trust_roots_may_be_a_folder(pki: PKI, local: str, tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_bytes(pki.untrusted_ca.certificate)
    (tmp_path / "two.pem").write_bytes(pki.ca.certificate)
    async with serving(local) as server:
        await ask(f"localhost:{server.port}:trustRoots={escape(str(tmp_path))}")
        await server.lost.get()


@pytest_twisted.ensureDeferred
async def test_address_as_host_is_verified_as_one(pki: PKI, local: str) -> None:
    async with serving(local) as server:
        seen, _ = await converse(server, pki, host="127.0.0.1")
        assert seen.server_name is None
        error, _ = await refused(server, pki, host="127.0.0.2")
    assert "127.0.0.2" in str(error)


def test_host_outside_ascii_is_verified_by_its_ascii_form() -> None:
    memory = MemoryReactor()
    endpoint = clientFromString(memory, "membiotls:bücher.example:443")
    connected = Server()
    endpoint.connect(connected)
    memory.advance(1)
    assert "xn--bcher-kva.example" in repr(vars(endpoint))


@pytest_twisted.ensureDeferred
async def test_alpn_of_the_string_goes_before_the_factory_s_own(pki: PKI, local: str) -> None:
    for keys, chosen in ((":alpn=one,two", "one"), ("", "two")):
        async with serving(local + keys, NegotiatingServer()) as server:
            seen, client = await converse(server, pki, ":alpn=one,two")
            assert seen.alpn == client.alpn == chosen


@pytest.mark.parametrize("keys", ["", ":clientCA={ca}"])
@pytest_twisted.ensureDeferred
async def test_alpn_of_the_factory_holds_for_every_name_of_a_folder(pki: PKI, keys: str) -> None:
    folder = f"{escape(pki.pem_folder('a.example', 'localhost'))}:0:interface=127.0.0.1"
    keys = keys.format(ca=escape(pki.ca.certificate_file))
    async with serving(folder + keys, NegotiatingServer()) as server:
        for host in ("a.example", "localhost"):
            identity = client_identity(pki.client) if keys else ""
            _, client = await converse(server, pki, f":alpn=one,two{identity}", host)
            assert client.alpn == "two"


# --- time-outs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "handshake", "shutdown"),
    [
        ("", 60.0, 30.0),
        (":handshakeTimeout=5:shutdownTimeout=0.5", 5.0, 0.5),
        (":handshakeTimeout=0:shutdownTimeout=none", None, None),
    ],
)
def test_time_outs(pki: PKI, keys: str, handshake: float | None, shutdown: float | None) -> None:
    memory = MemoryReactor()
    one, other = Protocol(), Protocol()
    serverFromString(memory, f"membiotls:443:{files(pki.server)}{keys}").listen(Factory.forProtocol(lambda: one))
    clientFromString(memory, f"membiotls:127.0.0.1:443{keys}").connect(Factory.forProtocol(lambda: other))
    memory.advance(1)
    connect(memory.tcpServers[0][1])
    connect(memory.tcpClients[0][2])
    for protocol in (one, other):
        assert isinstance(protocol.transport, TLSTransport)
        factory = protocol.transport.factory
        assert (factory.handshakeTimeout, factory.shutdownTimeout) == (handshake, shutdown)


def connect(factory: Any) -> StringTransportWithDisconnection:
    """A connection for what *factory* builds, whose peer says nothing."""
    transport = StringTransportWithDisconnection()
    transport.protocol = factory.buildProtocol(None)
    transport.protocol.makeConnection(transport)
    return transport


@pytest.mark.parametrize("seconds", [5, None])
def test_silent_client_is_gone_after_the_handshake_time_out_on_the_reactor_s_clock(
    pki: PKI, seconds: int | None
) -> None:
    memory = MemoryReactor()
    description = f"membiotls:443:{files(pki.server)}:handshakeTimeout={seconds or 'none'}"
    serverFromString(memory, description).listen(Server())
    transport = connect(memory.tcpServers[0][1])
    memory.advance(4)
    assert transport.connected
    memory.advance(86400)
    assert transport.connected is (seconds is None)
