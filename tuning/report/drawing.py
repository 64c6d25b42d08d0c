"""Trials in, SVG out: learning curves, parallel coordinates, a Pareto front, bars of what mattered."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rejoinder.shards.report.markup import Html, text
from tuning.history import Trial, has_number
from tuning.objectives import Objective
from tuning.space import Space

WIDTH, WIDE = 400, 820
NUM_TICKS = 4

STYLE = """
.tiles b { font-size: 1.35rem; white-space: nowrap; }
svg.wide { max-width: none; min-width: 38rem; }
svg .trial { fill: none; stroke: var(--train); stroke-width: 1.3; opacity: .5; }
svg .trial.stopped, svg .trial.failed { stroke: var(--out); }
svg .trial.best { stroke: var(--valid); stroke-width: 3; opacity: 1; }
svg .trial:hover { stroke: var(--ink); opacity: 1; stroke-width: 3; }
svg .dot { fill: var(--train); opacity: .6; }
svg .dot.stopped, svg .dot.failed { fill: var(--out); }
svg .dot.front { fill: var(--valid); opacity: 1; }
svg .front-line { fill: none; stroke: var(--valid); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .value { fill: var(--ink); font-size: 11px; paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
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


def curves(trials: Sequence[Trial], objective: Objective, best: int | None) -> Html:
    """The first objective of every trial by step. What is far off the page is cut: a loss that diverged has no end."""
    points = {trial.number: [p for p in trial.points if has_number(p, objective.metric)] for trial in trials}
    values = sorted(point.metrics[objective.metric] for of in points.values() for point in of)
    if not values:
        return Html("<p class=quiet>Nothing was measured.</p>")
    low, high = _without_outliers(values, objective)
    most = max(point.step for of in points.values() for point in of)
    x, y = Axis(0, most, 52, WIDE - 12), Axis(low, high, 250, 14)
    drawn = _frame(x, y, 250, WIDE)
    for trial in sorted(trials, key=lambda one: one.number == best):
        of = points[trial.number]
        if not of:
            continue
        kind = f"trial {trial.state}{' best' if trial.number == best else ''}"
        says = f"trial {trial.number}, {trial.state}: {of[-1].metrics[objective.metric]:.4g} at step {of[-1].step:,}"
        places = [(x.place(p.step), y.place(p.metrics[objective.metric])) for p in of]
        if len(places) == 1:
            (one, other), radius = places[0], 3
            drawn.append(
                f'<circle class="dot {trial.state}" cx="{one:.1f}" cy="{other:.1f}" r="{radius}"><title>{text(says)}'
                "</title></circle>"
            )
        else:
            drawn.append(_line(places, kind, says))
    drawn.append(f'<text x="{WIDE - 12}" y="282" class="end note">step</text>')
    return _scrolled(_svg(WIDE, 286, f"Learning curves of {len(trials)} trials", drawn, "wide"))


def parallel(space: Space, trials: Sequence[Trial], objectives: Sequence[Objective], best: int | None) -> Html:
    """A line for each trial through its settings and to its objectives; a setting it does not have is left out."""
    shown = [trial for trial in trials if trial.best(objectives)]
    if not shown:
        return Html("<p class=quiet>Nothing was measured.</p>")
    top, bottom = 62.0, 300.0
    columns: list[tuple[str, Callable[[Trial], float | None], list[tuple[float, str]]]] = []
    for one in space.dimensions:
        ends = one.distribution.ends()
        marks = [(one.distribution.place(end), _short(end)) for end in ends]

        def of_setting(trial: Trial, one: Any = one) -> float | None:
            return one.distribution.place(trial.sample[one.path]) if one.path in trial.sample else None

        columns.append((one.path.removesuffix(".name").rsplit(".", 1)[-1], of_setting, marks))
    for objective in objectives:
        values = sorted(_value(trial, objectives, objective) for trial in shown)
        low, high = _without_outliers(values, objective)

        def of_objective(trial: Trial, objective: Objective = objective, low: float = low, high: float = high) -> float:
            value = _value(trial, objectives, objective)
            share = (value - low) / (high - low) if high > low else 0.5
            return min(max(share, 0.0), 1.0)

        columns.append((objective.metric, of_objective, [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]))
    step = (WIDE - 120) / max(1, len(columns) - 1)
    num_letters = max(4, int((step - 10) / 6.6))  # that fit before the next column
    drawn, labels = list[str](), list[str]()
    for place, (name, _, marks) in enumerate(columns):
        x = 60 + place * step
        drawn.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        drawn.append(f'<text x="{x:.1f}" y="{16 + 16 * (place % 2)}" class="tick strong">{text(name)}</text>')
        for share, label in marks:
            y = bottom - share * (bottom - top)
            short = label if len(label) <= num_letters else f"{label[: num_letters - 1]}…"
            labels.append(
                f'<text x="{x + 5:.1f}" y="{y + 4:.1f}" class="value">{text(short)}<title>{text(label)}</title></text>'
            )
    for trial in sorted(shown, key=lambda one: one.number == best):
        places = [
            (60 + place * step, bottom - at * (bottom - top))
            for place, (_, of, _) in enumerate(columns)
            if (at := of(trial)) is not None
        ]
        kind = f"trial {trial.state}{' best' if trial.number == best else ''}"
        drawn.append(_line(places, kind, f"trial {trial.number}: {_sample_text(trial)}"))
    drawn += labels  # over the lines, to be read
    return _scrolled(_svg(WIDE, 316, "Settings and outcome of each trial, a line each", drawn, "wide"))


def front(trials: Sequence[Trial], objectives: Sequence[Objective], on_front: Sequence[int]) -> Html:
    """The first two objectives against each other; the front's trials in another colour."""
    first, second = objectives[:2]
    shown = [trial for trial in trials if trial.best(objectives)]
    if not shown:
        return Html("<p class=quiet>Nothing was measured.</p>")
    at = {one.number: (_value(one, objectives, first), _value(one, objectives, second)) for one in shown}
    x = _axis([value for value, _ in at.values()], 58, WIDTH - 16)
    y = _axis([value for _, value in at.values()], 230, 20)
    drawn = _frame(x, y, 230, WIDTH)
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
    drawn.append(f'<text x="{WIDTH - 16}" y="264" class="end note">{text(first.metric)}</text>')
    drawn.append(f'<text x="4" y="10" class="note">{text(second.metric)}</text>')
    return _svg(WIDTH, 270, f"{first.metric} against {second.metric}", drawn)


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    low, high = min(values), max(values)
    room = 0.06 * (high - low)
    return Axis(low - room, high + room, start, end)


def _without_outliers(values: Sequence[float], objective: Objective) -> tuple[float, float]:
    """From the best value to three times the median's distance from it, or to the worst where that is nearer."""
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
        drawn.append(f'<text x="{x.start - 6}" y="{at + 4:.1f}" class="end">{_short(value)}</text>')
    drawn += [f'<text x="{x.place(v):.1f}" y="{floor + 16}" class="tick">{_short(v)}</text>' for v in x.ticks()]
    drawn.append(f'<line class="axis" x1="{x.start}" x2="{width - 12}" y1="{floor}" y2="{floor}"/>')
    return drawn


def _line(places: Sequence[tuple[float, float]], kind: str, says: str) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="{kind}" points="{points}"><title>{text(says)}</title></polyline>'


def _value(trial: Trial, objectives: Sequence[Objective], objective: Objective) -> float:
    point = trial.best(objectives)
    assert point is not None
    return point.metrics[objective.metric]


def _sample_text(trial: Trial) -> str:
    return ", ".join(f"{path} = {_short(value)}" for path, value in trial.sample.items())


def _short(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{float(f'{value:.3g}'):,g}"


def _round_up(least: float) -> float:
    size = 10.0 ** math.floor(math.log10(max(least, 1e-12)))
    return next(size * times for times in (1, 2, 5, 10) if size * times >= least * (1 - 1e-9))


def _scrolled(drawing: Html) -> Html:
    """On a phone it is moved sideways; letters would be too small otherwise."""
    return Html(f"<div class=scroll>{drawing}</div>")


def _svg(width: int, height: int, title: str, drawn: Sequence[str], kind: str = "") -> Html:
    return Html(
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{text(title)}"><title>{text(title)}'
        f"</title>{''.join(drawn)}</svg>"
    )
