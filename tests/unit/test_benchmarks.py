"""The benchmarks run, measure what they say, and refuse a contender whose results are wrong.

No test here passes or fails by the clock.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

import txmembio

ROOT = Path(__file__).resolve().parents[2]
# `benchmarks` is never installed. The checkout is on the path for these lines only, and last: txmembio and its plugin
# have to come from where they are installed.
path_before = sys.path[:]
sys.path.append(str(ROOT))
try:
    from benchmarks import c_loop, contenders, end_to_end_report, report
    from benchmarks.building import compile_c
    from benchmarks.end_to_end import CONTENDERS, WORKS
    from benchmarks.end_to_end_report import TORNADO
    from benchmarks.processes import Load, Server
    from benchmarks.remote import RemoteLane
    from benchmarks.slices import ALL_WORKS, BenchmarkError, LocalLane, Work, message
finally:
    sys.path[:] = path_before

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the C loop is built with a Unix compiler's arguments")

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the load needs epoll, and memory needs /proc")

SECONDS = 0.001
"""Seconds of a slice in these tests: nobody reads the figures."""

LONGEST = 300
"""Seconds that a subprocess may take before it counts as hung; it takes two."""

RUN = "import runpy, sys; sys.path.append({root!r}); runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"


def run(module: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m module` in *folder*, with the same txmembio that these tests import."""
    code = RUN.format(root=str(ROOT), module=module)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LONGEST, check=False)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate on P-256 and its key."""
    path = tmp_path_factory.mktemp("pem") / "server.pem"
    certificate = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> c_loop.Library:
    """The C loop, built."""
    return c_loop.Library(c_loop.build(tmp_path_factory.mktemp("c_loop")))


def test_quick_measures_every_contender_at_all_its_work(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    finished = run("benchmarks.in_memory", tmp_path, "--quick", "--without", "pyopenssl", "--json", str(file))
    assert finished.returncode == 0, finished.stderr
    document = json.loads(file.read_text())
    assert list(document) == ["machine", "settings", "contenders", "aims", "summary", "samples"]
    libraries = {contender["key"]: contender["library"] for contender in document["contenders"]}
    assert list(libraries) == ["c-bare", "c-copying", "c-releasing", "txmembio", "txmembio-two", "txmembio-ssl", "ssl"]
    assert libraries["txmembio"] == libraries["c-bare"] == txmembio.OPENSSL_VERSION
    wanted = {
        (number, key, *work)
        for number in range(document["settings"]["rounds"])
        for key in libraries
        for work in ALL_WORKS
        if (key, work.direction) != ("txmembio-two", "decrypt")
    }
    samples = document["samples"]
    assert {(s["round"], s["contender"], s["direction"], s["size"]) for s in samples} == wanted
    assert len(samples) == len(wanted)
    assert all(s["messages"] > 0 and s["wall"] > 0 and s["cpu"] > 0 for s in samples)
    assert {row["outcome"] for row in document["aims"] if "pyopenssl" in row["what"]} == {"not measured"}
    assert {row["outcome"] for row in document["aims"] if "pyopenssl" not in row["what"]} <= {"met", "missed"}
    for heading in ("### 64 B", "### 1 KiB", "### 16 KiB", "### 64 KiB", "### Aims"):
        assert heading in finished.stdout
    assert f"| txmembio, one call ({txmembio.OPENSSL_VERSION}) |" in finished.stdout


def test_boundary_times_every_statement(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="cffi builds the toy module with setuptools, which is not installed")
    file = tmp_path / "out.json"
    finished = run("benchmarks.boundary", tmp_path, "--quick", "--json", str(file))
    assert finished.returncode == 0, finished.stderr
    figures = json.loads(file.read_text())
    assert all(ns >= 0 for group in figures.values() for ns in group.values())
    assert next(iter(figures["the status"])) == "long long, one test"


@pytest.mark.parametrize("key", ["txmembio", "txmembio-two", "txmembio-ssl", "ssl"])
def test_a_contender_speaks_to_the_c_loop_both_ways(key: str, library: c_loop.Library, pem: Path) -> None:
    contender = contenders.PYTHON_CONTENDERS[key](c_loop.End(library, pem))
    for work in ALL_WORKS:
        contender.check(message(work.size))


def test_each_variant_of_the_c_loop_speaks_to_itself(library: c_loop.Library, pem: Path) -> None:
    for contender in c_loop.c_contenders(library, pem):
        for work in ALL_WORKS:
            contender.check(message(work.size))


def test_a_contender_that_loses_plaintext_is_refused(library: c_loop.Library, pem: Path) -> None:
    sound = contenders.standard_library(c_loop.End(library, pem))
    decrypt = sound.decrypt
    sound.decrypt = lambda wire: b"".join(decrypt(wire))[:-1]  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match=r"stdlib ssl.*64 bytes did not come out as it went in"):
        LocalLane(sound).prepare([Work("decrypt", 64)], SECONDS)


def test_plaintext_lost_between_the_check_and_the_end_is_noticed(library: c_loop.Library, pem: Path) -> None:
    contender = contenders.standard_library(c_loop.End(library, pem))
    lane = LocalLane(contender)
    lane.prepare([Work("decrypt", 1024)], SECONDS)
    decrypt = contender.decrypt
    contender.decrypt = lambda wire: b"".join(decrypt(wire))[1:]  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match="1024 bytes was decrypted to something else"):
        lane.slice(Work("decrypt", 1024))


def test_a_worker_takes_its_turns_in_another_process(library: c_loop.Library, pem: Path) -> None:
    lane = RemoteLane("ssl", Path(sys.executable), library.path, pem)
    try:
        lane.prepare(ALL_WORKS, SECONDS)
        slices = [lane.slice(work) for work in ALL_WORKS]
    finally:
        lane.close()
    assert all(done.messages > 0 and done.wall > 0 for done in slices)
    assert lane.name.startswith("stdlib ssl")
    assert lane.directions == ("encrypt", "decrypt")


def test_a_worker_that_dies_is_an_error_and_not_a_wait(library: c_loop.Library, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="the worker ended with status 1"):
        RemoteLane("ssl", Path(sys.executable), library.path, tmp_path / "absent.pem")


def test_a_wrong_openssl_dir_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSSL_DIR", str(tmp_path))
    with pytest.raises(BenchmarkError, match="OPENSSL_DIR"):
        c_loop.build(tmp_path)


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(BenchmarkError, match="no-such-compiler"):
        c_loop.build(tmp_path)


def sample(number: int, contender: str, cpu: float) -> report.Sample:
    """What a *contender* did in round *number*: ten messages of 64 bytes in *cpu* seconds each."""
    return report.Sample(number, contender, "encrypt", 64, 10, cpu * 20, cpu * 10)


def test_ratios_are_taken_within_each_round() -> None:
    # The machine is three times slower in the second round: for both, which a ratio of medians would not know.
    results = report.Results(
        [sample(0, "c-bare", 1.0), sample(0, "txmembio", 1.5), sample(1, "c-bare", 3.0), sample(1, "txmembio", 4.5)]
    )
    work = Work("encrypt", 64)
    ratio = results.ratio("txmembio", "c-bare", work)
    assert ratio == report.Spread(1.5, 1.5, 1.5, 1.5, 1.5)
    assert results.seconds("c-bare", work) == report.Spread(2.0, 1.5, 2.5, 1.0, 3.0)
    assert results.seconds("c-bare", work, "wall") == report.Spread(4.0, 3.0, 5.0, 2.0, 6.0)
    assert results.ratio("txmembio", "ssl", work) is None
    assert results.works() == [work]


@pytest.mark.parametrize(("ours", "outcome"), [(1.7, "met"), (1.71, "missed")])
def test_an_aim_is_met_at_its_bound_and_missed_beyond(ours: float, outcome: str) -> None:
    results = report.Results([sample(0, "c-bare", 1.0), sample(0, "txmembio", ours), sample(0, "pyopenssl", ours * 2)])
    outcomes = {(row["direction"], row["aim"]): row["outcome"] for row in report.aims(results, {}) if row["size"] == 64}
    assert outcomes == {
        ("encrypt", "at most 1.70"): outcome,
        ("encrypt", "at least 2.00"): "met",
        ("decrypt", "at most 1.70"): "not measured",
        ("decrypt", "at least 2.00"): "not measured",
    }


def test_the_interval_of_a_median_lies_around_it_and_is_the_same_every_time() -> None:
    figures = [1.0, 1.1, 1.2, 1.3, 5.0]
    low, high = report.interval(figures, statistics.median)
    assert 1.0 <= low < 1.2 < high <= 5.0
    assert report.interval(figures, statistics.median) == (low, high)
    assert report.interval([2.0] * 5, statistics.median) == (2.0, 2.0)


# --- end to end -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def load_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load, built."""
    program = tmp_path_factory.mktemp("load") / "load"
    compile_c(ROOT / "benchmarks" / "load.c", program, "-Wall", "-Wextra", "-Werror")
    return program


