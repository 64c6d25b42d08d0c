"""Names of metrics in, what is better of them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rejoinder import catalog
from rejoinder.errors import TuningError
from rejoinder.evaluation import FIGURES

OF_TRAINING = {
    "valid_loss": "min", "valid_bits_per_byte": "min", "valid_perplexity": "min", "num_parameters": "min", "s": "min",
}  # fmt: skip
"""`s`: seconds that a trial ran until that validation."""
OF_DECODING = {"chrf": "max"}
OF_DECODING |= {name: "max" if figure.better > 0 else "min" for name, figure in FIGURES.items() if figure.better}
OF_DECODING |= {"s_per_reply": "min"}
for _name in ("loss", "perplexity", "bits_per_byte"):  # what is said makes no difference to them
    OF_DECODING.pop(_name, None)


@dataclass(frozen=True)
class Objective:
    """A metric, and which way is better."""

    metric: str
    mode: str
    """`min` or `max`."""
    counts_at_the_end: bool
    """A trial counts by its last measurement, not by its best: earlier ones were of less."""

    def cost(self, value: float) -> float:
        """The same where less is better."""
        return value if self.mode == "min" else -value


def read_objectives(names: Sequence[str] | None, *, is_of_decoding: bool) -> tuple[Objective, ...]:
    """The recipe's `tuning.objectives`; null is the usual one. Raises TuningError for a metric that no trial has."""
    known = OF_DECODING if is_of_decoding else OF_TRAINING
    wanted = tuple(names) if names else (next(iter(known)),)
    for name in wanted:
        if name not in known:
            kind = "of decoding" if is_of_decoding else "of training"
            raise TuningError(f"tuning.objectives: {name} is not measured in a search {kind}; "
                              f"{catalog.choices(name, list(known))}")  # fmt: skip
    return tuple(Objective(name, known[name], is_of_decoding) for name in wanted)
