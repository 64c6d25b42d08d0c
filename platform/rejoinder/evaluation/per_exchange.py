"""What was counted of each exchange, in a file beside the evaluation: two models are compared without a new reply."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from rejoinder.errors import EvaluationError
from rejoinder.evaluation.bootstrap import Bags, Bootstrap, Numbers, Paired, Statistics
from rejoinder.evaluation.metrics import FIGURES
from rejoinder.evaluation.slices import Slicing


@dataclass(frozen=True)
class PerExchange:
    """What figures, intervals and comparisons are made of."""

    prepared: str
    """Fingerprint of the prepared set."""
    split: str
    conversations_N: Numbers
    """The conversation of each exchange of the split, as a number."""
    replied_M: Numbers
    """The exchanges that the model replied to, by their numbers in the split, rising."""
    statistics: dict[str, Statistics]
    """By figure: of all N exchanges for those of the loss, of the M that were replied to for all others."""
    signatures: dict[str, str]
    """By metric; two figures are compared only if they were counted alike."""
    slicings: list[Slicing]
    tokenizer: str = ""
    """The sha256 of the tokenizer whose tokens were counted; "" in files of old, all of which had that of the set."""

    def rows_of(self, figure: str) -> Numbers:
        """The exchanges, by their numbers, that the statistics of a figure are of."""
        is_of_all = len(self.statistics[figure]) == len(self.conversations_N)
        return np.arange(len(self.conversations_N)) if is_of_all else self.replied_M

    def bootstrap_of(self, figure: str, num_resamples: int, seed: int) -> Bootstrap:
        """What draws the conversations of a figure's exchanges."""
        return Bootstrap(self.conversations_N[self.rows_of(figure)], num_resamples, seed)

    def save(self, file: Path) -> None:
        """Writes it; no pickle."""
        arrays: dict[str, Any] = {"conversations_N": self.conversations_N, "replied_M": self.replied_M}
        for name, of in self.statistics.items():
            if isinstance(of, Bags):
                arrays |= {f"bag_rows/{name}": of.rows_E, f"bag_keys/{name}": of.keys_E}
                arrays |= {f"bag_counts/{name}": of.counts_E, f"bag_num_rows/{name}": np.array(of.num_rows)}
            else:
                arrays[f"sums/{name}"] = of
        for number, slicing in enumerate(self.slicings):
            arrays[f"slice/{number}"] = slicing.slice_N
        about = {
            "prepared": self.prepared,
            "split": self.split,
            "signatures": self.signatures,
            "tokenizer": self.tokenizer,
            "slices": [[slicing.kind, slicing.names] for slicing in self.slicings],
        }
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        with file.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls, file: Path) -> PerExchange:
        """Raises EvaluationError for a file that is missing or damaged."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                statistics: dict[str, Statistics] = {}
                for key in arrays.files:
                    kind, _, name = key.partition("/")
                    if kind == "sums":
                        statistics[name] = arrays[key]
                    elif kind == "bag_rows":
                        rows_E, keys_E, counts_E = (arrays[f"bag_{of}/{name}"] for of in ("rows", "keys", "counts"))
                        statistics[name] = Bags(rows_E, keys_E, counts_E, int(arrays[f"bag_num_rows/{name}"]))
                slicings = [
                    Slicing(kind, names, arrays[f"slice/{number}"])
                    for number, (kind, names) in enumerate(about["slices"])
                ]
                return cls(
                    about["prepared"], about["split"], arrays["conversations_N"], arrays["replied_M"], statistics,
                    about["signatures"], slicings, about.get("tokenizer", ""),
                )  # fmt: skip
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise EvaluationError(f"{file}: cannot be read ({error}); delete it and evaluate again") from None


def compare(
    first: PerExchange, second: PerExchange, figure: str, num_resamples: int = 1_000, seed: int = 0,
    within: tuple[str, str] | None = None,
) -> Paired:  # fmt: skip
    """A figure of the first minus that of the second, with interval and p-value; paired, on the same exchanges.

    `within`: only one slice, by its kind and name. Raises EvaluationError where the two are not of the same exchanges,
    or the figure or slice is not of both.
    """
    return comparisons(first, second, [figure], num_resamples, seed, within)[figure]


def comparisons(
    first: PerExchange, second: PerExchange, figures: Sequence[str] | None = None, num_resamples: int = 1_000,
    seed: int = 0, within: tuple[str, str] | None = None,
) -> dict[str, Paired]:  # fmt: skip
    """Several figures, by default all that both have and that mean the same of both."""
    _require_same(first, second, figures or ())
    found, draws = {}, dict[int, Bootstrap]()
    for figure in figures or common_figures(first, second):
        rows = first.rows_of(figure)
        bootstrap = draws.setdefault(len(rows), first.bootstrap_of(figure, num_resamples, seed))
        chosen = None if within is None else _slice(first, within)[rows]
        of_both = first.statistics[figure], second.statistics[figure]
        found[figure] = bootstrap.paired(*of_both, FIGURES[figure].of, chosen)
    return found


def common_figures(first: PerExchange, second: PerExchange) -> list[str]:
    """The figures that both have and that mean the same of both: none per token where the tokens are others."""
    same_tokens = not first.tokenizer or not second.tokenizer or first.tokenizer == second.tokenizer
    both = [name for name in first.statistics if name in second.statistics]
    return [name for name in both if same_tokens or not FIGURES[name].is_per_token]


def _slice(of: PerExchange, within: tuple[str, str]) -> Numbers:
    kind, name = within
    for slicing in of.slicings:
        if slicing.kind == kind and name in slicing.names:
            return np.asarray(slicing.slice_N == slicing.names.index(name))
    there_are = ", ".join(f"{slicing.kind}: {name}" for slicing in of.slicings for name in slicing.names)
    raise EvaluationError(f"no slice {kind}: {name}; there are: {there_are}")


def _require_same(first: PerExchange, second: PerExchange, figures: Sequence[str]) -> None:
    problems = list[str]()
    if (first.prepared, first.split) != (second.prepared, second.split):
        problems.append(
            f"one was evaluated on {first.prepared}, {first.split}, the other on {second.prepared}, {second.split}; "
            "only models of the same prepared set can be compared"
        )
    elif not np.array_equal(first.replied_M, second.replied_M):
        problems.append(
            f"one replied to {len(first.replied_M):,} exchanges, the other to {len(second.replied_M):,} or to others; "
            "evaluate both with the same evaluation.max_replies"
        )
    for name in sorted(first.signatures.keys() & second.signatures.keys()):
        if first.signatures[name] != second.signatures[name]:
            problems.append(
                f"{name} was counted as {first.signatures[name]!r} and as {second.signatures[name]!r}; evaluate both "
                "with the same evaluation.metrics"
            )
    for figure in figures:
        lacking = [name for name, of in (("first", first), ("second", second)) if figure not in of.statistics]
        if lacking:
            known = ", ".join(sorted(first.statistics.keys() & second.statistics.keys()))
            problems.append(f"no {figure} was measured of the {' and the '.join(lacking)}; there are: {known}")
        elif figure not in common_figures(first, second):
            problems.append(f"{figure} counts tokens, and the two have other ones; compare bits_per_byte")
    if problems:
        raise EvaluationError("\n".join(problems))
