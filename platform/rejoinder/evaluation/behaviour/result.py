"""Judged cases in; pass rates with intervals, failing examples and a part of the report out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rejoinder.evaluation.behaviour.base import Turns
from rejoinder.shards.report import Bar, Html, folded, percent, said, table, text

NUM_SHOWN = 8
"""Failing cases of a family that the report shows."""


@dataclass(frozen=True)
class Failure:
    """A case that did not pass."""

    contexts: tuple[Turns, ...]
    said: str
    """The reply to the first context, or what was compared."""
    why: str


@dataclass(frozen=True)
class Family:
    """How a family of tests went."""

    name: str
    kind: str
    claim: str
    num_cases: int
    failures: tuple[Failure, ...]

    @property
    def pass_rate(self) -> float:
        """From 0 to 1."""
        return 1 - len(self.failures) / self.num_cases

    @property
    def interval(self) -> tuple[float, float]:
        """Of the pass rate, 95 of 100 (Wilson 1927): cases stand for texts that were not tried."""
        return wilson(self.num_cases - len(self.failures), self.num_cases)


@dataclass(frozen=True)
class BehaviourResult:
    """How all families went."""

    families: tuple[Family, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """The pass rate of each family."""
        return {f"behaviour_{family.name}": family.pass_rate for family in self.families}

    def section(self) -> tuple[str, str]:
        """Its title and HTML."""
        return "Behaviour", _explained() + _rates(self.families) + "".join(map(_failures, self.families))


def wilson(num_passed: int, num_cases: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share; unlike the usual one it has a width at 0 and at 1 too."""
    share, n = num_passed / num_cases, num_cases
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _explained() -> Html:
    return Html(
        "<p>Tests in the manner of CheckList (Ribeiro et al. 2020): a change that must not matter (invariance), one "
        "that must matter in a given way (direction), and what any partner can do (minimum functionality). In English. "
        "The interval is that of the pass rate over texts like these, 95 of 100.</p>"
    )


def _rates(families: Sequence[Family]) -> Html:
    rows = []
    for family in families:
        low, high = family.interval
        rows.append(
            (
                Html(f"{text(family.claim)} <span class=quiet>{text(family.kind)}</span>"),
                Bar(family.pass_rate),
                f"{percent(family.pass_rate)}",
                f"{percent(low)} to {percent(high)}",
                f"{family.num_cases - len(family.failures)} of {family.num_cases}",
            )
        )
    return table(["", "", "passed", "interval", "cases"], rows)


def _failures(family: Family) -> Html:
    if not family.failures:
        return Html("")
    shown = [(_talk(failure.contexts), text(failure.why)) for failure in family.failures[:NUM_SHOWN]]
    lines = "".join(f"<li>{talk}<br><span class=quiet>{why}</span>" for talk, why in shown)
    more = len(family.failures) - len(shown)
    rest = f"<p class=quiet>and {more} more</p>" if more else ""
    return folded(f"{family.name}: what did not pass", Html(f"<ul>{lines}</ul>{rest}"), count=len(family.failures))


def _talk(contexts: Sequence[Turns]) -> Html:
    turns = [" / ".join(said(turn) for turn in context) for context in contexts]
    return Html(" → ".join(turns))
