"""Training without Ray: one process, or several that `torchrun` started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from rejoinder import console
from rejoinder.training.context import StepReport
from rejoinder.training.stopping import Agreement, Signals


@dataclass
class PlainContext:
    """A place among torchrun's processes. Keeps what was reported."""

    rank: int
    world_size: int
    device: torch.device
    reports: list[dict[str, float]] = field(default_factory=list)
    steps: list[StepReport] = field(default_factory=list)
    quiet: bool = True
    signals: Signals = field(default_factory=Signals)

    def __post_init__(self) -> None:
        self._agreement = Agreement(self.world_size, self.device)

    def show(self, report: StepReport) -> None:
        """Keeps the report, and prints it unless told to be quiet."""
        self.steps.append(report)
        if not self.quiet:
            console.say(f"step {report.step}: loss {report.loss:.3f}, {report.tokens_per_s:,.0f} tokens/s")

    def report(self, metrics: dict[str, float]) -> None:
        """Keeps the metrics."""
        self.reports.append(metrics)

    def stop_requested(self) -> bool:
        """Whether any of the processes has got Ctrl-C or SIGTERM within `stop_signals`."""
        return self._agreement.reached(lambda: self.signals.received is not None)


@contextmanager
def plain_context(device: str = "cpu", quiet: bool = True) -> Iterator[PlainContext]:
    """Joins the process group that torchrun describes in the environment, if it does; leaves it at the end."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield PlainContext(0, 1, torch.device(device), quiet=quiet)
        return
    local = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
    if local.type == "cuda":
        torch.cuda.set_device(local)  # otherwise all of a machine's processes meet on its first GPU
    dist.init_process_group("nccl" if local.type == "cuda" else "gloo")
    try:
        yield PlainContext(dist.get_rank(), world_size, local, quiet=quiet)
    finally:
        dist.destroy_process_group()
