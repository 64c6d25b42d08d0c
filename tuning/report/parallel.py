"""Trials in, parallel coordinates out: a line for each trial through its settings and to its objectives.

On a desk the axes stand side by side; on a phone, whose page is tall, they lie one below the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rejoinder.shards.report.markup import Html, text
from tuning.history import Trial
from tuning.objectives import Objective
from tuning.report.drawing import NARROW, WIDE, line, short, svg, value_of, without_outliers
from tuning.space import Dimension, Space

_LETTER = 6.6
"""The width of one, in a drawing's units."""
_MAX_MARKS = 5
"""That fit beside each other on a phone."""


@dataclass(frozen=True)
class _Column:
    """One axis: where each trial crosses it, from 0 to 1, and what is written beside it."""

    name: str
    place: Callable[[Trial], float | None]
    marks: list[tuple[float, str]]


def parallel(
    space: Space, trials: Sequence[Trial], objectives: Sequence[Objective], best: int | None, *, is_tall: bool = False
) -> Html:
    """A setting that a trial does not have is left out of its line."""
    shown = sorted((trial for trial in trials if trial.best(objectives)), key=lambda one: one.number == best)
    if not shown:
        return Html("<p class=quiet>Nothing was measured.</p>")
    columns = [_of_setting(one) for one in space.dimensions]
    columns += [_of_objective(one, objectives, shown) for one in objectives]
    draw = _tall if is_tall else _wide
    return draw(columns, shown, best)


def _of_setting(one: Dimension) -> _Column:
    def place(trial: Trial) -> float | None:
        return one.distribution.place(trial.sample[one.path]) if one.path in trial.sample else None

    marks = [(one.distribution.place(end), short(end)) for end in one.distribution.ends()]
    return _Column(one.path.removesuffix(".name").rsplit(".", 1)[-1], place, marks)


def _of_objective(objective: Objective, objectives: Sequence[Objective], shown: Sequence[Trial]) -> _Column:
    low, high = without_outliers([value_of(trial, objectives, objective) for trial in shown], objective)

    def place(trial: Trial) -> float:
        share = (value_of(trial, objectives, objective) - low) / (high - low) if high > low else 0.5
        return min(max(share, 0.0), 1.0)

    return _Column(objective.metric, place, [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")])


def _wide(columns: Sequence[_Column], shown: Sequence[Trial], best: int | None) -> Html:
    top, bottom, left = 62.0, 300.0, 60.0
    right = max(left, len(columns[-1].name) * _LETTER * 0.7)  # its name stands in the middle above the last axis
    step = (WIDE - left - right) / max(1, len(columns) - 1)
    num_letters = max(4, int((step - 10) / _LETTER))  # that fit before the next column
    drawn, labels = list[str](), list[str]()
    for number, column in enumerate(columns):
        x = left + number * step
        drawn.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        drawn.append(f'<text x="{x:.1f}" y="{16 + 16 * (number % 2)}" class="tick strong">{text(column.name)}</text>')
        for share, label in column.marks:
            labels.append(_mark(x + 5, bottom - share * (bottom - top) + 4, label, num_letters))
    lines = _lines(columns, shown, best, lambda number, at: (left + number * step, bottom - at * (bottom - top)))
    return svg(WIDE, 316, "Settings and outcome of each trial, a line each", [*drawn, *lines, *labels], "wide")


def _tall(columns: Sequence[_Column], shown: Sequence[Trial], best: int | None) -> Html:
    left, right, top, step = 6.0, NARROW - 6.0, 26.0, 62.0
    drawn, labels = list[str](), list[str]()
    for number, column in enumerate(columns):
        y = top + number * step
        drawn.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        labels.append(f'<text x="{left}" y="{y - 9}" class="name">{text(column.name)}</text>')
        marks = column.marks if len(column.marks) <= _MAX_MARKS else [column.marks[0], column.marks[-1]]
        num_letters = max(3, int(0.62 * (right - left) / max(1, len(marks) - 1) / _LETTER))
        for share, label in marks:
            kind = "" if share == 0 else "end" if share == 1 else "middle"
            labels.append(_mark(left + share * (right - left), y + 15, label, num_letters, kind))
    lines = _lines(columns, shown, best, lambda number, at: (left + at * (right - left), top + number * step))
    height = int(top + (len(columns) - 1) * step + 24)
    return svg(NARROW, height, "Settings and outcome of each trial, a line each", [*drawn, *lines, *labels])


def _lines(
    columns: Sequence[_Column], shown: Sequence[Trial], best: int | None,
    at: Callable[[int, float], tuple[float, float]],
) -> list[str]:  # fmt: skip
    drawn = []
    for trial in shown:
        crossed = [(number, column.place(trial)) for number, column in enumerate(columns)]
        places = [at(number, share) for number, share in crossed if share is not None]
        sample = ", ".join(f"{path} = {short(value)}" for path, value in trial.sample.items())
        drawn.append(line(places, trial, best, f"trial {trial.number}: {sample}"))
    return drawn


def _mark(x: float, y: float, label: str, num_letters: int, kind: str = "") -> str:
    """Over the lines, to be read; the whole of a long one where a pointer rests on it."""
    cut = label if len(label) <= num_letters else f"{label[: num_letters - 1]}…"
    return f'<text x="{x:.1f}" y="{y:.1f}" class="value {kind}">{text(cut)}<title>{text(label)}</title></text>'
