"""Values in, harmless HTML out: every text that reaches the page goes through `text` or `said`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple


class Html(str):
    """HTML that may stand as it is; any other string is text."""

    __slots__ = ()


class Bar(NamedTuple):
    """A cell with a bar in it."""

    share: float
    """Of the cell's width, from 0 to 1."""
    kind: str = "train"


_PICTURES = {code: 0x2400 + code for code in range(32)} | {127: 0x2421}
# Characters that turn the direction of what follows, and could make a page say something else than is in it.
_PICTURES |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def text(value: object) -> Html:
    """Escaped; control characters become pictures of themselves."""
    return value if isinstance(value, Html) else Html(html.escape(str(value).translate(_PICTURES)))


def file_text(value: str) -> Html:
    """A file's text as it stands, to be copied."""
    return Html(f"<pre>{chr(10).join(map(text, value.splitlines()))}</pre>")


def said(value: str) -> Html:
    """What a person said, in a box of its own: writing from right to left stays inside."""
    return Html(f"<bdi class=said>{text(value) if value else '<i>nothing</i>'}</bdi>")


def changed(before: str, after: str) -> Html:
    """Two texts as one, what went struck out and what came marked."""
    if not after:
        return said(before)
    shorter = min(len(before), len(after))
    start = next((place for place in range(shorter) if before[place] != after[place]), shorter)
    rest = shorter - start
    end = next((place for place in range(rest) if before[-1 - place] != after[-1 - place]), rest)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    middle = (f"<del>{text(old)}</del>" if old else "") + (f"<ins>{text(new)}</ins>" if new else "")
    return Html(f"<bdi class=said>{text(before[:start])}{middle}{text(before[len(before) - end :])}</bdi>")


def identifier(name: str) -> Html:
    """A name that may be broken after its underscores."""
    return Html(text(name).replace("_", "_<wbr>"))


def number(value: float) -> Html:
    """1,234; 12.3 M."""
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if value >= size:
            return Html(f'<span title="{value:,.0f}">{value / size:.3g} {unit}</span>')
    return Html(f"{value:,.0f}" if value == int(value) else f"{value:,.2f}")


def percent(share: float) -> str:
    """12 %, 1.2 %, 0.12 %; what is not nothing is not shown as nothing."""
    if share == 0 or share >= 0.1:
        return f"{share:.0%}".replace("%", " %")
    return "<0.01 %" if share < 0.0001 else f"{100 * share:#.2g} %"


def table(head: Sequence[str], rows: Sequence[Sequence[object]], kind: str = "") -> Html:
    """A row's first cell is its name."""
    lines = "".join(f"<tr>{''.join(_cell(cell, first=not place) for place, cell in enumerate(row))}" for row in rows)
    tops = "".join(f"<th scope=col>{text(cell)}" for cell in head)
    top = f"<thead><tr>{tops}</thead>" if any(head) else ""
    return Html(f"<div class=scroll><table class='{kind}'>{top}<tbody>{lines}</tbody></table></div>")


def _cell(cell: object, *, first: bool) -> str:
    if isinstance(cell, Bar):
        return f"<td class=bar><i class=fill-{cell.kind} style='width:{100 * min(cell.share, 1):.2f}%'></i></td>"
    return f"<th scope=row>{text(cell)}</th>" if first else f"<td>{text(cell)}</td>"


def folded(title: object, *inside: str, count: object = "", is_open: bool = False) -> Html:
    """What opens and closes when it is asked to."""
    label = f" <span class=count>{text(count)}</span>" if count != "" else ""
    return Html(
        f"<details{' open' if is_open else ''}><summary>{text(title)}{label}</summary>{''.join(inside)}</details>"
    )


def bullets(items: Sequence[str]) -> Html:
    """A list of what people said or of what was met."""
    return Html(f"<ul>{''.join(f'<li>{text(item)}' for item in items)}</ul>")


def section(name: str, title: str, *inside: str) -> Html:
    """A part of the page."""
    return Html(
        f"<section id={name} aria-labelledby={name}-h><h2 id={name}-h>{text(title)}</h2>{''.join(inside)}</section>"
    )


def figure(caption: str, drawing: str) -> Html:
    """A drawing and what it shows."""
    return Html(f"<figure><figcaption>{text(caption)}</figcaption>{drawing}</figure>")


def tiles(of: Sequence[tuple[str, str]]) -> Html:
    """Large values, each with what it is of."""
    made = "".join(f"<div><b>{text(value)}</b><span>{text(what)}</span></div>" for value, what in of)
    return Html(f"<div class=tiles>{made}</div>")
