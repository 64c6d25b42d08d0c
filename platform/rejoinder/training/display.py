"""What a worker sees in, what people read on the driver's screen out: the line of progress, validations, warnings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rejoinder.training.context import StepReport


def progress_note(report: StepReport) -> str:
    """What stands below the number of steps; 80 columns are enough for it."""
    facts = [f"epoch {report.epoch + 1}", f"loss {report.loss:.3f}"]
    if report.valid_bits_per_byte is not None:
        facts.append(f"valid {report.valid_bits_per_byte:.3f} bits/byte")
    return ", ".join([*facts, f"{report.tokens_per_s:,.0f} reply tokens/s", f"{report.padding_fraction:.0%} padding"])


def validation_text(metrics: dict[str, float]) -> str:
    """A line for a validation, of what `TrainingContext.report` is given."""
    return (
        f"step {metrics['step']:,.0f}: validation loss {metrics['valid_loss']:.3f}, perplexity "
        f"{metrics['valid_perplexity']:.1f}, {metrics['valid_bits_per_byte']:.3f} bits per byte"
    )


@contextmanager
def warnings_told(say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, what Rejoinder warns of in this process is also said to the driver; a worker has no screen."""
    handler, ours = _Tells(say), logging.getLogger("rejoinder")
    ours.addHandler(handler)
    try:
        yield
    finally:
        ours.removeHandler(handler)


class _Tells(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._say(f"warning: {record.getMessage()}")
        except Exception:
            self.handleError(record)
