"""The end-to-end benchmarks run, measure what they say, and refuse a server whose results are wrong.

No test here passes or fails by the clock.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import txmembio
from support.benchmarking import LONGEST, ROOT, RUN, run, within_reach

with within_reach():
    from benchmarks import end_to_end_aims, end_to_end_report, plot, publish
    from benchmarks.building import compile_c
    from benchmarks.end_to_end_contenders import CONTENDERS, CONTENDERS_BY_KEY, Starter
    from benchmarks.end_to_end_works import SHOWN, WORKS, WORKS_BY_KEY
    from benchmarks.processes import Load, fetch, processor_seconds
    from benchmarks.setting import make_pem
    from benchmarks.slices import BenchmarkError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the load is built with a Unix compiler's arguments")

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the load needs epoll, and memory needs /proc")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate on P-256 and its key."""
    return make_pem(tmp_path_factory.mktemp("pem"))


@pytest.fixture(scope="module")
def load_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load, built."""
    program = tmp_path_factory.mktemp("load") / "load"
    compile_c(ROOT / "benchmarks" / "load.c", program, "-Wall", "-Wextra", "-Werror")
    return program


QUICK = ("echo", "writes", "handshake", "idle")
"""Work that the smoke test does: one of each kind that is measured in a way of its own."""

QUICK_CONTENDERS = ("twisted-plain", "twisted-txmembio", "tornado-ssl", "asyncio-txmembio", "c-plain", "c-tls")


@linux
def test_end_to_end_quick_measures_who_and_what_it_was_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("twisted", reason="Twisted is not installed")
    pytest.importorskip("tornado", reason="Tornado is not installed")
    arguments = [f"--work={work}" for work in QUICK] + [f"--only={key}" for key in QUICK_CONTENDERS]
    files = ["--json", str(tmp_path / "out.json"), "--markdown", str(tmp_path / "out.md")]
    finished = run("benchmarks.end_to_end", tmp_path, "--quick", *arguments, *files)
    assert finished.returncode == 0, finished.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert set(document) == {"machine", "settings", "contenders", "absent", "aims", "summary", "samples"}
    assert document["absent"] == {}
    libraries = {contender["key"]: contender["library"] for contender in document["contenders"]}
    assert list(libraries) == [*QUICK_CONTENDERS, "c-loop"]
    assert libraries["twisted-txmembio"] == libraries["c-tls"] == libraries["c-loop"] == txmembio.OPENSSL_VERSION
    assert libraries["twisted-plain"] is libraries["c-plain"] is None
    figures = ("echo", "writes", "handshake", "idle-pss", "idle-rss")
    wanted = {(0, key, figure) for key in QUICK_CONTENDERS for figure in figures} | {(0, "c-loop", "echo")}
    wanted |= {(0, key, "writes-records") for key in QUICK_CONTENDERS if CONTENDERS_BY_KEY[key].tls}
    samples = document["samples"]
    assert {(s["round"], s["contender"], s["figure"]) for s in samples} == wanted
    assert len(samples) == len(wanted)
    assert all(s["total"] > 0 and s["units"] > 0 for s in samples if not s["figure"].startswith("idle"))
    assert {row["outcome"] for row in document["aims"]} <= {"met", "missed", "not measured", "not comparable"}
    assert finished.stdout == (tmp_path / "out.md").read_text() + "\n"
    for words in ("#### Twisted", "#### Tornado", "#### asyncio", "| Twisted, txmembio |", "1,000 one-byte writes"):
        assert words in finished.stdout


@linux
def test_one_who_cannot_be_started_is_left_out_and_named(tmp_path: Path) -> None:
    arguments = ["--quick", "--work=handshake", "--only=c-plain", "--only=c-s_server"]
    code = f"import os; os.environ['PATH'] = {str(compiler_only(tmp_path))!r}; "
    module = RUN.format(root=str(ROOT), module="benchmarks.end_to_end")
    command = [sys.executable, "-c", code + module, *arguments]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "- left out: c-s_server (openssl is not on PATH)" in finished.stdout
    assert "| C and epoll, plain TCP |" in finished.stdout


def compiler_only(folder: Path) -> Path:
    """A folder for PATH with what compiling needs, and no openssl."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("cc", "gcc", "as", "ld", "pkg-config", "collect2"):
        if (found := shutil.which(name)) is not None:
            (tools / name).symlink_to(found)
    return tools


