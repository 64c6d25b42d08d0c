"""What the loop knows of the world around it: who it is among the workers, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class StepReport:
    """What a training step is shown as."""

    step: int
    epoch: int
    loss: float
    """Nats per reply token, mean since the last report."""
    learning_rate: float
    gradient_norm: float
    tokens_per_s: float
    """Reply tokens learnt from per second, over all workers."""
    padding_fraction: float
    valid_bits_per_byte: float | None = None
    """Of the last validation."""


class TrainingContext(Protocol):
    """One worker's place. Ray Train gives one (trainer.py), a plain process or torchrun another (plain.py)."""

    rank: int
    world_size: int
    device: torch.device

    def show(self, report: StepReport) -> None:
        """Rank 0 only: tells people how it goes. Cheap, and never fails the training."""

    def report(self, metrics: dict[str, float]) -> None:
        """Every rank, after each validation: the metrics that a search or a callback sees."""

    def stop_requested(self) -> bool:
        """Whether to save and end now. Asked on every rank at the same step; the answer is the same on all."""


class Tracker(Protocol):
    """Where metrics are recorded. It travels to rank 0 by pickle and is used there only."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Records metrics of a step. Neither waits nor raises: a lost store must not stop the training."""

    def samples(self, make: Callable[[], list[dict[str, str]]], step: int) -> None:
        """Records replies of the model as it is: `make` gives a row for each, and is called only if they are kept."""

    def close(self) -> None:
        """The training has ended, well or not: what was not recorded yet is recorded now. Never raises."""


class NoTracker:
    """Records nothing."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Does nothing."""

    def samples(self, make: Callable[[], list[dict[str, str]]], step: int) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""
