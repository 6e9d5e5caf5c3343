"""Certificates in motion, in Twisted: files that change under a port that listens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, clientFromString, serverFromString
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

import txmembio
from support import pair
from support.conversation import Logged, Seen, Server, ask, listening
from support.crls import crl
from support.memory_reactor import MemoryReactor
from support.peers import escape
from support.pki import PKI, Credential
from txmembio.limits import RELOAD_INTERVAL
from txmembio.pems import PEMFolder
from txmembio.twisted import wrapClientTLS
from txmembio.twisted.reload import Polling, wrapReloadingServerTLS

reactor: Any = _reactor

NAMESPACE = "txmembio.twisted.reload"


def new_context() -> txmembio.SSLContext:
    return txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)


def put(path: Path, *contents: bytes) -> None:
    """Replace a file so that nobody sees half of it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(b"".join(contents))
    temporary.replace(path)


def put_pair(path: Path, credential: Credential) -> None:
    put(path, credential.private_key, credential.chain)


@pytest.fixture
def folder(tmp_path: Path, pki: PKI) -> Path:
    """A folder with `pki.server` in it."""
    path = tmp_path / "pems"
    path.mkdir()
    put_pair(path / "site.pem", pki.server)
    return path


class TwistedClock(Clock):
    """Time that passes when it is told to, two looks at the files at a time."""

    def look_twice(self, interval: float = RELOAD_INTERVAL) -> None:
        self.pump([interval, interval])


def below(server: Server) -> Any:
    return clientFromString(reactor, f"tcp:127.0.0.1:{server.port}")


async def converse(
    pki: PKI,
    server: Server,
    client: txmembio.SSLContext | None = None,
    name: str = "localhost",
) -> Seen:
    """What a client sees."""
    seen = await ask(wrapClientTLS(client or pair.client_context(pki), name, below(server), sessions=None))
    await server.lost.get()
    return seen


# --- a folder ---------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_replaced_certificate_is_served_without_a_signal(
    pki: PKI, folder: Path, tls_version: txmembio.TLSVersion
) -> None:
    clock = TwistedClock()
    client = pair.client_context(pki, tls_version)
    endpoint = wrapReloadingServerTLS(
        PEMFolder(str(folder), new_context), TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), clock=clock
    )
    with Logged(NAMESPACE) as logged:
        async with listening(endpoint) as server:
            assert (await converse(pki, server, client)).peer == pki.server.certificate_der
            new = pki.issue("localhost")
            put_pair(folder / "site.pem", new)
            clock.advance(RELOAD_INTERVAL)
            assert (await converse(pki, server, client)).peer == pki.server.certificate_der
            clock.advance(RELOAD_INTERVAL)
            assert (await converse(pki, server, client)).peer == new.certificate_der
            assert clock.getDelayedCalls()
        assert not clock.getDelayedCalls()
    assert logged.texts == [f"info: {folder}: certificates were replaced by those that are there and valid now"]


@pytest_twisted.ensureDeferred
async def test_files_are_read_in_a_thread_of_the_reactor_while_the_port_listens(pki: PKI, folder: Path) -> None:
    description = f"membiotls:{escape(str(folder))}:0:interface=127.0.0.1:reloadInterval=0.01"
    before = set(reactor.getDelayedCalls())
    with Logged(NAMESPACE) as logged:
        async with listening(serverFromString(reactor, description)) as server:
            new = pki.issue("localhost")
            put_pair(folder / "site.pem", new)
            assert "certificates were replaced" in await logged.wait()
            assert (await converse(pki, server)).peer == new.certificate_der
            put(folder / "site.pem", b"")
            assert "site.pem: there is no PEM in it; those that were read before are still" in await logged.wait()
            assert (await converse(pki, server)).peer == new.certificate_der
            put_pair(folder / "site.pem", pki.server)
            assert "certificates were replaced" in await logged.wait()
            assert (await converse(pki, server)).peer == pki.server.certificate_der
    assert not {call for call in reactor.getDelayedCalls() if call not in before and "Polling" in str(call)}
    assert len(logged.texts) == 3


def test_error_is_logged_once_and_remarks_too(pki: PKI, folder: Path) -> None:
    memory = MemoryReactor()
    serverFromString(memory, f"membiotls:{escape(str(folder))}:443").listen(Factory())
    factory = memory.tcpServers[0][1]
    factory.doStart()
    with Logged(NAMESPACE) as logged:
        put(folder / "bad.pem", b"-----BEGIN CERTIFICATE-----\nbm90")
        for _ in range(10):
            memory.advance(RELOAD_INTERVAL)
        put(folder / "bad.pem", pki.client.private_key)
        for _ in range(10):
            memory.advance(RELOAD_INTERVAL)
    assert [text.split(":")[0] for text in logged.texts] == ["error", "info", "warn"]
    assert f"error: {folder}: certificates cannot be read again: bad.pem: " in logged.texts[0]
    assert logged.texts[2] == f"warn: {folder}: bad.pem: no certificate for the private key"
    factory.doStop()
    assert not memory.getDelayedCalls()


