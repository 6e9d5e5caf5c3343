"""TLS begun in the middle of SMTP, IMAP, POP3 and XMPP: Twisted's own protocols with txmembio, in processes of their
own, and other people's clients and servers.
"""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import txmembio
from support import peers
from support.peers import Scenario
from support.pki import PKI
from support.process import DEADLINE, Process, environment
from support.reactors import program
from support.starttls_protocols import MESSAGE, PASSWORD, USER
from support.starttls_scripts import scripted

PROTOCOLS = ["smtp", "imap", "pop3", "xmpp"]

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)

#: What ends a conversation, and what the server says then.
GOODBYE = {
    "smtp": (b"QUIT\r\n", r"221 "),
    "imap": (b"9 LOGOUT\r\n", r"\* BYE"),
    "pop3": (b"QUIT\r\n", r"\+OK"),
    "xmpp": (
        b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'"
        b" to='localhost'></stream:stream>",
        r"<mechanism>PLAIN",
    ),
}

#: As `Connection.version()` spells them.
SPELLED = {txmembio.TLSVersion.TLSv1_2: "TLSv1.2", txmembio.TLSVersion.TLSv1_3: "TLSv1.3"}

#: What the client of a protocol reports when all has gone well.
SUCCESS = {
    "smtp": "sent 1",
    "imap": "capabilities True",
    "pop3": f"message {MESSAGE.decode().replace(chr(13) + chr(10), ' ').strip()}",
    "xmpp": "jid alice@localhost/test ",
}


@contextmanager
def serving(protocol: str, pki: PKI, version: txmembio.TLSVersion) -> Iterator[tuple[Process, int]]:
    """Our server, and its port."""
    arguments = ["-m", "support.starttls_peer", "serve", protocol, pki.server.combined_file, version.name]
    with Process(program(*arguments), env=environment()) as process:
        yield process, int(process.wait_for(r"port (\d+)").group(1))
    assert "Traceback" not in process.errors, process.transcript()


def asking(protocol: str, pki: PKI, version: txmembio.TLSVersion, port: int, roots: str | None = None) -> Process:
    """Our client."""
    arguments = ["-m", "support.starttls_peer", "ask", protocol, roots or pki.ca.certificate_file, version.name]
    return Process(program(*arguments, str(port)), env=environment())


def standard_context(pki: PKI, version: txmembio.TLSVersion) -> ssl.SSLContext:
    """The standard library's, for a client."""
    context = ssl.create_default_context(cafile=pki.ca.certificate_file)
    context.minimum_version = context.maximum_version = ssl.TLSVersion(int(version))
    return context


# Servers


@every_protocol
def test_openssl_s_client(protocol: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server)
    goodbye, answer = GOODBYE[protocol]
    more = ["-xmpphost", "localhost"] if protocol == "xmpp" else []
    with serving(protocol, pki, tls_version) as (server, port):
        with peers.s_client(scenario, port, "-nocommands", "-starttls", protocol, *more) as client:
            client.stdin.write(goodbye)
            client.wait_for(answer)
            client.stdin.close()
            client.wait()
        server.wait_for(f"lost ConnectionDone {SPELLED[tls_version]}")


def test_curl_sends_mail(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MESSAGE)
    with serving("smtp", pki, tls_version) as (server, port):
        options = ["--mail-from", "alice@localhost", "--mail-rcpt", "bob@localhost", "--upload-file", "mail"]
        fetch(pki, tls_version, f"smtp://localhost:{port}", *options, cwd=tmp_path)
        server.wait_for("delivered World")
        server.wait_for(f"lost ConnectionDone {SPELLED[tls_version]}")


