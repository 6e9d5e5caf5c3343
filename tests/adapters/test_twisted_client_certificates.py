"""Client certificates in Twisted, both sides: callbacks, revocation lists, asking later, and what a refusal tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, clientFromString, serverFromString
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

import txmembio
from support import pair, peers
from support.conversation import Logged, Server, ask, listening
from support.crls import crl
from support.peers import escape
from support.pki import PKI, Credential
from support.process import Process
from txmembio.twisted import wrapClientTLS, wrapServerTLS

reactor: Any = _reactor

TLS12, TLS13 = txmembio.TLSVersion.TLSv1_2, txmembio.TLSVersion.TLSv1_3


def server_endpoint(context: txmembio.SSLContext) -> Any:
    return wrapServerTLS(context, TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"))


def client_endpoint(context: txmembio.SSLContext, port: int) -> Any:
    return wrapClientTLS(context, "localhost", clientFromString(reactor, f"tcp:127.0.0.1:{port}"))


async def refusal(endpoint: Any) -> Any:
    """What the client's connectionLost was told."""
    with pytest.raises(txmembio.SSLError) as caught:
        await ask(endpoint)
    return caught.value


def version_key(version: txmembio.TLSVersion) -> str:
    return f"minVersion={version.name}:maxVersion={version.name}"


# --- a refusal reaches the client -------------------------------------------------------------------------------------


@implementer(IHandshakeListener)
class Waiting(Protocol):
    """Says nothing by itself, so that all it can get is the refusal."""

    def __init__(self) -> None:
        self.completed = False
        self.ended: Deferred[Any] = Deferred()

    def handshakeCompleted(self) -> None:
        self.completed = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(reason.value)


class Chatting(Waiting):
    """Begins to talk as soon as it may: its data and the refusal pass each other."""

    transport: Any

    def handshakeCompleted(self) -> None:
        super().handshakeCompleted()
        self.transport.write(b"x" * 1000)


#: What a client shows, and the alert that it gets for it in TLS 1.2 and 1.3.
REFUSED: dict[str, tuple[Callable[[PKI], Credential | None], str, str]] = {
    "from the wrong CA": (lambda pki: pki.untrusted_client, "unknown_ca", "unknown_ca"),
    "none at all": (lambda pki: None, "handshake_failure", "certificate_required"),
}


@contextmanager
def ours(scenario: peers.Scenario) -> Iterator[int]:
    """A `membiotls:` server."""
    keys = f"certificate={escape(scenario.credential.combined_file)}:{version_key(scenario.version)}"
    description = f"0:interface=127.0.0.1:{keys}:clientCA={escape(scenario.pki.ca.certificate_file)}"
    started: list[Any] = []
    serverFromString(reactor, f"membiotls:{description}").listen(Server()).addCallback(started.append)
    [port] = started
    yield port.getHost().port
    port.stopListening()


SERVERS = {"txmembio": ours, "openssl": peers.openssl_server, "stdlib": peers.stdlib_server}


@pytest.mark.parametrize("shown", REFUSED)
@pytest.mark.parametrize("client", [Waiting, Chatting])
@pytest.mark.parametrize("server", SERVERS)
@pytest_twisted.ensureDeferred
async def test_refusal_reaches_connectionLost_of_the_client(
    pki: PKI, tls_version: txmembio.TLSVersion, server: str, client: type[Waiting], shown: str
) -> None:
    credential, in_tls12, in_tls13 = REFUSED[shown]
    context = pair.client_context(pki, tls_version, credential=credential(pki))
    with SERVERS[server](peers.Scenario(pki, tls_version, pki.server, pki.client)) as port:
        waiting = client()
        await client_endpoint(context, port).connect(Factory.forProtocol(lambda: waiting))
        error = await waiting.ended
    assert isinstance(error, txmembio.SSLError)
    assert error.alert_received
    assert error.alert == (in_tls13 if tls_version == TLS13 else in_tls12)
    # In TLS 1.3 the client is done before the server has looked at its certificate.
    assert waiting.completed is (tls_version == TLS13)


