"""A thousand changes of certificates under a port in use: nobody is dropped, and nobody is shown a wrong one."""

from __future__ import annotations

import functools
from itertools import count
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, DeferredQueue, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint, clientFromString
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

import txmembio
from support import pair
from support.conversation import Answering, Asking, Logged, Server, listening
from support.pki import PKI, Credential
from txmembio.pems import PEMFolder
from txmembio.twisted import wrapClientTLS
from txmembio.twisted.reload import wrapReloadingServerTLS

reactor: Any = _reactor

RELOADS = 1000

CLIENTS = 2
"""Connections for each name that are begun before each change, and end after it or during it."""

STAYING = 6
"""Connections that are open all the time, and used."""

NAMES = ("a.example", "b.example")

GENERATIONS = 16
"""Different certificates of each name, which take turns. One that is shown too late is told from those that may be."""

INTERVAL = 0.001
"""Seconds between two looks at the files: as busy as it gets."""


class Disk:
    """The files, and which certificate of each name may be shown: from the last that is known to be served, on."""

    def __init__(self, pki: PKI, folder: Path) -> None:
        self.folder = folder
        self.generations = {
            name: [pki.issue(name, name=f"{name}-{number}") for number in range(GENERATIONS)] for name in NAMES
        }
        self.written = 0
        self.served = 0
        self.begin()
        self.finish()
        self.served = self.written

    def credential(self, name: str, number: int) -> Credential:
        return self.generations[name][number % GENERATIONS]

    def begin(self) -> None:
        """The next certificates: one in a file that is replaced, one in two that are written over, the key first."""
        self.written += 1
        one, other = (self.credential(name, self.written) for name in NAMES)
        new = self.folder / "a.new"
        new.write_bytes(one.private_key + one.chain)
        new.replace(self.folder / "a.pem")
        (self.folder / "b-key.pem").write_bytes(other.private_key)

    def finish(self) -> None:
        """The certificate that belongs to the key."""
        (self.folder / "b.pem").write_bytes(self.credential(NAMES[1], self.written).chain)

    def is_served(self, certificates: PEMFolder) -> bool:
        """Whether the last that was written is what is served."""
        contexts = certificates.contexts
        now = {name: context.certificate for name, context in contexts.by_name.items()}
        return all(
            certificate is not None and certificate.der == self.credential(name, self.written).certificate_der
            for name, certificate in now.items()
        ) and now.keys() == set(NAMES)


class Staying(Protocol):
    """A connection that stays open; `ask` asks it something."""

    transport: Any

    def __init__(self) -> None:
        self.answers: DeferredQueue[bytes] = DeferredQueue()
        self.lost: Deferred[Any] = Deferred()

    async def ask(self) -> bytes:
        self.transport.write(b"ping")
        return await self.answers.get()

    def dataReceived(self, data: bytes) -> None:
        self.answers.put(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.value)


class Quiet(Server):
    """Answers, and keeps only why connections ended."""

    class protocol(Answering):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data[::-1])


@pytest_twisted.ensureDeferred
async def test_a_thousand_reloads_drop_no_connection_and_show_no_wrong_certificate(pki: PKI, tmp_path: Path) -> None:
    disk = Disk(pki, tmp_path)
    certificates = PEMFolder(
        str(tmp_path), lambda: txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH), refuse_unknown=True
    )
    contexts = [pair.client_context(pki, version) for version in list(txmembio.TLSVersion)[-3:-1]]
    assert [context.minimum_version.name for context in contexts] == ["TLSv1_2", "TLSv1_3"]
    turn = count()
    shown: dict[str, set[bytes]] = {name: set() for name in NAMES}

    def connecting(name: str) -> Any:
        below = clientFromString(reactor, f"tcp:127.0.0.1:{server.port}")
        # A resumed connection shows the certificate of its full handshake, and what is shown is what this is about.
        return wrapClientTLS(contexts[next(turn) % 2], name, below, sessions=None)

    async def visit(name: str) -> None:
        oldest = disk.served
        asking = Asking()
        await connecting(name).connect(Factory.forProtocol(lambda: asking))
        seen = await asking.ended  # an error, if the connection was dropped
        allowed = [disk.credential(name, number).certificate_der for number in range(oldest, disk.written + 1)]
        assert seen.peer in allowed, f"{name}: shown is none of the certificates {oldest} to {disk.written}"
        shown[name].add(seen.peer)

    endpoint = wrapReloadingServerTLS(
        certificates, TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), reloadInterval=INTERVAL
    )
    with Logged("txmembio.twisted.reload") as logged:
        async with listening(endpoint, Quiet()) as server:
            staying = [Staying() for _ in range(STAYING)]
            for number, each in enumerate(staying):
                await connecting(NAMES[number % 2]).connect(Factory.forProtocol(functools.partial(lambda it: it, each)))
            for number in range(RELOADS):
                visits = [ensureDeferred(visit(name)) for name in NAMES * CLIENTS]
                disk.begin()
                await visits.pop()  # time enough for some looks at half a pair
                disk.finish()
                while not disk.is_served(certificates):
                    await logged.wait()
                disk.served = disk.written
                visits += [ensureDeferred(visit(name)) for name in NAMES]
                await gatherResults(visits, consumeErrors=True)
                assert await staying[number % STAYING].ask() == b"gnip"
            for each in staying:
                assert await each.ask() == b"gnip"
                each.transport.loseConnection()
            reasons = [await each.lost for each in staying]
            for _ in range(RELOADS * len(NAMES) * (CLIENTS + 1) + STAYING):
                reasons.append(await server.lost.get())
    assert not [reason for reason in reasons if isinstance(reason, txmembio.SSLError)]
    assert all(len(certificates) == GENERATIONS for certificates in shown.values())
    replaced = sum("certificates were replaced" in text for text in logged.texts)
    assert replaced >= RELOADS
