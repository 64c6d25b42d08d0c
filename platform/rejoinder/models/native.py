"""kernels.c in, its functions out, compiled for this CPU when a process first asks; None where that cannot be.

It needs a C compiler (`CC`, else `cc`) and a CPU with AVX-512 VNNI. Without them int8 goes through torch's own kernels.
"""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

from rejoinder.models.threads import openmp_libraries

log = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC", "-fopenmp")


class Layer(ctypes.Structure):
    """`Layer` of kernels.c."""

    _fields_ = [
        ("weights", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("I", ctypes.c_long),
        ("O", ctypes.c_long),
        ("activation", ctypes.c_int),
    ]


@cache
def kernels() -> ctypes.CDLL | None:
    """`linear_int8`, `attend` and `turn_and_keep` of kernels.c."""
    if not torch.cpu._is_vnni_supported() or os.environ.get("REJOINDER_NO_COMPILER"):
        return None
    try:
        return _compiled()
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().split("\n")[0]
        log.warning("int8 is slower than it could be: kernels.c could not be compiled (%s)", said)
        return None


def _compiled() -> ctypes.CDLL:
    # Linked without an OpenMP library of its own: a second one's threads would fight with those of torch's.
    for openmp in openmp_libraries():
        ctypes.CDLL(openmp, ctypes.RTLD_GLOBAL)
    compiler = os.environ.get("CC", "cc")
    with tempfile.TemporaryDirectory(prefix="rejoinder-") as folder:
        compiled, linked = Path(folder) / "kernels.o", Path(folder) / "kernels.so"
        for words in ((*FLAGS, "-c", str(SOURCE), "-o", str(compiled)), ("-shared", str(compiled), "-o", str(linked))):
            subprocess.run([compiler, *words], check=True, capture_output=True, text=True, timeout=120)
        library = ctypes.CDLL(str(linked), os.RTLD_NOW)
    pointer, number = ctypes.c_void_p, ctypes.c_long
    library.linear_int8.argtypes = [pointer, pointer, number, pointer, ctypes.c_int, pointer, pointer]
    library.attend.argtypes = [
        pointer, number, pointer, pointer, *([number] * 3), pointer, pointer, *([number] * 5), pointer, pointer,
    ]  # fmt: skip
    library.turn_and_keep.argtypes = [*([pointer] * 5), *([number] * 5)]
    for function in (library.linear_int8, library.attend, library.turn_and_keep):
        function.restype = None
    return library