@pytest_twisted.ensureDeferred
async def test_server_hears_whom_it_has_refused_and_stays_up(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    context = pair.server_context(pki, tls_version, verify_client=True)
    async with listening(server_endpoint(context)) as server:
        for _ in range(3):
            client = pair.client_context(pki, tls_version, credential=pki.untrusted_client)
            assert (await refusal(client_endpoint(client, server.port))).alert == "unknown_ca"
            error = await server.lost.get()
            assert isinstance(error, txmembio.SSLCertVerificationError)
            assert error.verify_message == "unable to get local issuer certificate" and error.depth == 0
            assert not error.alert_received and "unable to get local issuer" in str(error)
        client = pair.client_context(pki, tls_version, credential=pki.client)
        await ask(client_endpoint(client, server.port))
        assert (await server.seen.get()).peer == pki.client.certificate_der


# --- endpoint strings on both sides -----------------------------------------------------------------------------------


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize("check", ["", ":crlCheck=leaf", ":crlCheck=chain"])
@pytest_twisted.ensureDeferred
async def test_revocation_lists_of_a_server_string(
    pki: PKI, tmp_path: Path, tls_version: txmembio.TLSVersion, check: str, revoked: bool
) -> None:
    """`check` and which lists there have to be: `leaf` is content with the one of the issuer."""
    client = pki.issue("client@example.com", authority=pki.intermediate)
    lists = [crl(pki.intermediate, *([client] if revoked else []))]
    if check.endswith("chain"):
        lists.append(crl(pki.ca))
    for number, each in enumerate(lists):
        (tmp_path / f"{number}.pem").write_bytes(each)
    keys = f"clientCA={escape(pki.ca.certificate_file)}:crl={escape(str(tmp_path))}{check}:{version_key(tls_version)}"
    description = f"membiotls:0:interface=127.0.0.1:certificate={escape(pki.server.combined_file)}:{keys}"
    async with listening(serverFromString(reactor, description)) as server:
        below = escape(f"tcp:127.0.0.1:{server.port}")
        string = f"membiotls:localhost:endpoint={below}:trustRoots={escape(pki.ca.certificate_file)}"
        endpoint = clientFromString(reactor, f"{string}:certificate={escape(client.combined_file)}")
        if revoked:
            assert (await refusal(endpoint)).alert == "certificate_revoked"
            assert (await server.lost.get()).verify_message == "certificate revoked"
        else:
            await ask(endpoint)
            assert (await server.seen.get()).peer == client.certificate_der


@pytest.mark.parametrize(
    ("check", "words"),
    [("leaf", None), ("chain", "certificate revoked")],
)
@pytest_twisted.ensureDeferred
async def test_revoked_intermediate_is_found_where_the_chain_is_checked(
    pki: PKI, tmp_path: Path, tls_version: txmembio.TLSVersion, check: str, words: str | None
) -> None:
    client = pki.issue("client@example.com", authority=pki.intermediate)
    ca = Credential(pki.intermediate.certificate, b"", b"", None, "", "", "", "")
    (tmp_path / "lists.pem").write_bytes(crl(pki.intermediate) + crl(pki.ca, ca))
    keys = f"clientCA={escape(pki.ca.certificate_file)}:crl={escape(str(tmp_path / 'lists.pem'))}:crlCheck={check}"
    description = f"membiotls:0:interface=127.0.0.1:certificate={escape(pki.server.combined_file)}:{keys}"
    context = pair.client_context(pki, tls_version, credential=client)
    async with listening(serverFromString(reactor, description)) as server:
        if words is None:
            await ask(client_endpoint(context, server.port))
        else:
            await refusal(client_endpoint(context, server.port))
            error = await server.lost.get()
            assert (error.verify_message, error.depth) == (words, 1)


@pytest.mark.parametrize(
    ("expired", "message", "alert"),
    [
        (True, "CRL has expired", "certificate_expired"),
        (False, "unable to get certificate CRL", "unknown_ca"),
    ],
    ids=["expired", "of another authority"],
)
@pytest_twisted.ensureDeferred
async def test_without_a_current_list_nobody_gets_in(
    pki: PKI, tmp_path: Path, tls_version: txmembio.TLSVersion, expired: bool, message: str, alert: str
) -> None:
    (tmp_path / "crl.pem").write_bytes(crl(pki.ca, expired=True) if expired else crl(pki.untrusted_ca))
    keys = f"clientCA={escape(pki.ca.certificate_file)}:crl={escape(str(tmp_path / 'crl.pem'))}"
    description = f"membiotls:0:interface=127.0.0.1:certificate={escape(pki.server.combined_file)}:{keys}"
    context = pair.client_context(pki, tls_version, credential=pki.client)
    async with listening(serverFromString(reactor, description)) as server:
        assert (await refusal(client_endpoint(context, server.port))).alert == alert
        assert (await server.lost.get()).verify_message == message


@pytest.mark.parametrize("revoked", [False, True])
@pytest_twisted.ensureDeferred
async def test_revocation_lists_of_a_client_string(
    pki: PKI, tmp_path: Path, tls_version: txmembio.TLSVersion, revoked: bool
) -> None:
    (tmp_path / "crl.pem").write_bytes(crl(pki.intermediate, *([pki.server] if revoked else [])))
    async with listening(server_endpoint(pair.server_context(pki, tls_version))) as server:
        below = escape(f"tcp:127.0.0.1:{server.port}")
        keys = f"trustRoots={escape(pki.ca.certificate_file)}:crl={escape(str(tmp_path / 'crl.pem'))}"
        endpoint = clientFromString(reactor, f"membiotls:localhost:endpoint={below}:{keys}")
        if revoked:
            error = await refusal(endpoint)
            assert (error.verify_message, error.hostname) == ("certificate revoked", "localhost")
            assert (await server.lost.get()).alert == "certificate_revoked"
        else:
            assert (await ask(endpoint)).peer == pki.server.certificate_der


# --- a verify callback ------------------------------------------------------------------------------------------------

Verdict = Callable[[txmembio.Certificate, int, int], bool]


class Recording:
    """A verify callback that writes down what it is asked, and answers as `verdict` does."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.asked: list[tuple[bytes, int, int]] = []

    def __call__(self, certificate: txmembio.Certificate, depth: int, error: int) -> bool:
        self.asked.append((certificate.der, depth, error))
        return self.verdict(certificate, depth, error)


def accept(certificate: txmembio.Certificate, depth: int, error: int) -> bool:
    return True


def as_openssl(certificate: txmembio.Certificate, depth: int, error: int) -> bool:
    return error == 0


def refuse_the_leaf(certificate: txmembio.Certificate, depth: int, error: int) -> bool:
    return depth > 0


def explode(certificate: txmembio.Certificate, depth: int, error: int) -> bool:
    raise ZeroDivisionError("a bug in the callback")


def contexts(
    pki: PKI, version: txmembio.TLSVersion, side: str, credential: Credential, callback: Verdict
) -> tuple[txmembio.SSLContext, txmembio.SSLContext]:
    """A client's and a server's; the one on *side* verifies with *callback* what the other shows, *credential*."""
    if side == "client":
        client = pair.client_context(pki, version)
        server = pair.server_context(pki, version, credential=credential)
        client.set_verify_callback(callback)
    else:
        client = pair.client_context(pki, version, credential=credential)
        server = pair.server_context(pki, version, verify_client=True)
        server.set_verify_callback(callback)
    return client, server


def shown_by(pki: PKI, side: str, good: bool) -> Credential:
    """What the other side shows to *side*."""
    if side == "client":
        return pki.server if good else pki.untrusted
    return pki.client if good else pki.untrusted_client


@pytest.mark.parametrize("side", ["client", "server"])
@pytest_twisted.ensureDeferred
async def test_callback_hears_of_the_whole_chain_from_the_root(
    pki: PKI, tls_version: txmembio.TLSVersion, side: str
) -> None:
    callback = Recording(as_openssl)
    credential = shown_by(pki, side, good=True)
    client, server_context = contexts(pki, tls_version, side, credential, callback)
    async with listening(server_endpoint(server_context)) as server:
        seen = await ask(client_endpoint(client, server.port))
        other = await server.seen.get()
    assert (seen if side == "client" else other).peer == credential.certificate_der
    chain = [*credential.chain_der, pki.ca.certificate_der]
    assert callback.asked == [(chain[depth], depth, 0) for depth in reversed(range(len(chain)))]


@pytest.mark.parametrize("side", ["client", "server"])
@pytest_twisted.ensureDeferred
async def test_callback_may_accept_what_openssl_would_refuse(
    pki: PKI, tls_version: txmembio.TLSVersion, side: str
) -> None:
    callback = Recording(accept)
    credential = shown_by(pki, side, good=False)
    client, server_context = contexts(pki, tls_version, side, credential, callback)
    async with listening(server_endpoint(server_context)) as server:
        seen = await ask(client_endpoint(client, server.port))
        other = await server.seen.get()
    assert (seen if side == "client" else other).peer == credential.certificate_der
    assert {error for _, _, error in callback.asked} >= {20}  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("verdict", [refuse_the_leaf, explode])
@pytest_twisted.ensureDeferred
async def test_callback_may_refuse_what_openssl_would_accept_and_so_does_its_exception(
    pki: PKI, tls_version: txmembio.TLSVersion, side: str, verdict: Verdict
) -> None:
    client, server_context = contexts(pki, tls_version, side, shown_by(pki, side, good=True), verdict)
    with Logged("txmembio.twisted") as logged:
        async with listening(server_endpoint(server_context)) as server:
            at_client = await refusal(client_endpoint(client, server.port))
            at_server = await server.lost.get()
    refusing, refused = (at_client, at_server) if side == "client" else (at_server, at_client)
    assert isinstance(refusing, txmembio.SSLCertVerificationError) and not refusing.alert_received
    assert refused.alert_received and refused.alert == refusing.alert
    if verdict is explode:
        assert isinstance(refusing.__cause__, ZeroDivisionError)
        assert [str(failure) for failure in logged.failures] == ["a bug in the callback"]
    else:
        assert refusing.__cause__ is None and not logged.failures
        assert refusing.depth == 0


# --- asking later -----------------------------------------------------------------------------------------------------


class AsksLater(Protocol):
    """A server that asks for the client's certificate at the first words, and tells whom it has found at the next."""

    factory: Any
    transport: Any

    def dataReceived(self, data: bytes) -> None:
        connection: txmembio.Connection = self.transport.connection
        if data == b"who am I?":
            assert connection.peer_certificate() is None
            try:
                connection.request_client_certificate()
            except txmembio.SSLError as error:
                self.factory.problems.append(error)
                self.transport.abortConnection()
                return
            assert connection.client_certificate_requested
            self.transport.write(b"who are you?")  # the request goes out before it
        else:
            assert not connection.client_certificate_requested
            certificate = connection.peer_certificate()
            self.transport.write(b"nobody" if certificate is None else certificate.der)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.lost.put(reason.value)


class Later(Server):
    """A server that asks later, and keeps what stood in its way."""

    protocol = AsksLater

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[txmembio.SSLError] = []


class Curious(Protocol):
    """*ended* fires with what the server has found, or why the connection ended."""

    transport: Any

    def __init__(self) -> None:
        self.ended: Deferred[Any] = Deferred()
        self.received = b""

    def connectionMade(self) -> None:
        self.transport.write(b"who am I?")

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.received == b"who are you?":
            self.received = b""
            self.transport.write(b"the same as ever")
        elif self.received:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.received or reason.value)


