"""The exceptions of ``OpenSSL.SSL``."""

from __future__ import annotations

__all__ = ["Error", "SysCallError", "WantReadError", "WantWriteError", "WantX509LookupError", "ZeroReturnError"]


class Error(Exception):
    """OpenSSL has failed. Its argument is the error queue: a list of (library, function, reason), oldest first."""


class WantReadError(Error):
    """More wire has to come first. No arguments."""


class WantWriteError(Error):
    """Wire has to leave first. No arguments."""


class WantX509LookupError(Error):
    """A certificate callback asks for time. Nothing here raises it."""


class ZeroReturnError(Error):
    """The peer has closed, with close_notify. No arguments."""


class SysCallError(Error):
    """The wire failed, or ended without close_notify. Its arguments: a number, and what that means."""


for _kind in (Error, WantReadError, WantWriteError, WantX509LookupError, ZeroReturnError, SysCallError):
    _kind.__module__ = "OpenSSL.SSL"  # what tracebacks and logs have always said