def test_every_contender_has_a_server_and_every_figure_a_name() -> None:
    assert len(CONTENDERS_BY_KEY) == len(CONTENDERS) and len(WORKS_BY_KEY) == len(WORKS)
    figures = {aim.figure for aims in end_to_end_aims.AIMS.values() for aim in aims}
    assert figures <= set(SHOWN)
    contenders_in_aims = {
        key for aims in end_to_end_aims.AIMS.values() for aim in aims for key in (*aim.ours, *aim.theirs)
    }
    assert contenders_in_aims <= {*CONTENDERS_BY_KEY, "c-loop"}
    for family in end_to_end_report.FAMILIES:
        assert {family.ours, *family.peers} - {""} <= set(CONTENDERS_BY_KEY)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory, pem: Path) -> Starter:
    """Of servers with one certificate."""
    return Starter(tmp_path_factory.mktemp("servers"), [pem])


@linux
@pytest.mark.parametrize("key", ["c-plain", "c-tls"])
@pytest.mark.parametrize(
    "work", [work for work in WORKS if work.who in ("all", "tls", "resuming", "tornado")], ids=lambda work: work.key
)
def test_the_load_and_the_limit_speak_the_same(load_program: Path, starter: Starter, key: str, work: Any) -> None:
    contender = CONTENDERS_BY_KEY[key]
    if work.who in ("tls", "resuming") and not contender.tls:
        pytest.skip("work that only TLS has")
    server = starter.start(contender)
    try:
        small = work.scaled(quick=True)
        before = server.cpu()
        amounts = small.connections, small.amount, small.size, small.rate
        with Load(load_program, contender.tls, server.ports[0], small.mode, *amounts) as load:
            done = load.go()
        assert server.cpu() > before
        assert done.wall > 0 and done.cpu >= 0
        assert (done.tail >= done.median > 0) == (work.mode == "latency")
        if work.mode == "writes" and contender.tls:
            assert done.records == small.amount  # one for each turn
    finally:
        server.close()


@linux
def test_the_processor_time_of_another_process_is_what_it_says_itself() -> None:
    code = "import time\nwhile time.process_time() < 0.05: pass\nprint(time.process_time(), flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        said = float(process.stdout.readline())
        seen = processor_seconds(process.pid)
        process.stdin.close()
    assert seen >= said >= 0.05


@linux
def test_a_request_that_fails_is_an_error() -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not on PATH")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BenchmarkError, match="wrk failed on http://"):
        fetch(f"http://127.0.0.1:{port}/", 1, 1)


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
        Starter(tmp_path, [tmp_path / "absent.pem"]).start(CONTENDERS_BY_KEY["tornado-ssl"])


PLAIN, PEER, OURS = "tornado-plain", "tornado-ssl", "tornado-txmembio"


def end_to_end_samples(figure: str, *rounds: tuple[float, float, float, float]) -> list[end_to_end_report.Sample]:
    """What plain TCP, the peer, ours and the C loop took in each of *rounds*, in seconds or bytes for each of ten."""
    keys = (PLAIN, PEER, OURS, end_to_end_report.C_LOOP)
    return [
        end_to_end_report.Sample(number, key, figure, 10, each * 10, 1.0, 0.5)
        for number, all_each in enumerate(rounds)
        for key, each in zip(keys, all_each, strict=True)
    ]


def test_what_is_above_plain_tcp_and_the_c_loop_is_taken_within_each_round() -> None:
    # In the second round everything takes twice as long.
    results = end_to_end_report.Results(end_to_end_samples("up", (1, 5, 3, 1), (2, 10, 6, 2), (1, 5, 3.5, 1)))
    assert results.above((OURS, PLAIN, "c-loop"), "up") == [1, 2, 1.5]
    assert results.above((PEER, PLAIN, "c-loop"), "up") == [3, 6, 3]
    aim = end_to_end_aims.Aim("up", (OURS, PLAIN, "c-loop"), (PEER, PLAIN, "c-loop"), 0.5)
    assert aim.measured(results) == pytest.approx((0.5, 1 / 3, 0.5))
    assert results.ratio(OURS, PEER, "up") == pytest.approx((0.6, 0.6, 0.7))
    assert results.ratio(OURS, PEER, "down") is None
    assert aim._replace(figure="echo").measured(results) is None
    assert aim._replace(kind="excess").measured(results) == pytest.approx((-2, -4, -1.5))
    assert aim._replace(ours=(OURS,), theirs=()).measured(results) == pytest.approx((3.5, 3, 6))


