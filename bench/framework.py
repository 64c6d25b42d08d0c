"""Rounds of measurements in, figures judged against floors out: medians, ratios, `ok` or `SHORT`.

The machine is shared and its speed drifts, so the contenders of a figure take turns, a ratio is taken inside each
round, and what is quoted is the median over the rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import yaml

FLOORS = Path(__file__).with_name("floors.yaml")


@dataclass(frozen=True)
class Figure:
    """One line of the result: what was measured, a value for each round."""

    name: str
    """As in floors.yaml."""
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    """The peer's values of the same rounds; empty where there is nobody to compare with."""
    less_is_better: bool = False
    note: str = ""
    """What else belongs to the figure, such as what the peer was and what was not timed."""

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer: the median of the rounds' own ratios. None without a peer."""
        if not self.theirs:
            return None
        pairs = zip(self.ours, self.theirs, strict=True)
        return median(theirs / ours if self.less_is_better else ours / theirs for ours, theirs in pairs)


@dataclass(frozen=True)
class Floor:
    """What a figure must reach. Exactly one is given."""

    ratio: float | None = None
    """At least this many times as good as the peer."""
    at_most: float | None = None
    """Ours, in the figure's unit."""

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.at_most is None):
            raise ValueError(f"a floor is either a ratio or at_most, this one has {self.ratio} and {self.at_most}")

    def __str__(self) -> str:
        return f">= {self.ratio:g}x" if self.ratio is not None else f"<= {self.at_most:g}"

    def holds(self, figure: Figure) -> bool:
        """Whether the figure reaches it. A ratio without a peer's value does not."""
        if self.at_most is not None:
            return median(figure.ours) <= self.at_most
        assert self.ratio is not None
        return figure.ratio is not None and figure.ratio >= self.ratio


@dataclass(frozen=True)
class Line:
    """A figure and what became of it."""

    figure: Figure
    floor: Floor | None
    verdict: str
    """`ok`, `SHORT`, or `-` where no floor stands."""

    def cells(self) -> list[str]:
        """name, ours, theirs, ratio, floor, verdict."""
        figure = self.figure
        return [
            figure.name,
            f"{number(median(figure.ours))} {figure.unit}",
            f"{number(median(figure.theirs))} {figure.unit}" if figure.theirs else "",
            f"{number(figure.ratio)}x" if figure.ratio is not None else "",
            str(self.floor or ""),
            self.verdict,
        ]

    def plain(self) -> dict[str, Any]:
        """For the result's JSON: what the table shows, medians and every round's value."""
        figure = self.figure
        return {
            "name": figure.name,
            "cells": self.cells(),
            "unit": figure.unit,
            "ours": median(figure.ours),
            "theirs": median(figure.theirs) if figure.theirs else None,
            "ratio": figure.ratio,
            "floor": str(self.floor) if self.floor else None,
            "verdict": self.verdict,
            "rounds": {"ours": list(figure.ours), "theirs": list(figure.theirs)},
            "note": figure.note,
        }


HEAD = ["figure", "ours", "theirs", "ratio", "floor", ""]


@dataclass
class Result:
    """What a question found: figures for the table, and whatever its plot needs."""

    figures: list[Figure]
    facts: dict[str, Any] = field(default_factory=dict)
    """What was measured on: sizes, seconds that were left out."""
    plot: Callable[[Path], None] | None = None
    """Writes the question's SVG."""
    table: str | None = None
    """Markdown that the page shows instead of the figures' table."""


def read_floors(question: str, file: Path | None = None) -> dict[str, Floor]:
    """The floors of a question such as `data.reading`, by the names of their figures; of bench/floors.yaml."""
    floors = yaml.safe_load((file or FLOORS).read_text(encoding="utf-8"))
    return {name: Floor(**floor) for name, floor in (floors.get(question) or {}).items()}


def judge(figures: Sequence[Figure], floors: Mapping[str, Floor], with_peers: bool = True) -> list[Line]:
    """Every figure with its verdict. Raises ValueError for a floor whose figure nobody measured.

    Without peers a ratio cannot be judged: its verdict is `-`.
    """
    if missing := floors.keys() - {figure.name for figure in figures}:
        raise ValueError(f"floors.yaml asks for figures that were not measured: {', '.join(sorted(missing))}")
    lines = []
    for figure in figures:
        floor = floors.get(figure.name)
        judged = floor is not None and (with_peers or floor.at_most is not None)
        lines.append(
            Line(figure, floor, "-" if not judged or floor is None else "ok" if floor.holds(figure) else "SHORT")
        )
    return lines


def interleaved(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """What each contender answered in each round. Each round begins with another one."""
    names = list(contenders)
    answers: dict[str, list[Any]] = {name: [] for name in names}
    for round in range(rounds):
        first = round % len(names)
        for name in names[first:] + names[:first]:
            answers[name].append(contenders[name]())
    return answers


def number(value: float) -> str:
    """Three digits that mean something: 0.0314, 3.14, 314, 31,400."""
    if value == 0 or abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def shown_in(page: str, name: str, content: str) -> str:
    """The page with this content between its marks `<!-- bench NAME -->` and `<!-- end of bench NAME -->`."""
    begin, end = f"<!-- bench {name} -->", f"<!-- end of bench {name} -->"
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the page has no place for the table: write {begin} and {end} into it")
    return f"{before}{begin}\n\n{content}\n{end}{after}"


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned lines for the screen."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them the head, as a markdown table."""
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest]) + "\n"
