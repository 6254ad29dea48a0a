"""Modules of bench/ are in no package; behind all others, none of them hides one."""

import sys
from pathlib import Path

_BENCH = str(Path(__file__).parents[2] / "bench")
if _BENCH not in sys.path:
    sys.path.append(_BENCH)
