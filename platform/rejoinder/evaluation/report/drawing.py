"""Figures with intervals, and lengths, in; SVG out, 400 units wide, a phone's width, so that letters can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rejoinder.evaluation.bootstrap import Estimate, Paired
from rejoinder.shards.report import Html, percent, text

WIDTH, LEFT, RIGHT = 400, 172, 352
ROW = 19


class Row(NamedTuple):
    """A line of a forest plot."""

    name: str
    num: int
    """Exchanges."""
    estimate: Estimate


def shown(value: float) -> str:
    """0.0123; 1.738; 79.4; 1,234; – for none."""
    if not math.isfinite(value):
        return "–"
    places = 4 if 0 < abs(value) < 0.1 else 3 if abs(value) < 10 else 1 if abs(value) < 1_000 else 0
    return f"{value:,.{places}f}"


def signed(value: float, like: float) -> str:
    """With its sign and as many places as a number of this size has two digits for."""
    if not math.isfinite(value):
        return "–"
    places = max(0, 1 - math.floor(math.log10(like))) if like > 0 and math.isfinite(like) else 2
    return f"{value:+,.{min(places, 6)}f}".replace("-", "−")


def forest(title: str, overall: Estimate, groups: Sequence[tuple[str, Sequence[Row]]]) -> Html:
    """A dot for each slice, its interval as a line; the broken line is all exchanges together."""
    ends = [end for _, rows in groups for row in rows for end in row.estimate if math.isfinite(end)]
    low, high = min([*ends, overall.value]), max([*ends, overall.value])
    room = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
    low, high = low - room, high + room

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (RIGHT - LEFT)

    drawn, y = list[str](), 6.0
    for kind, rows in groups:
        y += ROW
        drawn.append(f'<text x="0" y="{y:.0f}" class="note strong">{text(kind)}</text>')
        for row in rows:
            y += ROW
            name = row.name if len(row.name) <= 20 else row.name[:19] + "…"
            value, mean = row.estimate.value, f"{row.name}: {_interval(row.estimate)}, {row.num:,} exchanges"
            drawn.append(f'<text x="0" y="{y:.0f}">{text(name)}</text>')
            drawn.append(f'<text x="{LEFT - 8}" y="{y:.0f}" class="end">{_short(row.num)}</text>')
            if math.isfinite(value):
                ends_of = [end if math.isfinite(end) else value for end in row.estimate[1:]]
                drawn.append(
                    f'<g><title>{text(mean)}</title><line class="whisker" x1="{x(ends_of[0]):.1f}" '
                    f'x2="{x(ends_of[1]):.1f}" y1="{y - 4:.0f}" y2="{y - 4:.0f}"/>'
                    f'<circle class="train" cx="{x(value):.1f}" cy="{y - 4:.0f}" r="3.6"/></g>'
                )
            drawn.append(f'<text x="{WIDTH}" y="{y:.0f}" class="end">{shown(value)}</text>')
        y += 5
    if math.isfinite(overall.value):
        here = x(overall.value)
        drawn.insert(0, f'<line class="limit" x1="{here:.1f}" x2="{here:.1f}" y1="14" y2="{y:.0f}"/>')
        drawn.append(f'<text x="{here:.1f}" y="10" class="tick">all {shown(overall.value)}</text>')
    return _svg(y + 4, f"{title}, slice by slice", drawn)


def difference(paired: Paired) -> Html:
    """Where the interval lies beside 0, for a cell of a table. Each has a scale of its own."""
    most = max(abs(paired.low), abs(paired.high), abs(paired.difference))
    if not math.isfinite(most) or most == 0:
        return Html("")
    ends = [60 + 54 * end / most for end in (paired.low, paired.difference, paired.high)]
    return Html(
        '<svg viewBox="0 0 120 16" class="small" aria-hidden="true"><line class="axis" x1="60" x2="60" y1="0" y2="16"/>'
        f'<line class="whisker" x1="{ends[0]:.1f}" x2="{ends[2]:.1f}" y1="8" y2="8"/>'
        f'<circle class="train" cx="{ends[1]:.1f}" cy="8" r="3.6"/></svg>'
    )


def lengths(human: Sequence[int], models: Sequence[tuple[str, Sequence[int]]]) -> Html:
    """How many replies have each number of words: bars for people's, a line for each model's."""
    longest = max(len(human), *(len(counts) for _, counts in models))
    total = sum(human)
    if not total:
        return Html("<p class=quiet>Nothing to show.</p>")
    last = min(longest, _length_at([human, *(counts for _, counts in models)], 0.99) + 1)
    shares = [_shares(counts, last) for counts in (human, *(counts for _, counts in models))]
    most, step = max(max(of) for of in shares), (WIDTH - 16) / last
    drawn = ['<line class="axis" x1="8" x2="392" y1="160" y2="160"/>']
    for length, share in enumerate(shares[0]):
        tall = 126 * share / most
        of_models = zip(models, shares[1:], strict=True)
        says = "".join(f", {name} {percent(of[length])}" for (name, _), of in of_models)
        drawn.append(
            f'<rect class="out" x="{8 + length * step:.1f}" y="{160 - tall:.1f}" width="{max(step - 1, 1):.1f}" '
            f'height="{tall:.1f}" rx="1"><title>{_words(length, last)}: people {percent(share)}{text(says)}</title>'
            "</rect>"
        )
    for place, of in enumerate(shares[1:]):
        corners = []
        for length, share in enumerate(of):
            y = 160 - 126 * share / most
            corners += [f"{8 + length * step:.1f},{y:.1f}", f"{8 + (length + 1) * step:.1f},{y:.1f}"]
        drawn.append(f'<polyline class="curve {"second" if place else ""}" points="{" ".join(corners)}"/>')
    tick = max(1, round(last / 6))
    for length in range(0, last, tick):
        name = f"{length}+" if length == last - 1 and longest > last else f"{length}"
        drawn.append(f'<text x="{8 + (length + 0.5) * step:.1f}" y="176" class="tick">{name}</text>')
    return _svg(180, "Words of replies: people's and the model's", drawn)


def _words(length: int, last: int) -> str:
    return f"{length} or more words" if length == last - 1 else "1 word" if length == 1 else f"{length} words"


def _shares(counts: Sequence[int], last: int) -> list[float]:
    """Of each length below `last`; the longer ones share the last place."""
    total = sum(counts) or 1
    kept = [*counts[:last], *[0] * max(0, last - len(counts))]
    kept[-1] += sum(counts[last:])
    return [count / total for count in kept]


def _length_at(all_counts: Sequence[Sequence[int]], share: float) -> int:
    """The least length that this share of the replies does not pass, in any of them."""
    found = 0
    for counts in all_counts:
        met = 0
        for length, count in enumerate(counts):
            met += count
            if met >= share * sum(counts):
                found = max(found, length)
                break
    return found


def _interval(estimate: Estimate) -> str:
    return f"{shown(estimate.value)} ({shown(estimate.low)} to {shown(estimate.high)})"


def _short(num: int) -> str:
    return f"{num:,}" if num < 10_000 else f"{num / 1000:,.0f} k"


def _svg(height: float, title: str, drawn: Sequence[str]) -> Html:
    return Html(
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{text(title)}"><title>{text(title)}</title>'
        f"{''.join(drawn)}</svg>"
    )
