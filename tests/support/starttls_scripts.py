"""Other people's TLS for protocols that begin in plaintext: servers on Python's own `ssl`, each of which has one
conversation by a script. What it expects is a pattern, and its answer may refer to what that has matched.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import txmembio

from .blocking import SOCKET_READ_SIZE
from .pki import Credential
from .process import DEADLINE
from .starttls_protocols import MESSAGE

Script = list[tuple[bytes, bytes]]

HEADER = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1'>"


def _features(*features: bytes) -> bytes:
    return HEADER + b"<stream:features>" + b"".join(features) + b"</stream:features>"


#: In plaintext, and in TLS. The first answer is the greeting.
SCRIPTS: dict[str, tuple[Script, Script]] = {
    "smtp": (
        [
            (rb"", b"220 localhost\r\n"),
            (rb"EHLO .*\r\n", b"250-localhost\r\n250 STARTTLS\r\n"),
            (rb"STARTTLS\r\n", b"220 go ahead\r\n"),
        ],
        [
            (rb"EHLO .*\r\n", b"250 localhost\r\n"),
            (rb"MAIL FROM:<alice@localhost>\r\n", b"250 ok\r\n"),
            (rb"RCPT TO:<bob@localhost>\r\n", b"250 ok\r\n"),
            (rb"DATA\r\n", b"354 go ahead\r\n"),
            (rb"World\r\n\.\r\n", b"250 ok\r\n"),
            (rb"RSET\r\n", b"250 ok\r\n"),
            (rb"QUIT\r\n", b"221 bye\r\n"),
        ],
    ),
    "imap": (
        [
            (rb"", b"* OK localhost\r\n"),
            (rb"(\w+) CAPABILITY\r\n", b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n\\1 OK done\r\n"),
            (rb"(\w+) STARTTLS\r\n", b"\\1 OK go ahead\r\n"),
        ],
        [
            (rb"(\w+) CAPABILITY\r\n", b"* CAPABILITY IMAP4rev1\r\n\\1 OK done\r\n"),
            (rb'(\w+) LOGIN "?alice"? "?secret"?\r\n', b"\\1 OK done\r\n"),
            (rb"(\w+) LOGOUT\r\n", b"* BYE\r\n\\1 OK done\r\n"),
        ],
    ),
    "pop3": (
        [
            (rb"", b"+OK localhost\r\n"),
            (rb"CAPA\r\n", b"+OK\r\nSTLS\r\n.\r\n"),
            (rb"STLS\r\n", b"+OK go ahead\r\n"),
        ],
        [
            (rb"CAPA\r\n", b"+OK\r\nUSER\r\n.\r\n"),
            (rb"USER alice\r\n", b"+OK\r\n"),
            (rb"PASS secret\r\n", b"+OK\r\n"),
            (rb"RETR 1\r\n", b"+OK\r\n" + MESSAGE + b".\r\n"),
            (rb"QUIT\r\n", b"+OK bye\r\n"),
        ],
    ),
    "xmpp": (
        [
            (rb"<stream:stream .*>", _features(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")),
            (rb"<starttls [^>]*/>", b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
        ],
        [
            (
                rb"<stream:stream .*>",
                _features(
                    b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
                ),
            ),
            (rb"<auth .*>AGFsaWNlAHNlY3JldA==</auth>", b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
            (rb"<stream:stream .*>", _features(b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")),
            (
                rb"<iq .*id=.([^'\"]*).*</iq>",
                b"<iq type='result' id='\\1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                b"<jid>alice@localhost/test</jid></bind></iq>",
            ),
            (rb"</stream:stream>", b"</stream:stream>"),
        ],
    ),
}


@contextmanager
def scripted(protocol: str, credential: Credential, version: txmembio.TLSVersion) -> Iterator[int]:
    """A server of one connection: the port that it listens on. It must have come to the end of its script."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credential.chain_file, credential.key_file)
    context.minimum_version = context.maximum_version = ssl.TLSVersion(int(version))
    plaintext, secure = SCRIPTS[protocol]
    problems: list[BaseException] = []

    def serve() -> None:
        try:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(DEADLINE)
                _play(sock, plaintext)
                with context.wrap_socket(sock, server_side=True) as stream:
                    _play(stream, secure)
                    stream.unwrap()
        except BaseException as problem:
            problems.append(problem)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.settimeout(0)
        thread.join(DEADLINE)
    assert not problems, problems


def _play(stream: socket.socket, script: Script) -> None:
    received = b""
    for expected, answer in script:
        while not (match := re.search(expected, received, re.DOTALL)):
            data = stream.recv(SOCKET_READ_SIZE)
            if not data:
                raise AssertionError(f"the client closed instead of saying {expected!r}: {received!r}")
            received += data
        received = received[match.end() :]
        stream.sendall(match.expand(answer))
