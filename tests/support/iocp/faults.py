"""What the emulated kernel is told to do worse than it could."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from support.iocp.winsock import ERROR_NETNAME_DELETED, ERROR_OPERATION_ABORTED

#: The environment variable that has the faults of a child process.
VARIABLE = "TXMEMBIO_IOCP"


@dataclass(frozen=True)
class Faults:
    """A setting of the kernel. `str()` of it is what :meth:`from_text` reads.

    Raises TypeError or ValueError for a value that a field cannot have.
    """

    never_at_once: bool = False
    """No transfer is done in the call that asks for it, even if it could be: all of them answer that they are pending.
    What a call finds out without a transfer (not connected, say) it still answers at once."""

    max_send: int | None = None
    """A send completes after this many bytes, and its completion says so. Windows does not do that: an overlapped send
    on a stream completes when all of it was taken. But the count is there to be read, a layered service provider may
    differ, and Twisted's code has a branch for it: code that takes any completion to be a whole one shows up here."""

    max_receive: int | None = None
    """A receive takes no more bytes than this, however large its buffers are: what a slow network does all the time and
    a loopback never."""

    close_code: int = ERROR_OPERATION_ABORTED
    """What a transfer completes with if its own socket is closed under it: 995 is documented, 64 is seen as well."""

    def __post_init__(self) -> None:
        if not isinstance(self.never_at_once, bool):
            raise TypeError(f"never_at_once is {self.never_at_once!r}: expected True or False")
        for name in "max_send", "max_receive":
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise TypeError(f"{name} is {value!r}: expected a number of bytes, or None")
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: expected at least 1 byte")
        if self.close_code not in (ERROR_OPERATION_ABORTED, ERROR_NETNAME_DELETED):
            raise ValueError(
                f"close_code is {self.close_code!r}: expected {ERROR_OPERATION_ABORTED} or {ERROR_NETNAME_DELETED}"
            )

    def __str__(self) -> str:
        words = ["never_at_once"] if self.never_at_once else []
        default = Faults()
        for name in "max_send", "max_receive", "close_code":
            if getattr(self, name) != getattr(default, name):
                words.append(f"{name}={getattr(self, name)}")
        return ",".join(words)

    @classmethod
    def from_text(cls, text: str) -> Faults:
        """Reads `never_at_once,max_send=1000,max_receive=7,close_code=64`, any of them, in any order; nothing is the
        default setting. Raises ValueError."""
        values: dict[str, int | bool] = {}
        for word in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = word.partition("=")
            if name not in (known := [field.name for field in fields(cls)]):
                raise ValueError(f"{name!r} in {text!r} is no fault: expected some of {', '.join(known)}")
            if name in values:
                raise ValueError(f"{name} is there twice in {text!r}")
            if name == "never_at_once":
                if equals:
                    raise ValueError(f"{word!r} in {text!r}: never_at_once takes no value")
                values[name] = True
            elif value.isascii() and value.isdigit():
                values[name] = int(value)
            else:
                raise ValueError(f"{word!r} in {text!r}: expected {name}=NUMBER")
        return cls(**values)  # type: ignore[arg-type] # never_at_once is the bool, the others are not

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Faults:
        """Reads the variable :data:`VARIABLE`. Raises ValueError that names it."""
        try:
            return cls.from_text(environ.get(VARIABLE, ""))
        except ValueError as error:
            raise ValueError(f"{VARIABLE}: {error}") from None


#: The settings that a suite is run in.
SETTINGS = {
    "default": Faults(),
    "never_at_once": Faults(never_at_once=True),
    "max_send": Faults(max_send=1000),
    "max_receive": Faults(max_receive=7),
    "close_64": Faults(close_code=ERROR_NETNAME_DELETED),
    "all": Faults(never_at_once=True, max_send=1000, max_receive=7, close_code=ERROR_NETNAME_DELETED),
}