def test_a_peer_that_takes_hardly_more_than_its_parts_is_not_divided_by() -> None:
    results = end_to_end_report.Results(end_to_end_samples("up", (1, 2, 2, 1), (1, 3, 2, 1), (1, 3, 2, 1)))
    aim = end_to_end_aims.Aim("up", (OURS, PLAIN, "c-loop"), (PEER, PLAIN, "c-loop"), 0.5)
    assert aim.measured(results) is None


@pytest.mark.parametrize(("ours", "outcome"), [(5.0, "met"), (5.1, "missed")])
def test_an_aim_end_to_end_is_met_at_its_bound_and_missed_beyond(ours: float, outcome: str) -> None:
    samples = end_to_end_samples("up", (1, 8, ours, 1)) + end_to_end_samples("down", (1, 5, ours, 1))
    results = end_to_end_report.Results(samples)
    one = dict.fromkeys((PEER, OURS, "c-loop"), "OpenSSL")

    def outcomes(libraries: dict[str, str]) -> dict[str, str]:
        rows = end_to_end_aims.outcomes(results, {}, libraries)
        return {row["figure"]: row["outcome"] for row in rows if row["group"] == "Tornado"}

    unmeasured = dict.fromkeys(("up-pieces", "down-large", "echo-1", "echo"), "not measured")
    assert outcomes(one) == {"up": outcome, "down": outcome, **unmeasured}
    assert outcomes({**one, PEER: "another"}) == {"up": "not comparable", "down": "not comparable", **unmeasured}


def test_a_load_that_a_server_may_have_waited_for_is_named() -> None:
    sample = end_to_end_report.Sample(0, OURS, "echo", 10, 1.0, 1.0, 0.5)
    names = {OURS: "ours"}
    calm = end_to_end_report.busy_loads(end_to_end_report.Results([sample]), names)
    assert calm == "The load was busy for 50% of a work's time at most.\n"
    busy = end_to_end_report.busy_loads(end_to_end_report.Results([sample._replace(load_cpu=0.71)]), names)
    assert "WARNING" in busy and "- echo of 100 B, 50 connections: ours (71%)" in busy


def test_a_chart_is_well_formed_and_its_longest_bar_fits() -> None:
    bars = (plot.Bar("ours & <theirs>", 1.0, "1.0", plot.OURS), plot.Bar("more", 4.0, "4.0", plot.PEER))
    picture = ElementTree.fromstring(plot.chart("a title", [plot.Group("a group", bars)]))
    widths = [float(each.attrib["width"]) for each in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths == [pytest.approx(widths[1] / 4, abs=0.1), plot.WIDTH - plot.NAMES - plot.FIGURES]
    words = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["a group", "ours & <theirs>", "1.0", "more", "4.0"]


def test_publishing_replaces_what_stands_between_its_comments_and_nothing_else() -> None:
    page = "before\n<!-- figures: tables -->\nold\n<!-- end of figures -->\nafter\n"
    new = publish.replaced(page, {"tables": "new"})
    assert new == "before\n<!-- figures: tables -->\n\nnew\n\n<!-- end of figures -->\nafter\n"
    assert publish.replaced(new, {"tables": "new"}) == new
    with pytest.raises(ValueError, match="'tables': expected one of aims"):
        publish.replaced(page, {"aims": "new"})


def test_the_page_has_a_place_for_all_that_is_published(tmp_path: Path) -> None:
    samples = end_to_end_samples("echo", (1, 5, 3, 1)) + end_to_end_samples("up", (1, 5, 3, 1))
    names = {PLAIN: "plain", PEER: "peer", OURS: "ours", "c-loop": "C loop"}
    machine = {"python": "P", "versions": "V", "platform": "L", "processors": 2, "pinned": ""}
    document = {
        "machine": machine,
        "settings": {"rounds": 1, "quick": False, "cipher_suite": "S"},
        "contenders": [{"key": key, "name": name, "library": "O", "over": ""} for key, name in names.items()],
        "absent": {},
        "aims": end_to_end_aims.outcomes(end_to_end_report.Results(samples), names, {}),
        "samples": [sample._asdict() for sample in samples],
    }
    (tmp_path / "in.json").write_text(json.dumps(document))
    shutil.copy(ROOT / "docs" / "performance.md", tmp_path)
    assert publish.main([str(tmp_path / "in.json"), "--docs", str(tmp_path)]) == 0
    page = (tmp_path / "performance.md").read_text()
    for block in publish.blocks(document).values():
        assert block.strip() in page
    for name in publish.CHARTS:
        ElementTree.parse(tmp_path / "performance" / f"{name}.svg")
        assert f"(performance/{name}.svg)" in page
