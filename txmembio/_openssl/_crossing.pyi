# fast/*.c, which need not be there: crossing.py has the types.
from typing import Any

CONNECTION_SIZE: int
SCRATCH_SIZE: int
Chunks: Any
Crossing: Any
Steps: Any

def set_up(*handed_over: Any) -> None: ...
def set_up_facades(*handed_over: Any) -> None: ...
