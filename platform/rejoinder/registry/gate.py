"""What was measured of two versions on the same exchanges in, promoted or refused out, with a table and its reasons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rejoinder import catalog
from rejoinder.errors import RegistryError
from rejoinder.recipe import GateSection

EVERYTHING = "all"
"""The slice that is the whole split."""
LATENCY = "latency"
"""Milliseconds per reply token, on the machine that compares."""
_MAX_ROWS = 200  # MLflow's tags hold 100,000 characters


@dataclass(frozen=True)
class Compared:
    """One figure of candidate and champion, on one slice of the held-out exchanges."""

    figure: str
    slice: str
    num_exchanges: int
    better: int
    """1: higher is better; -1: lower is."""
    candidate: float
    champion: float | None = None
    """None: there is none, or it was not measured."""
    difference: float = math.nan
    """Candidate minus champion, with its interval and p-value, by paired bootstrap."""
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan

    @property
    def worst_and_best(self) -> tuple[float, float]:
        """The ends of the interval as gains: above 0 is better."""
        return (self.low, self.high) if self.better > 0 else (-self.high, -self.low)


@dataclass(frozen=True)
class Row:
    """A figure and what the gate says of it."""

    compared: Compared
    says: str
    refuses: bool


@dataclass(frozen=True)
class Verdict:
    """Promoted or not, and why."""

    promotes: bool
    reason: str
    """A sentence."""
    rows: tuple[Row, ...]

    def evidence(self) -> dict[str, Any]:
        """As plain values, for the ledger; of very many rows those of the whole split and those that refuse."""
        rows = self.rows
        if len(rows) > _MAX_ROWS:
            rows = tuple(row for row in rows if row.refuses or row.compared.slice == EVERYTHING)[:_MAX_ROWS]
        return {
            "promotes": self.promotes,
            "rows": [
                {name: _plain(value) for name, value in asdict(row.compared).items()}
                | {"says": row.says, "refuses": row.refuses}
                for row in rows
            ],
        }


def judge(gate: GateSection, compared: Sequence[Compared]) -> Verdict:
    """Without a champion the limits alone decide."""
    has_champion = any(row.champion is not None for row in compared)
    rows = tuple(_row(gate, row) for row in compared)
    refusals = [f"{_named(row.compared)} {row.says}" for row in rows if row.refuses]
    if has_champion:
        refusals += _not_better(gate, rows)
    if refusals:
        return Verdict(False, "; ".join(refusals), rows)
    if not has_champion:
        return Verdict(True, "there is no champion to be compared with, and no limit is missed", rows)
    better = [row.compared.figure for row in rows if row.says == "better" and row.compared.slice == EVERYTHING]
    best = f"better in {', '.join(better)}" if better else "no worse than is tolerated"
    return Verdict(True, f"{best}, and nothing speaks against it", rows)


def table(rows: Iterable[Row]) -> list[str]:
    """The rows as lines of text of a width that a terminal has."""
    lines = [f"{'figure':<16}{'slice':<20}{'champion':>10}{'candidate':>11}{'difference':>12}  {'interval':<20}"]
    for row in rows:
        of = row.compared
        champion, difference, interval = "–", "", ""
        if of.champion is not None:
            champion, difference = _short(of.champion), f"{of.difference:+.3g}"
            interval = f"{of.low:+.3g} to {of.high:+.3g}" if math.isfinite(of.low) else ""
        mark = "✗" if row.refuses else " "
        lines.append(
            f"{of.figure:<16}{of.slice:<20}{champion:>10}{_short(of.candidate):>11}{difference:>12}  "
            f"{interval:<20}{mark} {row.says}".rstrip()
        )
    return lines


def _row(gate: GateSection, of: Compared) -> Row:
    is_whole = of.slice == EVERYTHING
    limit = (gate.limits if is_whole else gate.slice_limits).get(of.figure)
    tolerated = (gate.tolerated if is_whole else gate.slice_tolerated).get(of.figure)
    if not is_whole and of.num_exchanges < gate.min_slice_exchanges:
        return Row(of, "too few exchanges to decide", False)
    if limit is not None and of.better * (of.candidate - limit) < 0:
        return Row(of, f"{_short(of.candidate)} is {'below' if of.better > 0 else 'above'} the limit {limit:g}", True)
    if not math.isfinite(of.candidate):
        return Row(of, "not measured", False)
    if of.champion is None or not math.isfinite(of.low):
        return Row(of, "" if limit is None else "within the limit", False)
    worst, best = of.worst_and_best
    if worst > 0:
        return Row(of, "better", False)
    if best >= 0:
        return Row(of, "no certain difference", False)
    worse_by = -of.better * of.difference
    if tolerated is None:
        return Row(of, "worse; not looked at", False)
    if of.figure == LATENCY:  # a share of what it is now, whatever the machine
        worse_by /= of.champion
    if worse_by > tolerated:
        return Row(of, f"worse by {worse_by:.3g}, tolerated {tolerated:g}", True)
    return Row(of, f"worse, as tolerated ({tolerated:g})", False)


def _not_better(gate: GateSection, rows: Iterable[Row]) -> list[str]:
    """Where the candidate must be better and is not. What is worse has been said."""
    whole = {row.compared.figure: row for row in rows if row.compared.slice == EVERYTHING}
    found = []
    for figure in gate.must_be_better:
        row = whole.get(figure)
        if row is None or not math.isfinite(row.compared.low):
            found.append(f"{figure} must be better (registry.gate.must_be_better) and was not measured of both")
        elif row.says != "better" and not row.refuses:
            of = row.compared
            found.append(
                f"{figure} must be better for certain (registry.gate.must_be_better) and is not: {of.difference:+.3g}, "
                f"95 % interval {of.low:+.3g} to {of.high:+.3g}"
            )
    return found


def figures_of(gate: GateSection, known: Mapping[str, int]) -> list[str]:
    """The figures that the gate looks at; `known` says of each whether higher is better (1), lower (-1) or neither (0).

    Raises RegistryError for one that nobody measures (of a slice: latency) or without a better side: their limits would
    never refuse anything.
    """
    asked = {
        "tolerated": gate.tolerated, "limits": gate.limits, "must_be_better": gate.must_be_better,
        "slice_tolerated": gate.slice_tolerated, "slice_limits": gate.slice_limits,
    }  # fmt: skip
    found = list[str]()
    for where, figures in asked.items():
        wanted = [name for name in figures if not (isinstance(figures, Mapping) and figures[name] is None)]
        for figure in wanted:
            if figure not in known:
                raise RegistryError(f"registry.gate.{where}: {figure}: {catalog.choices(figure, sorted(known))}")
            if figure == LATENCY and where.startswith("slice_"):
                raise RegistryError(f"registry.gate.{where}: {figure}: is timed of the whole split only; leave it out")
            if known[figure] == 0:
                raise RegistryError(
                    f"registry.gate.{where}: {figure}: neither more nor less of it is better, so the gate cannot judge "
                    "by it; leave it out"
                )
        found += wanted
    return list(dict.fromkeys(found))


def _named(of: Compared) -> str:
    return of.figure if of.slice == EVERYTHING else f"{of.figure} of {of.slice}"


def _short(value: float) -> str:
    return f"{value:.4g}"


def _plain(value: Any) -> Any:
    """JSON knows no nan; six digits are more than any interval tells."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
