"""Endpoint strings with something wrong in them: an error whose last line names it, before anything listens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import clientFromString, serverFromString

from support.memory_reactor import MemoryReactor
from support.peers import escape
from support.pki import PKI
from txmembio.twisted.endpoints import parseStreamClient, parseStreamServer
from txmembio.twisted.strings import CLIENT, SERVER_FILES, SERVER_FOLDER

SERVER_MISTAKES = {
    # the grammar
    "": "path='': expected a folder of PEM files",
    "{files}": "port= is missing: expected a whole number from 0 to 65535",
    "8443:colour=red:{files}": "unknown key 'colour' with the value 'red': expected, for a server with one certificate",
    "8443:trustRoots=/r:{files}": "unknown key 'trustRoots' with the value '/r': expected, ",
    "{folder}:privateKey=k.pem": "unknown key 'privateKey' with the value 'k.pem': expected, for a server with a folde",
    "8443:privateKey=C:/k.pem": "surplus value '/k.pem' without a key: expected one privateKey= only, and there is "
    "privateKey='C'; escape a colon inside a value as \\:",
    "C:/pems:8443": "port='/pems': expected a whole number from 0 to 65535; it was given without a key: escape a colon",
    "{folder}:443:50:::1": "surplus value '' without a key: expected, for a server with a folder of certificates, at "
    "most path, port, backlog, interface without one; escape a colon inside a value as \\:",
    "65536:{files}": "port='65536': expected a whole number from 0 to 65535",
    "port=http:{files}": "port='http': expected a whole number from 0 to 65535",
    "8443:{files}:backlog=-1": "backlog='-1': expected a whole number from 0 to 2147483647",
    # files
    "8443": "privateKey='server.pem': expected a readable file in PEM format (No such file or directory)",
    "8443:privateKey=no.pem": "privateKey='no.pem': expected a readable file in PEM format (No such file or directory)",
    "8443:privateKey={key}:certKey=no.pem": "certKey='no.pem': expected a readable file in PEM format (No such file",
    "8443:privateKey=.:certKey={chain}": "privateKey='.': expected a readable file in PEM format (Is a directory)",
    "8443:privateKey={key}": "privateKey='{key}': expected a file with a certificate in PEM format (there is none in i",
    "8443:privateKey={chain}:certKey={chain}": "privateKey='{chain}': expected a file with a private key in PEM format",
    "8443:privateKey={key}:certKey={key}": "certKey='{key}': expected a file with a certificate in PEM format",
    "8443:privateKey={key}:certKey={random}": "certKey='{random}': expected a readable file in PEM format (there is no",
    "8443:privateKey={half}:certKey={chain}": "privateKey='{half}': expected a readable file in PEM format (PEM lib:",
    "8443:privateKey={encrypted}:certKey={chain}": "privateKey='{encrypted}': expected a readable file in PEM format (",
    "8443:privateKey={other}:certKey={chain}": "privateKey='{other}' does not match certKey='{chain}': expected the "
    "private key that fits the certificate",
    "8443:privateKey={other}:certificate={chain}": "privateKey='{other}' does not match certificate='{chain}': expecte",
    "8443:certificate={mismatched}": "certificate='{mismatched}': expected a certificate and the private key that fits",
    "8443:certificate={chain}": "certificate='{chain}': expected a file with a private key in PEM format",
    "8443:certificate={combined}:certKey={chain}": "certKey='{chain}': expected it to be left out with certificate=",
    "8443:certificate={combined}:extraCertChain={ca}": "extraCertChain='{ca}': expected it to be left out with certifi",
    "8443:{files}:extraCertChain=no.pem": "extraCertChain='no.pem': expected a readable file in PEM format (No such fi",
    "8443:{files}:extraCertChain={key}": "extraCertChain='{key}': expected a file with certificates in PEM format",
    "8443:{files}:dhParameters=no.pem": "dhParameters='no.pem': expected a file of Diffie-Hellman parameters in PEM fo",
    "8443:{files}:dhParameters={chain}": "dhParameters='{chain}': expected a file of Diffie-Hellman parameters in PEM",
    "8443:{files}:clientCA=no.pem": "clientCA='no.pem': expected a file or folder with certificates in PEM format (No ",
    "8443:{files}:clientCA={key}": "clientCA='{key}': expected a file or folder with certificates in PEM format (no ce",
    "/no/folder": "path='/no/folder': expected a folder of PEM files with certificates and their keys (No such file or",
    "{combined}": "path='{combined}': expected a folder of PEM files with certificates and their keys (Not a directory",
    "{empty}": "path='{empty}': expected a folder of PEM files with certificates and their keys (no certificate with i",
    "{bad_folder}": "path='{bad_folder}': expected a folder of PEM files with certificates and their keys (bad.pem: ",
    "8443:{files}:ticketKeys=/no/t.key": "ticketKeys='/no/t.key': expected files with ticket keys, as nginx (48 or 80 "
    "bytes each) or HAProxy (lines of base64) has them ('/no/t.key': No such file or directory)",
    "8443:{files}:ticketKeys={key}": "ticketKeys='{key}': expected files with ticket keys, as nginx (48 or 80 bytes ea",
    "{folder}:ticketKeys=": "ticketKeys='': expected files with ticket keys, as nginx (48 or 80 bytes each) or HAProxy",
    "{folder}:ticketKeys=/a,/b": "ticketKeys='/a,/b': expected files with ticket keys, as nginx (48 or 80 bytes each)",
    "{folder}:ticketKeys=http\\://host/": "ticketKeys='http://host/': expected a URL such as redis://host:6379/0?rotate",
    "{folder}:ticketKeys=redis\\://u\\:secret@host/?rotate=x": "ticketKeys='redis://u:…@host/': expected a URL such as "
    "redis://host:6379/0?rotate=43200 (rotate='x' in the URL: expected a number of seconds)",
    # TLS
    "8443:{files}:minVersion=1.4": "minVersion='1.4': expected TLSv1.2 or TLSv1.3",
    "8443:{files}:minVersion=1.3:maxVersion=1.2": "maxVersion='1.2': expected a version not below minVersion= (TLSv1.3",
    "8443:{files}:maxVersion=1.1": "maxVersion='1.1': expected a version not below minVersion= (TLSv1.2)",
    "8443:{files}:minVersion=1.0": "minVersion='1.0': expected TLSv1.2 or newer, or ciphers= that older versions can u",
    "8443:{files}:sslmethod=TLSv1_METHOD": "sslmethod='TLSv1_METHOD': expected TLSv1.2 or newer, or ciphers=",
    "8443:{files}:sslmethod=SSLv3_METHOD": "sslmethod='SSLv3_METHOD': expected one of TLS_METHOD, ",
    "8443:{files}:sslmethod=TLS_METHOD:minVersion=1.3": "minVersion='1.3': expected it to be left out with sslmethod=",
    "8443:{files}:ciphers=NONSENSE": "ciphers='NONSENSE': expected OpenSSL's names of TLS 1.2 ciphers, with commas",
    "8443:{files}:cipherSuites=NONSENSE": "cipherSuites='NONSENSE': expected OpenSSL's names of TLS 1.3 cipher suites",
    "8443:{files}:groups=NONSENSE": "groups='NONSENSE': expected OpenSSL's names of key exchange groups, with commas",
    "8443:{files}:groups=": "groups='': expected OpenSSL's names of key exchange groups, with commas between them",
    "8443:{files}:alpn=h2,,x": "alpn='h2,,x': expected different names such as h2,http/1.1",
    "8443:{files}:verifyClient=required": "verifyClient='required': expected clientCA= beside it",
    "8443:{files}:clientCA={ca}:verifyClient=no": "verifyClient='no': expected optional or required",
    "8443:{files}:handshakeTimeout=-1": "handshakeTimeout='-1': expected seconds from 0 to 86400, 0 or \"none\" for no",
    "8443:{files}:shutdownTimeout=ever": "shutdownTimeout='ever': expected seconds from 0 to 86400",
    # endpoint=
    "8443:endpoint=tcp\\:1:{files}": "port='8443': expected it to be left out with endpoint='tcp:1'",
    "endpoint=tcp\\:1:backlog=5:{files}": "backlog='5': expected it to be left out with endpoint='tcp:1'",
    "endpoint=tcp\\:1:interface=\\:\\::{files}": "interface='::': expected it to be left out with endpoint='tcp:1'",
    "endpoint=nonsense\\:1:{files}": "endpoint='nonsense:1': expected a server endpoint string (Unknown endpoint type:",
    "endpoint=tcp\\:http:{files}": "endpoint='tcp:http': expected a server endpoint string (invalid literal for int()",
    "endpoint=tcp:{files}": "endpoint='tcp': expected a server endpoint string (",
    "endpoint=:{files}": "endpoint='': expected a server endpoint string (",
}

CLIENT_MISTAKES = {
    "": "host='': expected the host name or address to connect to and to verify",
    "port=443": "host= is missing: expected the host name or address to connect to and to verify",
    "localhost": "port= is missing: expected a whole number from 1 to 65535",
    "localhost:0": "port='0': expected a whole number from 1 to 65535",
    "http://localhost/": "port='//localhost/': expected a whole number from 1 to 65535; it was given without a key: ",
    "a b:443": "host='a b': expected a host name or an address",
    "ä..b:443": "host='ä..b': expected a host name (",
    "localhost:443:timeout=-1": "timeout='-1': expected seconds from 0 to 86400",
    "localhost:443:serverName=x": "unknown key 'serverName' with the value 'x': expected, for a client, one of alpn, ",
    "localhost:443:clientCA=x": "unknown key 'clientCA' with the value 'x': expected, for a client, one of alpn, ",
    "localhost:443:trustRoots=/none": "trustRoots='/none': expected a file or folder with certificates in PEM format (",
    "localhost:443:trustRoots={empty}": "trustRoots='{empty}': expected a file or folder with certificates in PEM form",
    "localhost:443:trustRoots={bad_folder}": "trustRoots='{bad_folder}': expected a file or folder with certificates "
    "in PEM format (bad.pem: there is no PEM in it)",
    "localhost:443:certificate=no.pem": "certificate='no.pem': expected a readable file in PEM format (No such file",
    "localhost:443:certificate={chain}": "certificate='{chain}': expected a file with a private key in PEM format",
    "localhost:443:certificate={chain}:privateKey={other}": "privateKey='{other}' does not match certificate='{chain}'",
    "localhost:443:privateKey={key}": "privateKey='{key}': expected certificate= beside it",
    "localhost:443:minVersion=nine": "minVersion='nine': expected TLSv1.2 or TLSv1.3",
    "localhost:443:groups=NONSENSE": "groups='NONSENSE': expected OpenSSL's names of key exchange groups",
    "localhost:endpoint=tcp\\:a\\:1:bindAddress=::": "port='': expected a whole number from 0 to 65535; it was given",
    "localhost:endpoint=tcp\\:a\\:1:timeout=5": "timeout='5': expected it to be left out with endpoint='tcp:a:1'",
    "localhost:endpoint=tcp\\:a\\:1:bindAddress=127.0.0.1": "bindAddress='127.0.0.1': expected it to be left out with ",
    "localhost:http:endpoint=tcp\\:a\\:1": "port='http': expected a whole number from 0 to 65535",
    "localhost:endpoint=nonsense\\:1": "endpoint='nonsense:1': expected a client endpoint string (Unknown endpoint typ",
}


@pytest.fixture(scope="module")
def mistaken(pki: PKI, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the strings above stand for in braces."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "empty").mkdir()
    (folder / "bad").mkdir()
    (folder / "bad" / "bad.pem").write_text("not PEM")
    (folder / "half.pem").write_bytes(pki.server.private_key[:100])
    (folder / "random.pem").write_bytes(os.urandom(1000).replace(b"-", b"_"))
    return {
        "files": f"privateKey={pki.server.key_file}:certKey={pki.server.chain_file}",
        "key": pki.server.key_file,
        "chain": pki.server.chain_file,
        "combined": pki.server.combined_file,
        "other": pki.client.key_file,
        "mismatched": pki.mismatched.combined_file,
        "encrypted": pki.encrypted.key_file,
        "ca": pki.ca.certificate_file,
        "folder": pki.pem_folder("localhost"),
        "half": str(folder / "half.pem"),
        "random": str(folder / "random.pem"),
        "empty": str(folder / "empty"),
        "bad_folder": str(folder / "bad"),
    }


@pytest.mark.parametrize(
    ("parse", "description", "message"),
    [(serverFromString, *mistake) for mistake in SERVER_MISTAKES.items()]
    + [(clientFromString, *mistake) for mistake in CLIENT_MISTAKES.items()],
)
def test_mistake_is_named_in_the_last_line_and_nothing_listens(
    mistaken: dict[str, str], monkeypatch: pytest.MonkeyPatch, parse: Any, description: str, message: str
) -> None:
    monkeypatch.chdir(mistaken["empty"])
    memory = MemoryReactor()
    with pytest.raises(ValueError) as caught:
        parse(memory, f"membiotls:{description.format(**mistaken)}")
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(f"membiotls: {message.format(**mistaken)}")
    assert not memory.tcpServers and not memory.tcpClients


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="needs a user who may not read every file")
def test_unreadable_file_is_named(pki: PKI, tmp_path: Path) -> None:
    (tmp_path / "key.pem").touch(mode=0)
    with pytest.raises(ValueError, match=r"privateKey='.*key\.pem': expected .* \(Permission denied\)$"):
        serverFromString(MemoryReactor(), f"membiotls:443:privateKey={escape(str(tmp_path / 'key.pem'))}")


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty working directory: whatever an example names, it is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("nowhere"))
        yield


TEXT = st.text(st.characters(exclude_characters="/.~\\"))
DATA = st.text(st.characters(exclude_characters="/.~\\", exclude_categories=["Cs"])).map(str.encode)
"""Anything but a way out of the working directory: a folder of certificates is searched to its last subfolder."""


@pytest.mark.usefixtures("nowhere")
@given(
    args=st.lists(TEXT | DATA | st.sampled_from(["443", "localhost", b".", b"\xff"]), max_size=9),
    kwargs=st.dictionaries(
        st.sampled_from(sorted({*SERVER_FILES.keys, *SERVER_FOLDER.keys, *CLIENT.keys, "colour"})),
        TEXT
        | TEXT.map(str.encode)
        | st.sampled_from(["443", "localhost", b".", "1.2", "h2", "P-256", "tcp:1", b"\xff"]),
        max_size=6,
    ),
    server=st.booleans(),
)
def test_any_arguments_give_an_endpoint_or_the_documented_error(
    args: list[str | bytes], kwargs: dict[str, str | bytes], server: bool
) -> None:
    parse = parseStreamServer if server else parseStreamClient
    try:
        parse(MemoryReactor(), *args, **kwargs)
    except ValueError as error:
        assert str(error).startswith("membiotls: ")
        assert len(str(error).splitlines()) == 1
