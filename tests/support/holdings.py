"""What a process holds, for programs that look for leaks: live objects of C's and of Python's, descriptors, memory."""

from __future__ import annotations

import ctypes
import gc
import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from txmembio._openssl.lib import lib, scratch_count


@dataclass
class Holdings:
    """What this process holds."""

    connections: int
    scratches: int
    descriptors: int
    objects: dict[str, int]
    """By kind: everything of ours, of the program's and of `ssl`, and the other kinds that were asked for."""
    all_objects: int
    memory: int
    """Bytes that are resident."""


def holdings(others: Collection[str]) -> Holdings:
    """After a collection. `others` are the names of kinds to count beside ours."""
    gc.collect()
    kinds = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    objects = {
        name: count
        for name, count in kinds.items()
        if name.startswith(("txmembio.", "_ssl.", "ssl.", "__main__.")) or name.rpartition(".")[2] in others
        if name != "__main__.State"
    }
    total = sum(kinds.values())
    # What free() keeps for later would hide what is not freed, and what is only fragmentation would look like a leak.
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc
        libc.malloc_trim(0)
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    return Holdings(
        connections=lib.txm_live_connections(),
        scratches=scratch_count(),
        descriptors=len(os.listdir("/proc/self/fd")),
        objects=objects,
        all_objects=total,
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
    )