@linux
def test_end_to_end_quick_measures_every_contender_at_all_its_work(tmp_path: Path) -> None:
    pytest.importorskip("tornado", reason="Tornado is not installed")
    file = tmp_path / "out.json"
    finished = run("benchmarks.end_to_end", tmp_path, "--quick", "--json", str(file))
    assert finished.returncode == 0, finished.stderr
    document = json.loads(file.read_text())
    assert list(document) == ["machine", "settings", "contenders", "aims", "summary", "samples"]
    libraries = {contender["key"]: set(contender["libraries"].values()) for contender in document["contenders"]}
    assert list(libraries) == [*CONTENDERS, "c-loop"]
    assert libraries["tornado-txmembio"] >= libraries["c-loop"] == {txmembio.OPENSSL_VERSION}
    samples = document["samples"]
    wanted = {(number, key, work.key) for number in (0, 1) for key in CONTENDERS for work in WORKS}
    wanted |= {(number, "c-loop", work.key) for number in (0, 1) for work in WORKS if work.in_memory}
    assert {(s["round"], s["contender"], s["work"]) for s in samples} == wanted
    assert len(samples) == len(wanted)
    assert all(s["cpu"] > 0 and s["units"] > 0 for s in samples)
    assert all((s["memory"] is not None) == (s["work"] == "idle") for s in samples)
    outcomes = {row["outcome"] for row in document["aims"]}
    if document["settings"]["same_libssl"]:
        assert outcomes <= {"met", "missed", "not measured"}  # this last where a peer was faster than its parts
        assert f"{txmembio.OPENSSL_VERSION}, the same /" in finished.stdout
    else:
        assert outcomes == {"not comparable"}
        assert "NOT ONE libssl" in finished.stdout
    for work in WORKS:
        assert f"| {end_to_end_report.SHOWN[work.key].name} |" in finished.stdout


