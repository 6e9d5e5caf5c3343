"""Room for thousands of sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

resource = pytest.importorskip("resource", reason="the limit of open files is set as on UNIX")

#: A thousand connections with both their ends in this process, and what the tests have open besides.
NEEDED = 4096


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process open as many sockets as it needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < NEEDED:
        pytest.skip(f"the system allows a process {hard} open files; {NEEDED} are needed")
    if soft != resource.RLIM_INFINITY and soft < NEEDED:
        resource.setrlimit(resource.RLIMIT_NOFILE, (NEEDED, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
