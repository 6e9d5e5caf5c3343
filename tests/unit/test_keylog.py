"""The key log: lines that a protocol analyser reads, equal on both sides, in a file that nobody else does."""

from __future__ import annotations

import gc
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support import pair
from support.pki import PKI
from support.process import environment
from txmembio.keylog import key_log

TLS12 = txmembio.TLSVersion.TLSv1_2

#: RFC 9850 section 2: a label, the client's random, the secret.
LINE = re.compile(rb"([A-Z_0-9]+) ([0-9a-fA-F]{64}) ([0-9a-fA-F]+)\n")

LABELS = {
    "TLSv1_2": {b"CLIENT_RANDOM"},
    "TLSv1_3": {
        b"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        b"SERVER_HANDSHAKE_TRAFFIC_SECRET",
        b"CLIENT_TRAFFIC_SECRET_0",
        b"SERVER_TRAFFIC_SECRET_0",
        b"EXPORTER_SECRET",
    },
}

posix = pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")


def lines_of(path: Path) -> list[tuple[bytes, bytes, bytes]]:
    """(label, client's random, secret) of each line but comments; every line must be one of the two."""
    found = []
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.startswith(b"#"):
            match = LINE.fullmatch(line)
            assert match is not None, line
            found.append((match[1], match[2], match[3]))
    return found


def test_the_lines_of_both_sides_are_the_same(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    for name, context in (("client", client), ("server", server)):
        assert context.keylog_filename is None
        context.keylog_filename = tmp_path / name
        assert context.keylog_filename == str(tmp_path / name)
    for connections in (1, 2):
        ends = pair.connect(client, server)
        ends.client.send_plaintext(b"plaintext")
        ends.settle()
        of_client, of_server = lines_of(tmp_path / "client"), lines_of(tmp_path / "server")
        assert sorted(of_client) == sorted(of_server)
        assert len({random for _, random, _ in of_client}) == connections
        assert {label for label, _, _ in of_client} == LABELS[tls_version.name]


@posix
def test_only_the_owner_can_read_it(pki: PKI, tmp_path: Path) -> None:
    context = pair.client_context(pki)
    before = os.umask(0)
    try:
        context.keylog_filename = tmp_path / "secrets"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o600


def test_it_is_appended_to(pki: PKI, tmp_path: Path) -> None:
    (tmp_path / "secrets").write_bytes(b"# what was there before\n")
    context = pair.client_context(pki, TLS12)
    context.keylog_filename = tmp_path / "secrets"
    pair.connect(context, pair.server_context(pki))
    text = (tmp_path / "secrets").read_bytes()
    assert text.startswith(b"# what was there before\n") and len(lines_of(tmp_path / "secrets")) == 1
    assert text.count(b"#") == 1  # no second head


def test_none_ends_it(pki: PKI, tmp_path: Path) -> None:
    context = pair.client_context(pki, TLS12)
    context.keylog_filename = tmp_path / "secrets"
    context.keylog_filename = None
    assert context.keylog_filename is None
    pair.connect(context, pair.server_context(pki))
    assert lines_of(tmp_path / "secrets") == []


@pytest.mark.parametrize(
    ("bad", "error"),
    [("/there/is/no/such/folder/file", FileNotFoundError), ("/", IsADirectoryError), (5, TypeError), (1.5, TypeError)],
    ids=repr,
)
@posix
def test_a_file_that_cannot_be_written_is_an_error_and_nothing_else(
    pki: PKI, tmp_path: Path, bad: Any, error: type[Exception]
) -> None:
    """No exception in a finaliser either, which pytest would tell; and the log of before goes on."""
    context = pair.client_context(pki, TLS12)
    context.keylog_filename = tmp_path / "secrets"
    with pytest.raises(error):
        context.keylog_filename = bad
    gc.collect()
    pair.connect(context, pair.server_context(pki))
    assert context.keylog_filename == str(tmp_path / "secrets")
    assert len(lines_of(tmp_path / "secrets")) == 1


def test_contexts_share_one_file(pki: PKI, tmp_path: Path) -> None:
    client, server = pair.client_context(pki, TLS12), pair.server_context(pki, TLS12)
    for context in (client, server):
        context.keylog_filename = tmp_path / "secrets"
    pair.connect(client, server)
    one, two = lines_of(tmp_path / "secrets")
    assert one == two
    assert (tmp_path / "secrets").read_bytes().count(b"#") == 1


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    log = key_log(tmp_path / "secrets")
    line = b"CLIENT_RANDOM " + b"a" * 64 + b" " + b"b" * 96

    def write() -> None:
        for _ in range(500):
            log.write(line)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines_of(tmp_path / "secrets")) == 2000


@posix
def test_a_file_that_was_rotated_away_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    log = key_log(path)
    assert key_log(path) is log and not log.replaced()
    path.rename(tmp_path / "old")
    assert log.replaced() and key_log(path) is not log
    assert path.exists()


@posix
def test_the_file_is_closed_with_the_last_context(pki: PKI, tmp_path: Path) -> None:
    context = pair.client_context(pki)
    context.keylog_filename = tmp_path / "secrets"
    assert context._keylog is not None
    descriptor = context._keylog._file.fileno()
    del context
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_an_error_while_writing_is_told_and_harms_no_connection(
    pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(args.exc_type))
    client = pair.client_context(pki, tls_version)
    client.keylog_filename = tmp_path / "secrets"
    assert client._keylog is not None
    client._keylog._file.close()  # as a full disk would, at the first write
    assert pair.connect(client, pair.server_context(pki, tls_version)).complete
    assert seen and set(seen) == {ValueError}


@pytest.mark.parametrize("flags", [[], ["-E"], ["-I"]], ids=repr)
def test_sslkeylogfile_is_honoured_by_the_default_context_alone(tmp_path: Path, flags: list[str]) -> None:
    path = tmp_path / "secrets"
    package = str(Path(txmembio.__file__).parents[1])
    program = f"""
import sys
sys.path.insert(0, {package!r})
import txmembio
for purpose in txmembio.Purpose:
    print(txmembio.create_default_context(purpose).keylog_filename)
print(txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER).keylog_filename)
"""
    done = subprocess.run(
        [sys.executable, *flags, "-c", program],
        env={**environment(), "SSLKEYLOGFILE": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    honoured = str(path) if not flags else "None"  # -E and -I have Python ignore the environment
    assert done.stdout.splitlines() == [honoured, honoured, "None"]
    assert path.exists() is (not flags)
