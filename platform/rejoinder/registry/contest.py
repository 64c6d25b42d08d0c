"""Two versions and what was counted of each exchange in, the rows that the gate judges out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rejoinder.evaluation import FIGURES, Evaluation, Paired, PerExchange, common_figures, comparisons
from rejoinder.recipe import GateSection
from rejoinder.registry.gate import EVERYTHING, LATENCY, Compared, figures_of

_UNKNOWN = Paired(math.nan, math.nan, math.nan, math.nan)
_OF_LOSS = ("loss", "perplexity", "bits_per_byte")
"""What is measured of every model. Where one gives no number, its weights are none."""


@dataclass(frozen=True)
class Contestant:
    """A version as the gate sees it."""

    evaluation: Evaluation
    per_exchange: PerExchange


def contest(gate: GateSection, candidate: Contestant, champion: Contestant | None) -> list[Compared]:
    """Every figure that the gate looks at, on the whole split and on its slices; latency is measured elsewhere.

    Raises EvaluationError where the two were not measured on the same exchanges, RegistryError for a figure that
    the gate cannot judge by.
    """
    figures = [figure for figure in looked_at(gate) if figure != LATENCY]
    rows = _rows(gate, figures, candidate, champion, None)
    of_slices = [figure for figure in figures if figure in gate.slice_tolerated or figure in gate.slice_limits]
    for slicing in candidate.per_exchange.slicings if of_slices else ():
        if len(slicing.names) > 1:  # one alone is the whole split
            for name in slicing.names:
                rows += _rows(gate, of_slices, candidate, champion, (slicing.kind, name))
    return [row for row in rows if row.num_exchanges > 0]


def looked_at(gate: GateSection) -> list[str]:
    """Every figure that the gate looks at. Raises RegistryError for one that it cannot judge by."""
    return figures_of(gate, {name: figure.better for name, figure in FIGURES.items()} | {LATENCY: -1})


def _rows(
    gate: GateSection, figures: list[str], candidate: Contestant, champion: Contestant | None,
    within: tuple[str, str] | None,
) -> list[Compared]:  # fmt: skip
    paired: dict[str, Paired] = {}
    if champion is not None:
        of_both = common_figures(candidate.per_exchange, champion.per_exchange)
        paired = comparisons(
            candidate.per_exchange, champion.per_exchange, [figure for figure in figures if figure in of_both],
            gate.num_resamples, gate.seed, within,
        )  # fmt: skip
    rows = []
    for figure in figures:
        ours, num_exchanges = _value(candidate.evaluation, figure, within)
        theirs = _value(champion.evaluation, figure, within)[0] if champion else None
        rows.append(
            Compared(
                figure, within[1] if within else EVERYTHING, num_exchanges, FIGURES[figure].better, ours, theirs,
                *paired.get(figure, _UNKNOWN),
            )
        )  # fmt: skip
    return rows


def _value(evaluation: Evaluation, figure: str, within: tuple[str, str] | None) -> tuple[float, int]:
    """A figure and the exchanges that it is of; nan where it was not measured, inf for the loss of broken weights."""
    if within is None:
        found, num = evaluation.figures, evaluation.num_exchanges
    else:
        part = next((of for of in evaluation.slices if (of.kind, of.name) == within), None)
        found, num = (part.figures, part.num_exchanges) if part else ({}, 0)
    value = found[figure].value if figure in found else math.nan
    return (math.inf if math.isnan(value) and figure in _OF_LOSS and figure in found else value), num
