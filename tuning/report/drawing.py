"""Trials in, SVG out: learning curves, a Pareto front; and what all drawings of the page have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rejoinder.shards.report.markup import Html, text
from tuning.history import Trial, has_number
from tuning.objectives import Objective

NARROW, WIDE = 340, 820
"""Units of a drawing, which are about pixels on a phone and on a desk: letters are to be read on both."""
NUM_TICKS = 4

STYLE = """
.tiles b { font-size: 1.35rem; white-space: nowrap; }
svg.wide { max-width: none; }
svg.small { max-width: 26rem; }
svg .name {
  fill: var(--ink); font-size: 13px; font-weight: 600; paint-order: stroke; stroke: var(--card); stroke-width: 4px;
}
svg .trial { fill: none; stroke: var(--train); stroke-width: 1.3; opacity: .5; }
svg .trial.stopped, svg .trial.failed { stroke: var(--out); }
svg .trial.best { stroke: var(--valid); stroke-width: 3; opacity: 1; }
svg .trial:hover { stroke: var(--ink); opacity: 1; stroke-width: 3; }
svg .dot { fill: var(--train); opacity: .6; }
svg .dot.stopped, svg .dot.failed { fill: var(--out); }
svg .dot.front { fill: var(--valid); opacity: 1; }
svg .front-line { fill: none; stroke: var(--valid); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .value { fill: var(--ink); font-size: 11px; paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
svg .value.middle { text-anchor: middle; }
.phone, thead wbr { display: none; }
@media (max-width: 40rem) {
  .phone { display: block; }
  table.cost thead wbr { display: inline; }
  .desk, table.cost td.bar, table.cost th:empty { display: none; }
  table.cost { font-size: .8rem; }
  table.cost thead th { font-size: .72rem; }
  table.cost th, table.cost td { padding-left: .35rem; }
  table.cost th:first-child { min-width: 0; padding-left: 0; white-space: nowrap; }
  table.settings td { white-space: normal; overflow-wrap: break-word; }
}
"""


@dataclass(frozen=True)
class Axis:
    """Values to places, and round values to be written beside them."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a value stands, in the drawing's units."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values inside."""
        if self.is_log or self.high == self.low:
            return sorted({self.low, self.high})
        step = _round_up((self.high - self.low) / NUM_TICKS)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def twice(draw: Callable[[bool], Html]) -> Html:
    """The same for a desk and, given True, for a phone; the page shows the one that fits."""
    return Html(f"<div class=desk>{draw(False)}</div><div class=phone>{draw(True)}</div>")


def curves(
    trials: Sequence[Trial], objective: Objective, best: int | None, unit: str, *, is_narrow: bool = False
) -> Html:
    """The first objective of every trial by step. What is far off the page is cut: a loss that diverged has no end."""
    points = {trial.number: [p for p in trial.points if has_number(p, objective.metric)] for trial in trials}
    values = sorted(point.metrics[objective.metric] for of in points.values() for point in of)
    if not values:
        return Html("<p class=quiet>Nothing was measured.</p>")
    low, high = without_outliers(values, objective)
    most, width = max(point.step for of in points.values() for point in of), NARROW if is_narrow else WIDE
    x, y = Axis(0, most, 40 if is_narrow else 52, width - 12), Axis(low, high, 250, 14)
    drawn = _frame(x, y, 250, width)
    for trial in sorted(trials, key=lambda one: one.number == best):
        of = points[trial.number]
        if not of:
            continue
        says = f"trial {trial.number}, {trial.state}: {of[-1].metrics[objective.metric]:.4g} at {unit} {of[-1].step:,}"
        places = [(x.place(p.step), y.place(p.metrics[objective.metric])) for p in of]
        if len(places) == 1:
            (one, other), radius = places[0], 3
            drawn.append(
                f'<circle class="dot {trial.state}" cx="{one:.1f}" cy="{other:.1f}" r="{radius}"><title>{text(says)}'
                "</title></circle>"
            )
        else:
            drawn.append(line(places, trial, best, says))
    drawn.append(f'<text x="{width - 12}" y="282" class="end note">{text(unit)}</text>')
    return svg(width, 286, f"Learning curves of {len(trials)} trials", drawn, "" if is_narrow else "wide")


def front(trials: Sequence[Trial], objectives: Sequence[Objective], on_front: Sequence[int]) -> Html:
    """The first two objectives against each other; the front's trials in another colour."""
    first, second = objectives[:2]
    shown = [trial for trial in trials if trial.best(objectives)]
    if not shown:
        return Html("<p class=quiet>Nothing was measured.</p>")
    at = {one.number: (value_of(one, objectives, first), value_of(one, objectives, second)) for one in shown}
    x = _axis([value for value, _ in at.values()], 58, NARROW - 16)
    y = _axis([value for _, value in at.values()], 230, 20)
    drawn = _frame(x, y, 230, NARROW)
    ordered = sorted((at[number] for number in on_front if number in at), key=lambda pair: pair[0])
    if len(ordered) > 1:
        corners = " ".join(f"{x.place(a):.1f},{y.place(b):.1f}" for a, b in ordered)
        drawn.append(f'<polyline class="front-line" points="{corners}"/>')
    for trial in shown:
        a, b = at[trial.number]
        kind = f"dot {trial.state}{' front' if trial.number in on_front else ''}"
        says = f"trial {trial.number}: {first.metric} {a:.4g}, {second.metric} {b:.4g}"
        drawn.append(
            f'<circle class="{kind}" cx="{x.place(a):.1f}" cy="{y.place(b):.1f}" r="5"><title>{text(says)}</title>'
            "</circle>"
        )
    drawn.append(f'<text x="{NARROW - 16}" y="264" class="end note">{text(first.metric)}</text>')
    drawn.append(f'<text x="4" y="10" class="note">{text(second.metric)}</text>')
    return svg(NARROW, 270, f"{first.metric} against {second.metric}", drawn, "small")


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    low, high = min(values), max(values)
    room = 0.06 * (high - low)
    return Axis(low - room, high + room, start, end)


def without_outliers(values: Sequence[float], objective: Objective) -> tuple[float, float]:
    """An axis: from the best value to three times the median's distance from it, at most to the worst."""
    ordered = sorted(values)
    low, high, median = ordered[0], ordered[-1], ordered[len(ordered) // 2]
    if objective.mode == "min":
        return low, min(high, low + 3 * (median - low)) if median > low else high
    return max(low, high - 3 * (high - median)) if median < high else low, high


def _frame(x: Axis, y: Axis, floor: float, width: int) -> list[str]:
    drawn = []
    for value in y.ticks():
        at = y.place(value)
        drawn.append(f'<line class="grid" x1="{x.start}" x2="{width - 12}" y1="{at:.1f}" y2="{at:.1f}"/>')
        drawn.append(f'<text x="{x.start - 6}" y="{at + 4:.1f}" class="end">{short(value)}</text>')
    drawn += [f'<text x="{x.place(v):.1f}" y="{floor + 16}" class="tick">{short(v)}</text>' for v in x.ticks()]
    drawn.append(f'<line class="axis" x1="{x.start}" x2="{width - 12}" y1="{floor}" y2="{floor}"/>')
    return drawn


def line(places: Sequence[tuple[float, float]], trial: Trial, best: int | None, says: str) -> str:
    """A trial's own; `says` is read where a pointer rests on it."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    kind = f"trial {trial.state}{' best' if trial.number == best else ''}"
    return f'<polyline class="{kind}" points="{points}"><title>{text(says)}</title></polyline>'


def value_of(trial: Trial, objectives: Sequence[Objective], objective: Objective) -> float:
    """What a trial that measured anything counts by."""
    point = trial.best(objectives)
    assert point is not None
    return point.metrics[objective.metric]


def short(value: Any) -> str:
    """Three digits of a number; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{float(f'{value:.3g}'):,g}"


def _round_up(least: float) -> float:
    size = 10.0 ** math.floor(math.log10(max(least, 1e-12)))
    return next(size * times for times in (1, 2, 5, 10) if size * times >= least * (1 - 1e-9))


def svg(width: int, height: int, title: str, drawn: Sequence[str], kind: str = "") -> Html:
    """A drawing with a name for those who cannot see it."""
    return Html(
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{text(title)}"><title>{text(title)}'
        f"</title>{''.join(drawn)}</svg>"
    )