def test_polling_goes_on_until_the_last_of_two_ports_stops(folder: Path) -> None:
    memory = MemoryReactor()
    endpoint = serverFromString(memory, f"membiotls:{escape(str(folder))}:443")
    for _ in range(2):
        endpoint.listen(Factory())
    one, other = (server[1] for server in memory.tcpServers)
    assert not memory.getDelayedCalls()
    one.doStart()
    other.doStart()
    assert len(memory.getDelayedCalls()) == 1
    memory.advance(RELOAD_INTERVAL)
    one.doStop()
    assert len(memory.getDelayedCalls()) == 1
    other.doStop()
    assert not memory.getDelayedCalls()
    other.doStart()
    assert len(memory.getDelayedCalls()) == 1


def test_a_poll_under_way_when_the_port_stops_is_the_last(folder: Path) -> None:
    """And if the port comes back before it is done, there is one timer, not two."""
    clock = Clock()
    told: list[str] = []

    def poll() -> str:
        polling.stop()
        if len(told) == 1:
            polling.start()
        return "told"

    polling = Polling(poll, told.append, 1, clock)
    polling.start()
    clock.advance(1)
    assert not told and not clock.getDelayedCalls()
    told.append("before")
    polling.start()
    clock.advance(1)
    assert told == ["before", "told"]
    assert len(clock.getDelayedCalls()) == 1


@pytest_twisted.ensureDeferred
async def test_a_bug_in_a_poll_is_logged_and_does_not_end_polling() -> None:
    clock = Clock()
    results: list[Any] = [ZeroDivisionError(), "fine"]
    told: list[str] = []

    def poll() -> str:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return str(result)

    polling = Polling(poll, told.append, 1, clock)
    with Logged(NAMESPACE) as logged:
        polling.start()
        clock.pump([1, 1])
    polling.stop()
    assert told == ["fine"]
    assert logged.texts == ["critical: Looking at files failed"]