@pytest.mark.parametrize(("protocol", "path", "answer"), [("imap", "", b""), ("pop3", "1", MESSAGE)])
def test_curl_fetches_mail(
    protocol: str, path: str, answer: bytes, pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    with serving(protocol, pki, tls_version) as (server, port):
        user = f"{USER.decode()}:{PASSWORD.decode()}"
        said = fetch(pki, tls_version, f"{protocol}://localhost:{port}/{path}", "--user", user, cwd=tmp_path)
        assert said == answer
        server.wait_for(f"lost ConnectionDone {SPELLED[tls_version]}")


def fetch(pki: PKI, version: txmembio.TLSVersion, url: str, *options: str, cwd: Path) -> bytes:
    """What curl, which insists on TLS, gets from `url`."""
    port = url.split(":")[2].split("/")[0]
    command = [peers.require("curl"), "--silent", "--show-error", "--max-time", str(DEADLINE), "--ssl-reqd"]
    command += ["--cacert", pki.ca.certificate_file, *peers.curl_version(version)]
    command += ["--resolve", f"localhost:{port}:127.0.0.1", *options, url]
    with Process(command, cwd=cwd) as process:
        assert process.wait() == 0, process.transcript()
        return process.output


def test_smtplib(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with serving("smtp", pki, tls_version) as (server, port):
        with smtplib.SMTP("localhost", port, timeout=DEADLINE) as client:
            client.starttls(context=standard_context(pki, tls_version))
            assert isinstance(client.sock, ssl.SSLSocket) and client.sock.version() == SPELLED[tls_version]
            client.ehlo()
            assert not client.has_extn("starttls")
            client.sendmail("alice@localhost", ["bob@localhost"], MESSAGE)
            with pytest.raises(smtplib.SMTPNotSupportedError):
                client.starttls()
            assert client.docmd("STARTTLS")[0] == 503
        server.wait_for("delivered World")


def test_imaplib(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with serving("imap", pki, tls_version) as (_, port), imaplib.IMAP4("localhost", port, DEADLINE) as client:
        with pytest.raises(imaplib.IMAP4.error, match="LOGIN is disabled before STARTTLS"):
            client.login(USER.decode(), PASSWORD.decode())
        client.starttls(standard_context(pki, tls_version))
        client.login(USER.decode(), PASSWORD.decode())
        assert client.noop()[0] == "OK"


def test_poplib(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with serving("pop3", pki, tls_version) as (_, port):
        client = poplib.POP3("localhost", port, DEADLINE)
        try:
            client.stls(standard_context(pki, tls_version))
            client.user(USER.decode())
            client.pass_(PASSWORD.decode())
            assert b"\r\n".join(client.retr(1)[1]) + b"\r\n" == MESSAGE
            assert "STLS" not in client.capa()
        finally:
            client.close()


@every_protocol
def test_plaintext_behind_the_command_ends_the_connection_and_not_the_server(protocol: str, pki: PKI) -> None:
    command, injected = {
        "smtp": (b"EHLO localhost\r\nSTARTTLS\r\n", b"RSET\r\nNOOP"),
        "imap": (b"1 STARTTLS\r\n", b"2 NOOP\r\n"),
        "pop3": (b"STLS\r\n", b"CAPA\r\n"),
        "xmpp": (
            GOODBYE["xmpp"][0].partition(b"</")[0] + b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            b"<iq type='get' id='1'/>",
        ),
    }[protocol]
    with serving(protocol, pki, txmembio.TLSVersion.TLSv1_3) as (server, port):
        with socket.create_connection(("localhost", port), DEADLINE) as attacker:
            if protocol != "xmpp":
                attacker.recv(1000)
            attacker.sendall(command + injected)
            said = bytearray()
            with pytest.raises(ConnectionResetError):
                while data := attacker.recv(1000):
                    said += data
            server.wait_for("lost PlaintextInjected")
        with asking(protocol, pki, txmembio.TLSVersion.TLSv1_3, port) as client:
            assert client.wait() == 0, client.transcript()


# Clients


@every_protocol
@pytest.mark.parametrize("peer", ["ssl", "txmembio"])
def test_clients(protocol: str, peer: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    server = scripted(protocol, pki.server, tls_version) if peer == "ssl" else ports(protocol, pki, tls_version)
    with server as port, asking(protocol, pki, tls_version, port) as client:
        assert client.wait() == 0, client.transcript()
    assert SUCCESS[protocol] in client.output.decode()
    assert SPELLED[tls_version] in client.output.decode()
    assert "pyOpenSSL False" in client.output.decode()


@contextmanager
def ports(protocol: str, pki: PKI, version: txmembio.TLSVersion) -> Iterator[int]:
    """Our server: its port."""
    with serving(protocol, pki, version) as (_, port):
        yield port


@every_protocol
def test_clients_do_not_trust_everybody(protocol: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with (
        serving(protocol, pki, tls_version) as (server, port),
        asking(protocol, pki, tls_version, port, pki.untrusted_ca.certificate_file) as client,
    ):
        assert client.wait() != 0
        server.wait_for("lost SSLError")
    assert "unable to get" in client.transcript() or "certificate" in client.transcript(), client.transcript()
