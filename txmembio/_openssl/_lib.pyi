# The cffi boundary: what the extension offers is declared in cdef/*.h and pump.h, where no type checker looks.
from typing import Any

ffi: Any
lib: Any