@linux
def test_only_what_was_asked_for_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("tornado", reason="Tornado is not installed")
    file = tmp_path / "out.json"
    arguments = ["--quick", "--rounds", "1", "--work", "echo", "--without", "tornado-txmembio", "--json", str(file)]
    finished = run("benchmarks.end_to_end", tmp_path, *arguments)
    assert finished.returncode == 0, finished.stderr
    document = json.loads(file.read_text())
    assert {s["work"] for s in document["samples"]} == {"echo"}
    assert {s["contender"] for s in document["samples"]} == {"tornado-plain", "tornado-ssl", "c-loop"}
    assert {row["outcome"] for row in document["aims"]} <= {"not measured", "not comparable"}


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """The port of a server of plain TCP that gives one connection these answers, each to whatever it receives."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(ConnectionError):  # the load ends in the middle
                for answer in answers:
                    connection.recv(4096)
                    connection.sendall(answer)
                connection.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@linux
def test_a_message_that_comes_back_changed_is_refused(load_program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        answering(b".", b"something that was never sent") as port,
        pytest.raises(BenchmarkError, match=r"the load \(echo\) ended with status 1"),
    ):
        Load(load_program, False, port, "echo", 1, 10, 20)
    assert "a message came back changed" in capfd.readouterr().err


@linux
def test_too_many_bytes_are_refused(load_program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = bytes(2**23 + 1)
    with answering(b".", more) as port, pytest.raises(BenchmarkError, match=r"the load \(down\) ended with status 1"):
        Load(load_program, False, port, "down", 1, 10, 20)
    assert "the server sent more than it was asked for" in capfd.readouterr().err


@linux
def test_a_load_that_finds_no_server_is_an_error(load_program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BenchmarkError, match=r"the load \(idle\) ended with status 1"):
        Load(load_program, False, port, "idle", 1, 0, 0)
    assert "connect: Connection refused" in capfd.readouterr().err


@linux
def test_a_server_that_dies_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    pytest.importorskip("tornado", reason="Tornado is not installed")
    with pytest.raises(BenchmarkError, match="tornado-ssl's server ended with status 1"):
        Server("benchmarks.tornado_server", "tornado-ssl", tmp_path / "absent.pem")


def end_to_end_samples(work: str, *rounds: tuple[float, float, float, float]) -> list[end_to_end_report.Sample]:
    """What plain TCP, the peer, ours and the C loop took in each of *rounds*, in seconds or bytes for each of ten."""
    keys = (*TORNADO, end_to_end_report.C_LOOP)
    return [
        end_to_end_report.Sample(number, key, work, 10, each * 10, 1.0, 0.5, int(each * 10) if work == "idle" else None)
        for number, all_each in enumerate(rounds)
        for key, each in zip(keys, all_each, strict=True)
    ]


def test_what_is_above_plain_tcp_and_the_c_loop_is_taken_within_each_round() -> None:
    # In the second round everything takes twice as long.
    results = end_to_end_report.Results(end_to_end_samples("up", (1, 5, 3, 1), (2, 10, 6, 2), (1, 5, 3.5, 1)))
    assert results.above("tornado-txmembio", "tornado-plain", "up") == [1, 2, 1.5]
    assert results.above("tornado-ssl", "tornado-plain", "up") == [3, 6, 3]
    assert results.above_ratio(TORNADO, "up") == pytest.approx((0.5, 1 / 3, 0.5))
    assert results.ratio("tornado-txmembio", "tornado-ssl", "up") == pytest.approx((0.6, 0.6, 0.7))
    assert results.ratio("tornado-txmembio", "tornado-ssl", "down") is None
    assert results.above_ratio(TORNADO, "echo") is None


def test_a_peer_that_takes_hardly_more_than_its_parts_is_not_divided_by() -> None:
    results = end_to_end_report.Results(end_to_end_samples("up", (1, 2, 2, 1), (1, 3, 2, 1), (1, 3, 2, 1)))
    assert results.above_ratio(TORNADO, "up") is None


@pytest.mark.parametrize(("ours", "outcome"), [(5.0, "met"), (5.1, "missed")])
def test_an_aim_end_to_end_is_met_at_its_bound_and_missed_beyond(ours: float, outcome: str) -> None:
    samples = end_to_end_samples("up", (1, 8, ours, 1))
    samples += end_to_end_samples("down", (1, 5, ours, 1)) + end_to_end_samples("idle", (1, 50, ours * 10, 1))
    results = end_to_end_report.Results(samples)
    outcomes = {row["work"]: row["outcome"] for row in end_to_end_report.aims(results, True)}
    assert outcomes == {
        "up": outcome,
        "down": outcome,
        "idle": outcome,
        "up-pieces": "not measured",
        "down-large": "not measured",
        "echo": "not measured",
    }
    assert {row["outcome"] for row in end_to_end_report.aims(results, False)} == {"not comparable"}
