"""A machine at work in, its load as metrics out, under the names that MLflow's own page of system metrics shows.

MLflow's own monitor is not used: it ends for good when the server is away once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil
import torch


class SystemMetrics:
    """What rank 0's process and machine do. Each call tells of the time since the one before it in the same thread, so
    the first one tells nothing."""

    def __init__(self, begun_ms: int) -> None:
        """`begun_ms`: when the run began; points stand at seconds since then, which no restart repeats."""
        self._begun_ms, self._process = begun_ms, psutil.Process()

    def __call__(self) -> dict[str, Any]:
        """An entry for the run. CPU in per cent, of the machine and of one core; memory in 10**6 bytes."""
        memory, now_ms = psutil.virtual_memory(), int(time.time() * 1000)
        metrics = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.percent,
            "process_cpu_percentage": self._process.cpu_percent(),
            "process_memory_megabytes": self._process.memory_info().rss / 1e6,
            **_of_gpus(),
        }
        named = {f"system/{name}": float(value) for name, value in metrics.items()}
        return {"ms": now_ms, "step": (now_ms - self._begun_ms) // 1000, "metrics": named}


def _of_gpus() -> dict[str, float]:
    """Of the GPUs that this process sees; by NVML, which takes nothing of them. Nothing where it has not used any."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    asked: dict[str, Callable[[int], float]] = {
        "utilization_percentage": torch.cuda.utilization,
        "memory_usage_megabytes": lambda gpu: torch.cuda.device_memory_used(gpu) / 1e6,
        "power_usage_watts": lambda gpu: torch.cuda.power_draw(gpu) / 1e3,
    }
    found = {}
    for gpu in range(torch.cuda.device_count()):
        for name, ask in asked.items():
            try:
                found[f"gpu_{gpu}_{name}"] = float(ask(gpu))
            except Exception:  # a driver, a virtual machine or a slice of a GPU that does not tell this
                continue
    return found