async def find_out(endpoint: Any) -> Any:
    """What a client is told that wants to know who it is."""
    curious = Curious()
    await endpoint.connect(Factory.forProtocol(lambda: curious))
    return await curious.ended


def later_context(pki: PKI, version: txmembio.TLSVersion | None, mode: txmembio.VerifyMode) -> txmembio.SSLContext:
    context = pair.server_context(pki, version, verify_client=True)
    context.verify_mode = mode
    context.post_handshake_auth = True
    return context


REQUIRED, OPTIONAL = txmembio.CERT_REQUIRED, txmembio.CERT_OPTIONAL


@pytest.mark.parametrize("tickets", [0, 2])
@pytest.mark.parametrize("mode", [REQUIRED, OPTIONAL])
@pytest.mark.parametrize("shown", ["client", "untrusted_client", None])
@pytest_twisted.ensureDeferred
async def test_certificate_can_be_asked_for_later_in_tls_1_3(
    pki: PKI, mode: txmembio.VerifyMode, shown: str | None, tickets: int
) -> None:
    credential = getattr(pki, shown) if shown else None
    client = pair.client_context(pki, TLS13, credential=credential)
    client.post_handshake_auth = True
    context = later_context(pki, TLS13, mode)
    context.num_tickets = tickets
    async with listening(server_endpoint(context), Later()) as server:
        told = await find_out(client_endpoint(client, server.port))
        lost = await server.lost.get()
    if shown == "client":
        assert told == pki.client.certificate_der
    elif shown == "untrusted_client":
        assert isinstance(lost, txmembio.SSLCertVerificationError)
        assert told.alert == "unknown_ca" and told.alert_received
    elif mode == OPTIONAL:
        assert told == b"nobody"
    else:
        assert lost.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        assert told.alert == "certificate_required" and told.alert_received


