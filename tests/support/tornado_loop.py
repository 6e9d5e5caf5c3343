"""An event loop for a test on Tornado: asyncio's own and uvloop in turn, and nothing left behind on either.

@on_each_loop
async def test_something(pki): ...
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from txmembio._openssl.lib import lib

from .process import DEADLINE


def _new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.SelectorEventLoop()


class _Log(logging.Handler):
    """Turns what is logged into text, since pytest keeps all records, and an exception in one keeps its frames and so
    the streams there. Tornado logs what it catches in a handler of events; a test would not see it otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.uncaught: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
            if record.name.startswith("tornado."):
                self.uncaught.append(f"{record.msg}\n{record.exc_text}")


@contextmanager
def _no_uncaught_exceptions() -> Iterator[None]:
    log = _Log()
    logging.getLogger().addHandler(log)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(log)
    assert not log.uncaught, "\n".join(log.uncaught)


def run(scenario: Callable[[], Coroutine[Any, Any, None]], kind: str = "asyncio") -> None:
    """Run `scenario` on a new loop. Fails if it takes too long; if it leaves a TLS connection behind or a descriptor
    in the loop; and if an exception went nowhere but to the log.
    """
    gc.freeze()  # what there is of others need not be looked through
    connections = lib.txm_live_connections()
    lost: list[dict[str, Any]] = []
    loop = _new_loop(kind)
    loop.set_exception_handler(lambda _, context: lost.append(context))
    asyncio.set_event_loop(loop)  # Tornado makes its IOLoop for the one that is current
    try:
        with _no_uncaught_exceptions():
            loop.run_until_complete(_guarded(scenario()))  # made here: its cells must not be frozen
            gc.collect()  # so that a future whose exception nobody has asked for says so now
            loop.run_until_complete(turns(2))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        gc.collect()
        gc.unfreeze()
    assert not lost, lost
    assert lib.txm_live_connections() <= connections, "a TLS connection is still alive"


async def _guarded(scenario: Coroutine[Any, Any, None]) -> None:
    await asyncio.wait_for(scenario, DEADLINE)
    await turns(2)  # close callbacks
    io_loop: Any = IOLoop.current()
    assert not io_loop.handlers, f"descriptors still in the loop: {io_loop.handlers}"
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, f"tasks still running: {others}"


def on_each_loop(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Have pytest run a coroutine function, once on asyncio's selector loop and once on uvloop."""

    @functools.wraps(scenario)
    def test(*, loop_kind: str, **arguments: Any) -> None:
        run(functools.partial(scenario, **arguments), loop_kind)

    del test.__wrapped__  # pytest would look at its parameters
    signature = inspect.signature(scenario)
    kind = inspect.Parameter("loop_kind", inspect.Parameter.KEYWORD_ONLY)
    test.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), kind], return_annotation=None
    )
    on_each: Callable[..., None] = pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])(test)
    return on_each


async def turns(count: int = 1) -> None:
    """Let the loop go round `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until `condition()` holds."""
    while not condition():
        await asyncio.sleep(0)