@pytest.mark.parametrize(
    ("keys", "calls"), [("", [RELOAD_INTERVAL]), (":reloadInterval=60", [60.0]), (":reloadInterval=none", [])]
)
@pytest.mark.parametrize("form", ["{folder}:443", "443:certificate={file}"])
def test_reload_interval(folder: Path, form: str, keys: str, calls: list[float]) -> None:
    memory = MemoryReactor()
    description = form.format(folder=escape(str(folder)), file=escape(str(folder / "site.pem")))
    serverFromString(memory, f"membiotls:{description}{keys}").listen(Factory())
    memory.tcpServers[0][1].doStart()
    assert [call.getTime() for call in memory.getDelayedCalls()] == calls


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("reloadInterval=-1", "reloadInterval='-1': expected seconds from 0 to 86400, 0 or \"none\" for never"),
        ("reloadInterval=often", "reloadInterval='often': expected seconds from 0 to 86400"),
        ("unknownName=forget", "unknownName='forget': expected default or refuse"),
        ("crl={ca}", "crl='{ca}': expected clientCA= beside it, with the CAs that client certificates come from"),
        ("clientCA={ca}:crl={ca}", "crl='{ca}': expected a file or folder with certificate revocation lists in PEM"),
        ("clientCA={ca}:crl=none.pem", "crl='none.pem': expected a file or folder with certificate revocation lists"),
        ("clientCA={ca}:crlCheck=leaf", "crlCheck='leaf': expected crl= beside it, with the certificate revocation"),
        ("clientCA={ca}:crl={crl}:crlCheck=all", "crlCheck='all': expected leaf or chain"),
        ("verifyClient=later", "verifyClient='later': expected clientCA= beside it, with the CAs that client"),
        ("clientCA={ca}:verifyClient=never", "verifyClient='never': expected optional or required or later"),
    ],
)
def test_mistakes(pki: PKI, folder: Path, tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "crl.pem").write_bytes(crl(pki.ca))
    names = {"ca": pki.ca.certificate_file, "crl": str(tmp_path / "crl.pem")}
    with pytest.raises(ValueError) as caught:
        serverFromString(MemoryReactor(), f"membiotls:{escape(str(folder))}:443:{keys.format(**names)}")
    assert str(caught.value).startswith(f"membiotls: {message.format(**names)}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("interval", [0, -1.0, float("nan")])
def test_interval_that_is_none(folder: Path, interval: float) -> None:
    with pytest.raises(ValueError, match="reloadInterval must be a positive number of seconds, or None"):
        wrapReloadingServerTLS(
            PEMFolder(str(folder), new_context), TCP4ServerEndpoint(reactor, 0), reloadInterval=interval
        )


# --- the files of one certificate -------------------------------------------------------------------------------------


def _in_one_file(folder: Path, credential: Credential) -> str:
    put(folder / "both.pem", credential.private_key, credential.chain)
    return f"certificate={escape(str(folder / 'both.pem'))}"


def _in_two_files(folder: Path, credential: Credential) -> str:
    put(folder / "tls.key", credential.private_key)
    put(folder / "tls.crt", credential.chain)
    return f"privateKey={escape(str(folder / 'tls.key'))}:certKey={escape(str(folder / 'tls.crt'))}"


def _in_three_files(folder: Path, credential: Credential) -> str:
    put(folder / "key", credential.private_key)
    put(folder / "cert", credential.certificate)
    put(folder / "chain", credential.chain[len(credential.certificate) :])
    keys = {"privateKey": "key", "certKey": "cert", "extraCertChain": "chain"}
    return ":".join(f"{key}={escape(str(folder / name))}" for key, name in keys.items())


class Listening:
    """An endpoint string on a free port of the loopback, whose timers are a clock's."""

    def __init__(self, description: str) -> None:
        self.clock = TwistedClock()
        self.server = Server()
        memory = MemoryReactor()
        memory.callLater = self.clock.callLater  # type: ignore[method-assign]
        serverFromString(memory, f"membiotls:{description}").listen(self.server)
        self.factory: Any = memory.tcpServers[0][1]

    async def __aenter__(self) -> Listening:
        self.server.listening = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.listening.stopListening()
        assert not [call for call in self.clock.getDelayedCalls() if "Polling" in str(call)]


@pytest.mark.parametrize("write", [_in_one_file, _in_two_files, _in_three_files])
@pytest_twisted.ensureDeferred
async def test_files_of_one_certificate_are_read_again(
    pki: PKI, tmp_path: Path, write: Callable[[Path, Credential], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = write(tmp_path, pki.server).replace(escape(str(tmp_path) + "/"), "")
    monkeypatch.chdir(tmp_path)  # the paths are relative, and the process goes elsewhere
    async with Listening(f"443:{keys}") as it:
        monkeypatch.chdir("/")
        assert (await converse(pki, it.server)).peer == pki.server.certificate_der
        for kind in (pki.issue("localhost"), pki.server_rsa, pki.server):
            write(tmp_path, kind)
            it.clock.look_twice()
            assert (await converse(pki, it.server)).peer == kind.certificate_der


@pytest_twisted.ensureDeferred
async def test_key_replaced_before_its_certificate_is_an_error_once_and_nothing_changes(
    pki: PKI, tmp_path: Path
) -> None:
    new = pki.issue("localhost")
    with Logged(NAMESPACE) as logged:
        async with Listening(f"443:{_in_two_files(tmp_path, pki.server)}") as it:
            put(tmp_path / "tls.key", new.private_key)
            for _ in range(3):
                it.clock.look_twice()
                assert (await converse(pki, it.server)).peer == pki.server.certificate_der
            [text] = logged.texts
            assert text.startswith("error: ") and "tls.key' does not match certKey='" in text
            put(tmp_path / "tls.crt", new.chain)
            it.clock.look_twice()
            assert (await converse(pki, it.server)).peer == new.certificate_der


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{folder}:443", "443:certificate={file}"])
@pytest.mark.parametrize("keys", ["", ":unknownName=default", ":unknownName=refuse"])
@pytest_twisted.ensureDeferred
async def test_unknown_name(pki: PKI, folder: Path, form: str, keys: str, tls_version: txmembio.TLSVersion) -> None:
    description = form.format(folder=escape(str(folder)), file=escape(str(folder / "site.pem")))
    client = pair.client_context(pki, tls_version)
    client.check_hostname = False
    async with Listening(description + keys) as it:
        assert (await converse(pki, it.server, client)).peer == pki.server.certificate_der
        for name in ("elsewhere.org", "127.0.0.1"):  # for an address, no name is sent
            if not keys.endswith("refuse"):
                assert (await converse(pki, it.server, client, name)).peer == pki.server.certificate_der
                continue
            with pytest.raises(txmembio.SSLError) as caught:
                await converse(pki, it.server, client, name)
            assert caught.value.alert == "unrecognized_name" and caught.value.alert_received
            error = await it.server.lost.get()
            assert error.alert == "unrecognized_name" and not error.alert_received
            assert ("'elsewhere.org' was refused" if name == "elsewhere.org" else "no server name") in str(error)


# --- what stays right -------------------------------------------------------------------------------------------------


@implementer(IProtocolNegotiationFactory)
class NegotiatingServer(Server):
    """It knows its protocols by itself, as twisted.web's site does."""

    def acceptableProtocols(self) -> list[bytes]:
        return [b"two"]


@pytest.mark.parametrize("form", ["{folder}:443", "443:certificate={file}"])
@pytest.mark.parametrize("alpn", ["", ":alpn=two"])
@pytest_twisted.ensureDeferred
async def test_alpn_client_authentication_and_resumption_after_a_reload(
    pki: PKI, folder: Path, form: str, alpn: str, tls_version: txmembio.TLSVersion
) -> None:
    description = form.format(folder=escape(str(folder)), file=escape(str(folder / "site.pem")))
    client = pair.client_context(pki, tls_version, credential=pki.client)
    client.set_alpn_protocols(["one", "two"])
    session = None

    async def once(reused: bool) -> txmembio.SSLSession | None:
        client_side = ByHand(client.connection(server_hostname="localhost", session=session))
        await below(it.server).connect(Factory.forProtocol(lambda: client_side))
        new_session = await client_side.ended
        seen = await it.server.seen.get()
        await it.server.lost.get()
        assert (seen.alpn, seen.peer, seen.reused) == ("two", pki.client.certificate_der, reused)
        return new_session

    async with Listening(f"{description}:clientCA={escape(pki.ca.certificate_file)}{alpn}") as it:
        it.factory.wrappedFactory = NegotiatingServer()
        it.factory.wrappedFactory.seen, it.factory.wrappedFactory.lost = it.server.seen, it.server.lost
        session = await once(reused=False)
        for _ in range(2):
            session = await once(reused=True)
            put_pair(folder / "site.pem", pki.issue("localhost"))
            it.clock.look_twice()
        session = await once(reused=True)
        with pytest.raises(txmembio.SSLError) as caught:
            await converse(pki, it.server, pair.client_context(pki, tls_version))
        assert caught.value.alert in ("handshake_failure", "certificate_required")


class ByHand(Protocol):
    """A client that offers a session; *ended* fires with the one to offer next."""

    transport: Any

    def __init__(self, connection: txmembio.Connection) -> None:
        self.connection = connection
        self.ended: Deferred[txmembio.SSLSession | None] = Deferred()

    def connectionMade(self) -> None:
        self.connection.do_handshake()
        self.connection.send_plaintext(b"ping")
        self.transport.write(self.connection.wire_to_send())

    def dataReceived(self, data: bytes) -> None:
        plaintext = self.connection.receive_wire(data)
        if plaintext:
            self.connection.close()
        self.transport.write(self.connection.wire_to_send())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.connection.session)


@pytest_twisted.ensureDeferred
async def test_authorities_and_revocation_lists_are_read_again(
    pki: PKI, folder: Path, tmp_path: Path, tls_version: txmembio.TLSVersion
) -> None:
    put(tmp_path / "ca", pki.untrusted_ca.certificate)
    put(tmp_path / "crl", crl(pki.ca))
    keys = f"clientCA={escape(str(tmp_path / 'ca'))}:crl={escape(str(tmp_path / 'crl'))}"
    client = pair.client_context(pki, tls_version, credential=pki.client)

    async def refused() -> str | None:
        with pytest.raises(txmembio.SSLError) as caught:
            await converse(pki, it.server, client)
        assert caught.value.alert_received
        await it.server.lost.get()
        return caught.value.alert

    async with Listening(f"{escape(str(folder))}:443:{keys}") as it:
        assert await refused() == "unknown_ca"
        put(tmp_path / "ca", pki.ca.certificate)
        it.clock.look_twice()
        assert (await converse(pki, it.server, client)).peer == pki.server.certificate_der
        put(tmp_path / "crl", crl(pki.ca, pki.client))
        it.clock.look_twice()
        assert await refused() == "certificate_revoked"
        with Logged(NAMESPACE) as logged:
            put(tmp_path / "crl", b"nothing")
            it.clock.look_twice()
            assert f"crl='{tmp_path / 'crl'}': expected a file or folder with" in logged.texts[0]
        assert await refused() == "certificate_revoked"
