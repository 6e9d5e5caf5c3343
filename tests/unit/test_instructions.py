"""Messages and handshakes take no more instructions than they did; and what counts them would notice.

callgrind counts, so it is not the clock that decides: the same code takes the same instructions on a busy machine, too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import txmembio
from support.benchmarking import within_reach

with within_reach():
    from benchmarks import callgrind, instructions
    from benchmarks.counted import COUNTED, REFERENCE
    from benchmarks.instructions import Figure, Tax
    from benchmarks.slices import DIRECTIONS, BenchmarkError, Work

PACKAGE = Path(txmembio.__file__).parent

HERE = "a Python"
ENCRYPT = Work("encrypt", 64)
STORED = {
    "anywhere": {"txmembio: encrypt 64 B": {"crossings": 1.0, "below": 1.03, "relative": 1.6}},
    "environments": {HERE: {"txmembio: encrypt 64 B": 5000}},
}


def header_there() -> bool:
    """The compiler finds valgrind's headers."""
    compiler = shutil.which("cc")
    if compiler is None:
        return False
    command = [compiler, "-E", "-x", "c", "-"]
    text = "#include <valgrind/callgrind.h>\n"
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False).returncode == 0


COUNTING = [
    pytest.mark.skipif(sys.platform != "linux", reason="callgrind is asked about Linux only"),
    pytest.mark.skipif(sys.implementation.name != "cpython", reason="a just-in-time compiler's code is not counted"),
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.skipif(not header_there(), reason="no C compiler with valgrind's headers (valgrind/callgrind.h)"),
]


