"""Matrix products in fp32 on a CPU: within the block, those of torch go through the faster of its two libraries.

torch multiplies fp32 matrices by MKL, which leaves the AVX-512 units of other makers' CPUs unused; oneDNN, which torch
also carries and takes for bf16, uses them: 180 against 90 GFLOPS on a core of an AMD EPYC, 1.5 times the training pace
(docs/benchmarks.md has the command). All of a model and its gradient is meant, so torch's own operators are replaced
and no layer needs to know.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

_WORTH_IT = 2**20
"""Multiplications of a product. A smaller one costs less than asking twice."""
_lock, _num_inside = threading.Lock(), 0
_library: torch.library.Library | None = None


def pays_here(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this machine's CPU has what MKL does not use. By the CPU's name and never by a stopwatch: the same
    machine must make the same bits each time."""
    if not torch.backends.mkl.is_available() or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not torch.cpu.get_capabilities().get("avx512_f") or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    try:
        return "GenuineIntel" not in cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


@contextmanager
def quick_products(are_wanted: bool | None = None) -> Iterator[None]:
    """Within it, in all threads, `mm` and `addmm` of fp32 matrices on the CPU are oneDNN's where that pays.

    `are_wanted` decides where it is given. The results differ from MKL's in the last bits, and are the same each time.
    """
    global _library, _num_inside
    if not (pays_here() if are_wanted is None else are_wanted):
        yield
        return
    with _lock:
        _num_inside += 1
        if _library is None:
            _library = torch.library.Library("aten", "IMPL", "CPU")  # type: ignore[no-untyped-call]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that an operator is replaced, which is what we want
                _library.impl("mm", _mm, allow_override=True)  # type: ignore[no-untyped-call]
                _library.impl("addmm", _addmm, allow_override=True)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0 and _library is not None:
                _library._destroy()  # type: ignore[no-untyped-call]
                _library = None


def _mm(a_NK: Tensor, b_KM: Tensor) -> Tensor:
    if _is_large(a_NK, b_KM):
        return _product(a_NK, b_KM, None)
    # Only these forms are replaced, not those that write into a tensor that is given: torch's own product is there.
    return torch.mm(a_NK, b_KM, out=a_NK.new_empty(a_NK.shape[0], b_KM.shape[1]))


def _addmm(c: Tensor, a_NK: Tensor, b_KM: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if beta == alpha == 1 and c.shape == b_KM.shape[1:] and c.dtype is torch.float32 and _is_large(a_NK, b_KM):
        return _product(a_NK, b_KM, c)
    out = a_NK.new_empty(a_NK.shape[0], b_KM.shape[1])
    return torch.addmm(c, a_NK, b_KM, beta=beta, alpha=alpha, out=out)


def _is_large(a_NK: Tensor, b_KM: Tensor) -> bool:
    if a_NK.dtype is not torch.float32 or b_KM.dtype is not torch.float32:
        return False
    return a_NK.shape[0] * b_KM.numel() >= _WORTH_IT and a_NK.shape[1] == b_KM.shape[0]


def _product(a_NK: Tensor, b_KM: Tensor, bias_M: Tensor | None) -> Tensor:
    """The library reads either matrix as it lies, rows or columns first."""
    made: Tensor = torch.ops.mkldnn._linear_pointwise(a_NK, b_KM.t(), bias_M, "none", [], "")
    return made