@pytest_twisted.ensureDeferred
async def test_certificate_cannot_be_asked_for_later_of_a_client_that_did_not_offer_it(pki: PKI) -> None:
    async with listening(server_endpoint(later_context(pki, TLS13, OPTIONAL)), Later()) as server:
        assert isinstance(server, Later)
        await find_out(client_endpoint(pair.client_context(pki, TLS13, credential=pki.client), server.port))
        await server.lost.get()
        [problem] = server.problems
    assert problem.reason == "EXTENSION_NOT_RECEIVED"
    assert "asking the client for a certificate" in str(problem)


@pytest_twisted.ensureDeferred
async def test_in_tls_1_2_the_handshake_asks_at_once(pki: PKI) -> None:
    client = pair.client_context(pki, TLS12, credential=pki.client)
    client.post_handshake_auth = True
    async with listening(server_endpoint(later_context(pki, TLS12, OPTIONAL))) as server:
        await ask(client_endpoint(client, server.port))
        assert (await server.seen.get()).peer == pki.client.certificate_der


@pytest.mark.parametrize("shown", [True, False])
@pytest_twisted.ensureDeferred
async def test_endpoint_strings_ask_later_and_answer_later(pki: PKI, shown: bool) -> None:
    keys = f"certificate={escape(pki.server.combined_file)}:clientCA={escape(pki.ca.certificate_file)}"
    endpoint = serverFromString(reactor, f"membiotls:0:interface=127.0.0.1:{keys}:verifyClient=later")
    async with listening(endpoint, Later()) as server:
        below = escape(f"tcp:127.0.0.1:{server.port}")
        string = f"membiotls:localhost:endpoint={below}:trustRoots={escape(pki.ca.certificate_file)}"
        if shown:
            string += f":certificate={escape(pki.client.combined_file)}"
        told = await find_out(clientFromString(reactor, string))
        await server.lost.get()
        assert isinstance(server, Later)
        if shown:
            assert told == pki.client.certificate_der
        else:  # a client without a certificate has nothing to offer, and says so
            assert server.problems[0].reason == "EXTENSION_NOT_RECEIVED"


@pytest.mark.parametrize("shown", [True, False])
@pytest_twisted.ensureDeferred
async def test_openssl_is_asked_later(pki: PKI, shown: bool) -> None:
    keys = f"certificate={escape(pki.server.combined_file)}:clientCA={escape(pki.ca.certificate_file)}"
    endpoint = serverFromString(reactor, f"membiotls:0:interface=127.0.0.1:{keys}:verifyClient=later")
    async with listening(endpoint, Later()) as server:
        command = [peers.require("openssl"), "s_client", "-connect", f"127.0.0.1:{server.port}", "-quiet", "-tls1_3"]
        command += ["-CAfile", pki.ca.certificate_file, "-enable_pha"]
        if shown:
            command += ["-cert", pki.client.certificate_file, "-key", pki.client.key_file]
        with Process(command) as process:
            process.stdin.write(b"who am I?")
            process.stdin.flush()
            await deferToThread(process.wait_for, "who are you\\?")
            process.stdin.write(b"the same as ever")
            process.stdin.flush()
            told = pki.client.certificate_der if shown else b"nobody"
            size = len(b"who are you?") + len(told)
            assert (await deferToThread(process.wait_for_output, size)).endswith(told)
