"""Counts in, SVG out. All are 400 units wide, a phone's width, so that letters can be read there too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rejoinder.shards.report.markup import Html, percent, text

WIDTH = 400
NUM_BARS = 44


class Branch(NamedTuple):
    """Where a share of a flow goes."""

    name: str
    size: int
    kind: str
    """A class of the style sheet: train, valid, test or out."""


def histogram(counts: Sequence[int], unit: str, limit: int | None = None) -> Html:
    """How many rows have each length, from 0 up; the longest hundredth of a long tail shares the last bar."""
    total = sum(counts)
    if not total:
        return Html("<p class=quiet>Nothing to show.</p>")
    last = _length_at(counts, 0.99) if len(counts) > 4 * _length_at(counts, 0.9) else len(counts) - 1
    first = next(length for length, count in enumerate(counts) if count)
    per_bar = max(1, math.ceil((last - first + 1) / NUM_BARS))
    starts = list(range(first, last + 1, per_bar))
    ends = [*starts[1:], len(counts)]
    bars = [sum(counts[start:end]) for start, end in zip(starts, ends, strict=True)]
    has_tail, floor, height, step = last < len(counts) - 1, 160, 126, (WIDTH - 16) / len(bars)

    def x_of(length: float) -> float:
        return 8 + (length - first) / per_bar * step

    drawn = [f'<line class="axis" x1="8" x2="{WIDTH - 8}" y1="{floor}" y2="{floor}"/>']
    for place, (start, end, count) in enumerate(zip(starts, ends, bars, strict=True)):
        tall = max(height * count / max(bars), 1.5 if count else 0)
        is_tail = has_tail and place == len(bars) - 1
        name = f"{start:,} or more" if is_tail else f"{start:,}" if end == start + 1 else f"{start:,} to {end - 1:,}"
        drawn.append(
            f'<rect class="{"tail" if is_tail else "train"}" x="{8 + place * step:.1f}" y="{floor - tall:.1f}" '
            f'width="{max(step - 1.5, 1):.1f}" height="{tall:.1f}" rx="1"><title>{name} {unit}: {count:,} '
            f"({percent(count / total)})</title></rect>"
        )
    tick = _round_step((last - first + 1) / 6)
    for length in range(-(-first // tick) * tick, last + 1, tick):
        middle = x_of(length) + (step / 2 if per_bar == 1 else 0)
        drawn.append(f'<text x="{middle:.1f}" y="{floor + 16}" class="tick">{length:,}</text>')
    median, high = _length_at(counts, 0.5), _length_at(counts, 0.95)
    says = f"half have up to {median:,}, 95 of 100 up to {high:,}"
    if limit and first <= limit <= last + 1:
        x = min(x_of(limit) + (step if per_bar == 1 else step / 2), WIDTH - 4)
        drawn.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="22" y2="{floor}"/>')
        drawn.append(f'<text x="{min(x + 2, WIDTH - 2):.1f}" y="16" class="limit end">cut at {limit:,}</text>')
    drawn.append(f'<text x="8" y="16" class="note">{says}</text>')
    return _svg(180, f"Histogram of {total:,} by {unit}: {says}", drawn)


def flow(total_name: str, branches: Sequence[Branch]) -> Html:
    """Where everything on the left goes: a band for each branch, as thick as its share."""
    shown = [branch for branch in branches if branch.size]
    total = sum(branch.size for branch in shown)
    if not total:
        return Html("<p class=quiet>Nothing to show.</p>")
    full, gap, slot, left, right = 250.0, 6.0, 34.0, 14, 150
    talls = [max(full * branch.size / total, 2) for branch in shown]
    slots = [max(tall, slot) for tall in talls]
    height = sum(slots) + gap * (len(slots) - 1) + 30
    source, target = 30 + (height - 30 - sum(talls)) / 2, 30.0
    drawn = [
        f'<text x="0" y="16" class="strong">{total:,}</text>',
        f'<text x="{8 * len(f"{total:,}") + 6}" y="16">{text(total_name)}</text>',
        f'<rect class="source" x="0" y="{source:.1f}" width="{left}" height="{sum(talls):.1f}" rx="2"/>',
    ]
    for branch, tall, room in zip(shown, talls, slots, strict=True):
        top, mid = target + (room - tall) / 2, (left + right) / 2
        says = f"{branch.name}: {branch.size:,} ({percent(branch.size / total)})"
        drawn.append(
            f'<path class="band {branch.kind}" d="M{left} {source:.1f}C{mid} {source:.1f} {mid} {top:.1f} {right} '
            f"{top:.1f}V{top + tall:.1f}C{mid} {top + tall:.1f} {mid} {source + tall:.1f} {left} {source + tall:.1f}"
            f'Z"><title>{text(says)}</title></path>'
            f'<rect class="{branch.kind}" x="{right}" y="{top:.1f}" width="8" height="{tall:.1f}" rx="1"/>'
        )
        y = target + room / 2
        drawn.append(
            f'<text x="{right + 16}" y="{y - 2:.1f}" class="strong">{branch.size:,} <tspan class="quiet">'
            f'{percent(branch.size / total)}</tspan></text><text x="{right + 16}" y="{y + 13:.1f}">'
            f"{text(branch.name)}</text>"
        )
        source, target = source + tall, target + room + gap
    return _svg(height, f"Of {total:,} {total_name}: " + "; ".join(f"{b.name} {b.size:,}" for b in shown), drawn)


def rank_plot(ranks: Sequence[tuple[int, int, str | None]]) -> Html:
    """Zipf's picture: how often the token of each rank stands, both on logarithmic axes."""
    if not ranks:
        return Html("<p class=quiet>Nothing to show.</p>")
    wide = max(1, math.ceil(math.log10(ranks[-1][0])))
    tall = max(1, math.ceil(math.log10(ranks[0][1])))

    def place(rank: float, count: float) -> tuple[float, float]:
        return 46 + math.log10(rank) / wide * (WIDTH - 56), 222 - math.log10(max(count, 1)) / tall * 186

    drawn = []
    for decade in range(wide + 1):
        x, _ = place(10**decade, 1)
        drawn.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="36" y2="222"/>')
        drawn.append(
            f'<text x="{x:.1f}" y="238" class="tick {"end" if decade == wide else ""}">{_short(decade)}</text>'
        )
    for decade in range(tall + 1):
        _, y = place(1, 10**decade)
        drawn.append(f'<line class="grid" x1="46" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="40" y="{y + 4:.1f}" class="end">{_short(decade)}</text>')
    highest = ranks[0][1]
    until = min(10**wide, highest)
    (x1, y1), (x2, y2) = place(1, highest), place(until, highest / until)
    drawn.append(f'<line class="reference" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    points = [place(rank, count) for rank, count, _ in ranks]
    drawn.append(f'<polyline class="curve" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
    for (x, y), (rank, count, token) in zip(points, ranks, strict=True):
        drawn.append(
            f'<circle class="train" cx="{x:.1f}" cy="{y:.1f}" r="{2 if token is None else 4}">'
            f"<title>rank {rank:,}: {count:,} times</title></circle>"
        )
        if token is not None:
            short = token if len(token) <= 14 else token[:13] + "…"
            drawn.append(f'<text x="{x + 7:.1f}" y="{y - 6:.1f}" class="token">{text(short)}</text>')
    drawn.append(f'<text x="{WIDTH - 10}" y="254" class="end note">rank of the token</text>')
    drawn.append('<text x="4" y="10" class="note">times it is said</text>')
    return _svg(258, f"Token frequencies by rank, from {highest:,} times down to {ranks[-1][1]:,}", drawn)


def _svg(height: float, title: str, drawn: Sequence[str]) -> Html:
    return Html(
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{text(title)}"><title>{text(title)}</title>'
        f"{''.join(drawn)}</svg>"
    )


def _length_at(counts: Sequence[int], share: float) -> int:
    """The least length that this share of the rows does not pass."""
    wanted, met = share * sum(counts), 0
    for length, count in enumerate(counts):
        met += count
        if met >= wanted:
            return length
    return max(len(counts) - 1, 0)


def _round_step(least: float) -> int:
    size = 10 ** max(0, math.floor(math.log10(max(least, 1))))
    return next(size * times for times in (1, 2, 5, 10) if size * times >= least)


def _short(decade: int) -> str:
    return f"{10 ** (decade % 3)}{('', 'k', 'M', 'G')[decade // 3]}"
