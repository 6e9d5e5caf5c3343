"""What txmembio.ssl's engine must not lose or mix up when it is interrupted, or used by two threads."""

from __future__ import annotations

import txmembio.ssl
from support.pki import PKI
from support.tls_sockets import Beside, connected

ROUNDS = 2000
"""How often each thread writes; without a lock, a hundred times are enough to mix them up."""


def test_two_threads_that_write_do_not_mix_their_plaintext(pki: PKI) -> None:
    def write(data: bytes) -> None:
        for _ in range(ROUNDS):
            client.sendall(data)

    with connected(pki, txmembio.ssl, txmembio.ssl) as (client, server):
        writers = [Beside(lambda: write(b"A" * 100)), Beside(lambda: write(b"B" * 1000))]
        received = bytearray()
        while len(received) < ROUNDS * 1100 and (data := server.recv(65536)):
            received += data
        for writer in writers:
            writer.result()
        assert received.count(b"A") == ROUNDS * 100
        assert received.count(b"B") == ROUNDS * 1000
