"""Two Synapse homeservers: each serves HTTPS, and one asks the other for its keys as federation does."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.applications import Applications, fetch
from support.pki import PKI
from support.process import DEADLINE, Process

pytestmark = pytest.mark.applications

#: On top of what it generates itself.
CONFIGURATION = """
server_name: "localhost:{port}"
listeners:
  - {{port: {port}, bind_addresses: [127.0.0.1], type: http, tls: true, resources: [{{names: [client, federation]}}]}}
tls_certificate_path: {folder}/chain.pem
tls_private_key_path: {folder}/key.pem
federation_custom_ca_list: [{ca}]
federation_client_minimum_tls_version: 1.2
ip_range_whitelist: [127.0.0.1]
trusted_key_servers: []
log_config: {folder}/log.yaml
"""

#: Through the console: the log is what tells that it listens.
LOG = """
version: 1
disable_existing_loggers: false
formatters: {plain: {format: "%(levelname)s %(name)s %(message)s"}}
handlers: {console: {class: logging.StreamHandler, formatter: plain}}
root: {level: INFO, handlers: [console]}
"""


#: Ports that no platform gives to those who ask for any (IANA begins with 49152, Linux with 32768): between choosing
#: one and listening there, nobody else gets it.
PORTS = range(20_000, 30_000)


def free_port() -> int:
    """One of these, on 127.0.0.1."""
    for port in random.sample(PORTS, 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("a hundred ports are taken")


@contextmanager
def homeserver(apps: Applications, pki: PKI, folder: Path) -> Iterator[tuple[Process, int]]:
    """It, and its port. The name of a homeserver has the port in it, so it is chosen beforehand."""
    folder.mkdir()
    port = free_port()
    module = ("-m", "synapse.app.homeserver", "--config-path", "generated.yaml")
    generate = ("--generate-config", "--report-stats=no", "--data-directory", folder, "--server-name", "localhost")
    apps.finish(*module, *generate, cwd=folder)
    shutil.copy(pki.server.chain_file, folder / "chain.pem")
    shutil.copy(pki.server.key_file, folder / "key.pem")
    ca = pki.ca.certificate_file
    (folder / "more.yaml").write_text(CONFIGURATION.format(port=port, folder=folder, ca=ca))
    (folder / "log.yaml").write_text(LOG)
    with apps.run(*module, "--config-path", "more.yaml", cwd=folder) as process:
        process.wait_for(rf"listening on TCP port {port} \(TLS\)")
        yield process, port


def certificate_of(pki: PKI, port: int) -> bytes:
    """What is shown there, DER."""
    context = ssl.create_default_context(cafile=pki.ca.certificate_file)
    with (
        socket.create_connection(("127.0.0.1", port), DEADLINE) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as stream,
    ):
        return stream.getpeercert(binary_form=True) or b""


def test_a_homeserver_asks_another(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    with homeserver(apps, pki, tmp_path / "one") as (_, one), homeserver(apps, pki, tmp_path / "two") as (_, two):
        status, body = fetch(pki, one, "/_matrix/client/versions")
        assert status == 200 and json.loads(body)["versions"]
        own = json.loads(fetch(pki, two, "/_matrix/key/v2/server")[1])
        (key,) = own["verify_keys"]
        wanted = json.dumps({"server_keys": {own["server_name"]: {key: {"minimum_valid_until_ts": 0}}}}).encode()
        _, body = fetch(pki, one, "/_matrix/key/v2/query", "POST", wanted)
        (answer,) = json.loads(body)["server_keys"]
        assert answer["verify_keys"] == own["verify_keys"]
        assert answer["server_name"] == f"localhost:{two}"
        assert set(answer["signatures"]) == {f"localhost:{one}", f"localhost:{two}"}


def test_certificates_are_replaced_by_a_signal(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    """It puts another TLSMemoryBIOFactory into the ports that have one."""
    with homeserver(apps, pki, tmp_path / "one") as (process, port):
        assert certificate_of(pki, port) == pki.server.certificate_der
        new = pki.issue("localhost")
        shutil.copy(new.chain_file, tmp_path / "one" / "chain.pem")
        shutil.copy(new.key_file, tmp_path / "one" / "key.pem")
        process.signal(signal.SIGHUP)
        process.wait_for("Replacing TLS context factory")
        process.wait_for("Context factories updated")
        assert certificate_of(pki, port) == new.certificate_der
