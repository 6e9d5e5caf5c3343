"""The benchmarks in memory run, measure what they say, and refuse a contender whose results are wrong.

No test here passes or fails by the clock.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import pytest

import txmembio
from support.benchmarking import run, within_reach

with within_reach():
    from benchmarks import c_loop, contenders, report
    from benchmarks.remote import RemoteLane
    from benchmarks.setting import make_pem
    from benchmarks.slices import (
        ALL_WORKS,
        DIRECTIONS,
        HANDSHAKES,
        SIDES,
        SIZES,
        BenchmarkError,
        LocalLane,
        Side,
        Work,
        message,
    )

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the C loop is built with a Unix compiler's arguments")

SECONDS = 0.001
"""Seconds of a slice in these tests: nobody reads the figures."""

HANDSHAKE_WORKS = [work for work in ALL_WORKS if work.direction in HANDSHAKES]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate on P-256 and its key."""
    return make_pem(tmp_path_factory.mktemp("pem"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> c_loop.Library:
    """The C loop, built."""
    return c_loop.Library(c_loop.build(tmp_path_factory.mktemp("c_loop")))


def test_quick_measures_every_contender_at_all_its_work(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    written = ["--json", str(file), "--markdown", str(tmp_path / "out.md")]
    finished = run("benchmarks.in_memory", tmp_path, "--quick", "--without", "pyopenssl", *written)
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
        if not (key == "txmembio-two" and work.direction != "encrypt")
        if not (key == "c-copying" and work.direction in HANDSHAKES)
    }
    samples = document["samples"]
    assert {(s["round"], s["contender"], s["direction"], s["size"], s["side"]) for s in samples} == wanted
    assert len(samples) == len(wanted)
    assert all(s["messages"] > 0 and s["wall"] > 0 and s["cpu"] > 0 for s in samples)
    assert {row["outcome"] for row in document["aims"] if "pyopenssl" in row["what"]} == {"not measured"}
    assert {row["outcome"] for row in document["aims"] if "pyopenssl" not in row["what"]} <= {"met", "missed"}
    for heading in (*(f"{size}, {side}" for size in ("64 B", "1 KiB", "16 KiB", "64 KiB") for side in SIDES), "Aims"):
        assert f"### {heading}\n" in finished.stdout
    assert all(f"### Handshake, {side}\n" in finished.stdout for side in SIDES)
    assert (tmp_path / "out.md").read_text() + "\n" == finished.stdout
    assert f"| txmembio, one call ({txmembio.OPENSSL_VERSION}) |" in finished.stdout


def test_boundary_times_every_statement(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="cffi builds the toy module with setuptools, which is not installed")
    file = tmp_path / "out.json"
    finished = run("benchmarks.boundary", tmp_path, "--quick", "--json", str(file))
    assert finished.returncode == 0, finished.stderr
    figures = json.loads(file.read_text())
    assert all(ns >= 0 for group in figures.values() for ns in group.values())
    assert next(iter(figures["the status"])) == "long long, one test"


def test_only_the_side_that_was_asked_for_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    without = [f"--without={key}" for key in contenders.PYTHON_CONTENDERS if key != "txmembio"]
    finished = run("benchmarks.in_memory", tmp_path, "--quick", "--side", "server", *without, "--json", str(file))
    assert finished.returncode == 0, finished.stderr
    document = json.loads(file.read_text())
    assert {sample["side"] for sample in document["samples"]} == {"server"}
    assert {row["outcome"] for row in document["aims"] if row["side"] == "client"} == {"not measured"}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("key", ["txmembio", "txmembio-two", "txmembio-ssl", "ssl"])
def test_a_contender_speaks_to_the_c_loop_both_ways(key: str, side: Side, library: c_loop.Library, pem: Path) -> None:
    contender = contenders.python_contender(key, library, pem)
    for size in SIZES:
        contender.connected(side).check(message(size))


@pytest.mark.parametrize("work", HANDSHAKE_WORKS, ids=lambda work: f"{work.direction}-{work.side}")
@pytest.mark.parametrize("key", ["txmembio", "txmembio-ssl", "ssl"])
def test_a_contender_shakes_hands_with_the_c_loop(key: str, work: Work, library: c_loop.Library, pem: Path) -> None:
    done = contenders.python_contender(key, library, pem).shake_hands(work, 3)
    assert done.messages == 3
    assert done.cpu > 0
    assert done.wall > 0


def test_each_variant_of_the_c_loop_speaks_to_itself(library: c_loop.Library, pem: Path) -> None:
    for contender in c_loop.c_contenders(library, pem):
        for side in SIDES:
            for size in SIZES:
                contender.connected(side).check(message(size))
        for work in HANDSHAKE_WORKS:
            if work.direction in contender.directions:
                assert contender.shake_hands(work, 3).wall > 0


def test_a_handshake_that_was_not_resumed_is_refused(library: c_loop.Library, pem: Path) -> None:
    recipe = contenders.standard_library(pem)
    forgetful = recipe._replace(client=lambda session: recipe.client(None))
    contender = contenders.PythonContender("ssl", "forgetful", forgetful, library, pem, HANDSHAKES)
    contender.shake_hands(Work("handshake", 0), 1)
    with pytest.raises(BenchmarkError, match="forgetful: as client, resumption was expected, and did not happen"):
        contender.shake_hands(Work("resumption", 0), 1)


def test_a_handshake_that_goes_nowhere_is_given_up(library: c_loop.Library, pem: Path) -> None:
    def client(session: object) -> contenders.Party:
        return contenders.Party(lambda wire: (b"", False), bytes, bytes, object)

    mute = contenders.standard_library(pem)._replace(client=client)
    with pytest.raises(BenchmarkError, match="mute: the handshake was not complete after 10 flights"):
        contenders.PythonContender("ssl", "mute", mute, library, pem, DIRECTIONS).connected("client")


def test_a_contender_that_loses_plaintext_is_refused(library: c_loop.Library, pem: Path) -> None:
    contender = contenders.python_contender("ssl", library, pem)
    connection = contender.connected("client")
    decrypt = connection.decrypt
    connection.decrypt = lambda wire: b"".join(decrypt(wire))[:-1]  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match=r"stdlib ssl.*64 bytes did not come out as it went in"):
        LocalLane(contender).prepare([Work("decrypt", 64)], SECONDS)


def test_plaintext_lost_between_the_check_and_the_end_is_noticed(library: c_loop.Library, pem: Path) -> None:
    contender = contenders.python_contender("ssl", library, pem)
    lane = LocalLane(contender)
    lane.prepare([Work("decrypt", 1024)], SECONDS)
    connection = contender.connected("client")
    decrypt = connection.decrypt
    connection.decrypt = lambda wire: b"".join(decrypt(wire))[1:]  # type: ignore[arg-type]
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
    assert lane.directions == DIRECTIONS + HANDSHAKES


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
    return report.Sample(number, contender, "encrypt", 64, "client", 10, cpu * 20, cpu * 10)


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


@pytest.mark.parametrize(("ours", "outcome"), [(1.5, "met"), (1.51, "missed")])
def test_an_aim_is_met_at_its_bound_and_missed_beyond(ours: float, outcome: str) -> None:
    samples = [sample(0, "c-bare", 1.0), sample(0, "txmembio", ours), sample(0, "pyopenssl", ours * 2.5)]
    outcomes = {
        (row["direction"], row["side"], row["aim"]): row["outcome"]
        for row in report.aims(report.Results(samples), {}, "OpenSSL 3.0.19 27 Jan 2026")
        if row["size"] == 64
    }
    assert outcomes.pop(("encrypt", "client", "at most 1.50")) == outcome
    assert outcomes.pop(("encrypt", "client", "at least 2.50")) == "met"
    assert len(outcomes) == 6
    assert set(outcomes.values()) == {"not measured"}


@pytest.mark.parametrize(
    ("library", "bound"),
    [("OpenSSL 3.0.19 27 Jan 2026", 1.03), ("OpenSSL 3.5.0 8 Apr 2025", 1.05), ("OpenSSL 4.0.3 29 Sep 2026", 1.05)],
)
def test_an_aim_depends_on_the_openssl(library: str, bound: float) -> None:
    assert report.AIMS[0].bound_on(library) == bound
    assert report.AIMS[2].bound_on(library) == 1.5


def test_the_interval_of_a_median_lies_around_it_and_is_the_same_every_time() -> None:
    figures = [1.0, 1.1, 1.2, 1.3, 5.0]
    low, high = report.interval(figures, statistics.median)
    assert 1.0 <= low < 1.2 < high <= 5.0
    assert report.interval(figures, statistics.median) == (low, high)
    assert report.interval([2.0] * 5, statistics.median) == (2.0, 2.0)