def counts(function: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that has callgrind count."""
    for mark in COUNTING:
        function = mark(function)
    return function


@counts
def test_nothing_takes_more_instructions_than_is_stored() -> None:
    figures = instructions.count(instructions.everything(instructions.CHECKED))
    assert set(figures) >= {(key, work) for key in instructions.CHECKED for work in COUNTED}
    stored = json.loads(instructions.STORED.read_text(encoding="utf-8"))
    problems, remarks = instructions.check(instructions.taxes(figures), stored, instructions.environment())
    print("\n".join(remarks))
    assert not problems, "\n".join(problems)


WORSE = """
_sent_well, _received_well = Connection.plaintext_to_wire, Connection.receive_wire


def _send_worse(self, data):
    lib.txm_live_connections()  # one more call into C
    return _sent_well(self, data)


def _receive_worse(self, data):
    return _received_well(self, bytes(bytearray(data)))  # more copies


Connection.plaintext_to_wire, Connection.receive_wire = _send_worse, _receive_worse
"""
"""Put behind connection.py."""


@counts
def test_the_same_code_takes_the_same_and_more_is_noticed(tmp_path: Path) -> None:
    works = [Work(direction, size) for direction in DIRECTIONS for size in (64, 65536)]
    asked = {"c-copying": works, "txmembio": works}
    here = instructions.environment()
    stored = instructions.updated(instructions.taxes(instructions.count(asked)), {}, here)
    assert instructions.check(instructions.taxes(instructions.count(asked)), stored, here) == ([], [])

    shutil.copytree(PACKAGE, tmp_path / "txmembio", ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "txmembio" / "connection.py", "a", encoding="utf-8") as changed:
        changed.write(WORSE)
    problems, _ = instructions.check(instructions.taxes(instructions.count(asked, tmp_path)), stored, here)
    for message in ("64 B", "64 KiB"):
        assert any(line.startswith(f"txmembio: encrypt {message}: calls into C 2.00, stored 1.00") for line in problems)
        assert any(line.startswith(f"txmembio: encrypt {message}: Python, cffi and our C") for line in problems)
    assert any(line.startswith("txmembio: decrypt 64 KiB: OpenSSL and memory") for line in problems)
    assert not any(line.startswith("txmembio: decrypt 64 B: calls into C") for line in problems)


def tax(
    instructions: float = 5000, relative: float = 1.6, below: float = 1.03, crossings: float = 1
) -> dict[tuple[str, Work], Tax]:
    """What encrypting 64 B takes."""
    return {("txmembio", ENCRYPT): Tax(instructions, relative, below, crossings)}


@pytest.mark.parametrize(
    ("now", "where", "problem"),
    [
        (tax(), HERE, None),
        (tax(instructions=5249), HERE, None),
        (tax(instructions=5251), HERE, r"Python, cffi and our C 5251, stored 5000 \(\+5\.0%\)"),
        (tax(below=1.08), HERE, None),
        (tax(below=1.09), HERE, r"OpenSSL and memory, times the C loop's, 1\.090, stored 1\.030"),
        (tax(crossings=2), HERE, r"calls into C 2\.00, stored 1\.00"),
        (tax(relative=9.0), HERE, None),
        (tax(instructions=9000, relative=1.99), "another Python", None),
        (tax(relative=2.01), "another Python", r"in references, 2\.010, stored 1\.600 \(\+25\.6%\)"),
        (tax(crossings=2), "another Python", r"calls into C 2\.00, stored 1\.00"),
    ],
)
def test_what_is_worse_than_its_band_is_a_problem(
    now: dict[tuple[str, Work], Tax], where: str, problem: str | None
) -> None:
    problems, remarks = instructions.check(now, STORED, where)
    assert len(problems) == (problem is not None)
    if problem is not None:
        assert re.search(problem, problems[0])
    assert [line for line in remarks if "no figures are stored for another Python" in line] == remarks


def test_what_is_better_is_worth_storing() -> None:
    problems, remarks = instructions.check(tax(instructions=4000), STORED, HERE)
    assert problems == []
    better = "Python, cffi and our C 4000, stored 5000 (-20.0%): better, and worth storing (--update)"
    assert remarks == [f"txmembio: encrypt 64 B: {better}"]


def test_what_was_never_stored_is_a_problem() -> None:
    problems, _ = instructions.check(tax(), {}, HERE)
    assert problems == [
        "txmembio: encrypt 64 B: nothing is stored; `python -m benchmarks.instructions --update` stores it"
    ]


def test_storing_leaves_other_environments_alone() -> None:
    stored = instructions.updated(tax(instructions=6000.4), STORED, "another Python")
    assert stored["environments"] == {
        HERE: {"txmembio: encrypt 64 B": 5000},
        "another Python": {"txmembio: encrypt 64 B": 6000},
    }
    assert instructions.check(tax(instructions=6000.4), stored, "another Python") == ([], [])


def test_the_tax_is_what_is_beside_openssl_and_memory() -> None:
    figures = {
        ("c-copying", ENCRYPT): Figure(
            {"openssl": 6000, "memory": 500, "libc": 400, "c": 100, "cffi": 0, "python": 0}, 0
        ),
        ("txmembio", ENCRYPT): Figure(
            {"openssl": 6100, "memory": 550, "libc": 900, "c": 400, "cffi": 700, "python": 3400}, 1
        ),
        (REFERENCE, ENCRYPT): Figure(dict.fromkeys(callgrind.PARTS, 500.0), 1),
    }
    assert instructions.taxes(figures) == {("txmembio", ENCRYPT): Tax(5000, 5000 / 3000, 6650 / 6500, 1)}


LIBRARY = "/x/txmembio/_openssl/_lib.abi3.so"


@pytest.mark.parametrize(
    ("object_file", "function", "part"),
    [
        ("/usr/lib/libssl.so.3", "SSL_read_ex", "openssl"),
        ("/usr/lib/libcrypto.so.3", "???", "openssl"),
        (LIBRARY, "txm_send", "c"),
        (LIBRARY, "_cffi_f_txm_send", "c"),
        (LIBRARY, "bio_ctrl", "c"),
        (LIBRARY, "judge.part.0", "c"),
        (LIBRARY, "tls13_enc", "openssl"),  # linked statically
        ("/lib/libc.so.6", "__memcpy_avx_unaligned_erms", "memory"),
        ("/lib/libc.so.6", "__strcmp_avx2", "memory"),
        ("/lib/libc.so.6", "malloc", "libc"),
        ("/lib/ld-linux-x86-64.so.2", "__tls_get_addr", "libc"),
        ("/x/_cffi_backend.cpython-311-x86_64-linux-gnu.so", "convert_from_object", "cffi"),
        ("/x/libpython3.11.so.1.0", "_PyEval_EvalFrameDefault", "python"),
        ("/tmp/c_loop.so", "write_wire", "c"),
        ("/tmp/c_loop.so", "tls13_enc", "openssl"),
        ("/usr/lib/libffi.so.8", "???", "c"),
    ],
)
def test_each_function_belongs_to_one_part(object_file: str, function: str, part: str) -> None:
    assert callgrind.part(object_file, function) == part


def test_a_file_of_callgrinds_is_read(tmp_path: Path) -> None:
    file = tmp_path / "counted.1"
    file.write_text(
        f"""\
# callgrind format
version: 1
cmd:  /usr/bin/python3 x.py
desc: Timerange: Basic block 0 - 9
desc: Trigger: Client Request: txmembio:encrypt:64:client:1:1

events: Ir
summary: 41

ob=/usr/lib/libpython3.11.so
fl=???
fn=_PyEval_EvalFrameDefault
0 10
cob={LIBRARY}
cfi=???
cfn=_cffi_f_txm_send
calls=3 0
0 31

fn=_PyEval_EvalFrameDefault
0 1

ob={LIBRARY}
fl=???
fn=_cffi_f_txm_send
0 20
cfn=txm_send
calls=3 0
0 11

fn=txm_send
0 11

totals: 42
"""
    )
    profile = callgrind.read(file)
    assert profile.name == "txmembio:encrypt:64:client:1:1"
    assert profile.functions == {
        ("/usr/lib/libpython3.11.so", "_PyEval_EvalFrameDefault"): 11,
        (LIBRARY, "_cffi_f_txm_send"): 20,
        (LIBRARY, "txm_send"): 11,
    }
    assert profile.crossings == 3
    assert callgrind.by_part(profile.functions) == {
        "openssl": 0,
        "memory": 0,
        "libc": 0,
        "c": 31,
        "cffi": 0,
        "python": 11,
    }


def test_without_valgrind_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchmarkError, match="no valgrind was found on PATH"):
        instructions.count({"txmembio": COUNTED})
