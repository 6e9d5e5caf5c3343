"""Runs the scenarios over a completion port.

    python run.py CERTIFICATES [NAME ...] [--tls TLSv1_3] [--size BYTES] [--faults max_send=1000] [--deadline SECONDS]
                  [--budget SECONDS]

On Windows the port is the system's, elsewhere `support.iocp` stands for it. A reactor that is installed already is used
as it is. Needs Twisted, txmembio and the standard library, and in the folder CERTIFICATES what `certificates.py` has
written there. Prints one line of JSON to say what runs, and one for each scenario; ends with the status 1 if a scenario
failed, 2 if the reactor is not Twisted's IOCPReactor.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]

#: Seconds for one scenario: long enough for a loaded machine, short enough to see a hang.
DEADLINE = 60.0

#: After the deadline, seconds between two looks at whether anything still moves, and how many there are at most.
LOOK, LOOKS = 1.0, 60

#: Bytes that each side of a scenario sends.
SIZE = 100_000


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("certificates", type=Path, help="the folder with ca.pem, server.pem and so on")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which scenarios; all of them if none is named")
    parser.add_argument("--tls", default="TLSv1_2,TLSv1_3", help="which versions, with commas (%(default)s)")
    parser.add_argument("--size", type=int, default=SIZE, help="bytes that each side sends (%(default)s)")
    parser.add_argument("--faults", help="of the emulated port, as support.iocp.Faults writes them")
    parser.add_argument("--own-reactor", action="store_true", help="on an IOCPReactor that is not installed")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds for one scenario (%(default)s)")
    parser.add_argument("--budget", type=float, help="seconds after which no scenario is begun any more")
    return parser.parse_intermixed_args(arguments)


def make_reactor(chosen: argparse.Namespace) -> Any:
    """The reactor that is installed, or the one of completion ports, with the faults asked for or the environment's."""
    if "twisted.internet.reactor" not in sys.modules:
        from support import iocp

        prepare = iocp.install if chosen.own_reactor else iocp.install_reactor
        prepare(iocp.Faults.from_text(chosen.faults) if chosen.faults is not None else None)
        if chosen.own_reactor:
            from twisted.internet.iocpreactor.reactor import IOCPReactor

            return IOCPReactor()
    from twisted.internet import reactor

    return reactor


def setting() -> str | None:
    """The faults of the emulated port, as its kernel has them; None where there is no such kernel."""
    kernel = sys.modules.get("support.iocp.kernel")
    return None if kernel is None else str(kernel.KERNEL.faults)


class Watch:
    """Cancels an attempt that is not over in time. Where the port is emulated, one that is slow gets more time, as long
    as operations complete; one in which nothing has from one look to the next, and nothing is about to, is stuck.
    """

    def __init__(self, reactor: Any, attempt: Any, seconds: float) -> None:
        self.reactor = reactor
        self.attempt = attempt
        self.verdict: str | None = None
        """What was wrong with the attempt, if it was cancelled."""
        self._began = time.monotonic()
        self._looks = 0
        self._seen: int | None = None
        self._next = reactor.callLater(seconds, self._look)

    def stop(self) -> None:
        """The attempt is over."""
        if self._next.active():
            self._next.cancel()

    def _look(self) -> None:
        completed = getattr(self.reactor.port, "completed", None)  # Windows does not say
        stuck = completed is not None and completed == self._seen and not self.reactor.port.queued
        if completed is None or stuck or self._looks == LOOKS:
            seconds = f"after {time.monotonic() - self._began:.0f} seconds"
            self.verdict = f"stuck: nothing moves {seconds}" if stuck else f"not over {seconds}"
            self.attempt.cancel()
        else:
            self._seen = completed
            self._looks += 1
            self._next = self.reactor.callLater(LOOK, self._look)


def say(**line: Any) -> None:
    """One line of JSON."""
    print(json.dumps(line), flush=True)


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    chosen = options(arguments)
    reactor = make_reactor(chosen)

    import twisted
    from twisted.internet import iocpreactor
    from twisted.internet.defer import Deferred

    import txmembio
    from completion_ports.expectations import problem
    from completion_ports.scenarios import SCENARIOS
    from completion_ports.stage import Stage

    say(
        reactor=f"{type(reactor).__module__}.{type(reactor).__qualname__}",
        port=getattr(getattr(reactor, "port", None), "__module__", None) or type(reactor).__module__,
        faults=setting(),
        python=platform.python_version(),
        platform=sys.platform,
        twisted=twisted.__version__,
        openssl=txmembio.OPENSSL_VERSION,
        txmembio=str(Path(txmembio.__file__).parent),
    )
    if not isinstance(reactor, iocpreactor.reactor.IOCPReactor):
        return 2
    failures = 0

    async def one(name: str, version: str) -> None:
        nonlocal failures
        began = time.monotonic()
        stage = Stage(reactor, chosen.certificates, txmembio.TLSVersion[version], chosen.size)
        line: dict[str, Any] = {"scenario": name, "tls": version}
        attempt: Deferred[Any] = Deferred.fromCoroutine(SCENARIOS[name](stage))
        watch = Watch(reactor, attempt, chosen.deadline)
        try:
            facts = await attempt
            trouble = problem(name, version, chosen.size, facts)
            line.update(ok=trouble is None, facts=facts)
            if trouble is not None:
                line["problem"] = trouble
        except BaseException as error:
            words = "".join(traceback.format_exception_only(error)).strip()
            line.update(ok=False, problem=watch.verdict or words)
            traceback.print_exc()
        watch.stop()
        failures += not line["ok"]
        say(**line, seconds=round(time.monotonic() - began, 3))

    async def everything() -> None:
        nonlocal failures
        began = time.monotonic()
        for name in chosen.names or SCENARIOS:
            for version in chosen.tls.split(","):
                if chosen.budget is None or time.monotonic() - began <= chosen.budget:
                    await one(name, version)
                else:
                    failures += 1
                    trouble = f"not begun: {chosen.budget:g} seconds are over"
                    say(scenario=name, tls=version, ok=False, problem=trouble)

    def begin() -> None:
        Deferred.fromCoroutine(everything()).addBoth(stop)

    def stop(result: Any) -> None:
        nonlocal failures
        if result is not None:
            failures += 1
            result.printTraceback()
        reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.path[0] = str(TESTS)
    sys.exit(main(sys.argv[1:]))
