"""A thread that has computed in, the helper threads it keeps for that given back out.

OpenMP keeps a team of helpers for every thread that ever computed. libgomp counts them all, and once they are more than
the CPUs, each wait of each team becomes a sleep: a step of the engine then takes twice as long, for a team that does
nothing. So whoever has loaded a model in one thread and computes in another gives the first one's team back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

SOFT = 1
"""`omp_pause_soft` of OpenMP 5.0: what the thread has set, such as its number of threads, is kept."""


def openmp_libraries() -> list[str]:
    """Those that came with torch, on Linux: GNU's, LLVM's or Intel's, and no other library with these letters in it."""
    folder = Path(torch.__file__).parent / "lib"
    return sorted(str(file) for name in ("gomp", "omp", "iomp") for file in folder.glob(f"lib{name}[-.5]*so*"))


def give_back_helpers() -> None:
    """Ends the helpers of the calling thread; its next large operation begins new ones, in tens of microseconds."""
    if (pause := _pause()) is not None:
        pause(SOFT)


@cache
def _pause() -> Callable[[int], int] | None:
    for name in [*openmp_libraries(), None]:
        try:
            found: Callable[[int], int] = ctypes.CDLL(name).omp_pause_resource_all
        except (OSError, AttributeError):  # an OpenMP before 5.0, or none
            continue
        return found
    return None
