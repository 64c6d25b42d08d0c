"""The figures of one checkpoint, or of two, in; the page out: one HTML text that loads nothing and runs nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from rejoinder.evaluation.bootstrap import Estimate, Paired
from rejoinder.evaluation.metrics import FIGURES
from rejoinder.evaluation.report.drawing import Row, difference, forest, lengths, shown, signed
from rejoinder.evaluation.results import Evaluation, Section
from rejoinder.evaluation.speed import TITLES as SPEED_TITLES
from rejoinder.shards.report import CSS, Html, figure, file_text, folded, number, said, section, table, text, tiles

_CSS = """
svg.small { width: 7.5rem; display: inline-block; vertical-align: middle; }
.whisker { stroke: var(--train); stroke-width: 2; }
svg .second { stroke: var(--valid); }
svg .note.strong { font-weight: 600; fill: var(--ink); }
table.differences th:first-child { min-width: 9rem; }
table.differences .key { margin: 0; }
.talk .second { background: var(--tint); outline: 1.5px solid var(--valid); align-self: flex-end; }
.talk .person { align-self: flex-end; }
.who { display: block; font-size: .78rem; color: var(--quiet); }
.better { color: var(--valid); font-weight: 600; }
.worse { color: var(--deep); font-weight: 600; }
"""
TILES = ("bits_per_byte", "perplexity", "bleu", "word_f1", "distinct_2", "first_token_ms_median")
PLOTTED = ("bits_per_byte", "bleu", "chrf", "word_f1", "distinct_2", "length")


class Measurement(NamedTuple):
    """A checkpoint's name and what was measured of it."""

    name: str
    evaluation: Evaluation


def render(of: Measurement, about: dict[str, Any]) -> str:
    """The page of one checkpoint. `about` are the settings that the figures depend on."""
    evaluation = of.evaluation
    parts = [
        ("Figures", _figures(evaluation)),
        ("Slices", _slices(evaluation)),
        ("Lengths, and what is said most", _replies([of])),
        ("Samples", _samples([of])),
        *((section.title, section.html) for section in evaluation.sections),
        ("How it was measured", _how(evaluation, about)),
    ]
    head = f"<h1>{_main(evaluation)}</h1><p class=quiet>{_counts(evaluation)}</p>"
    return _page(f"Evaluation of {of.name}", of.name, head + _tiles(evaluation), parts)


def render_comparison(
    first: Measurement, second: Measurement, differences: dict[str, Paired], about: dict[str, Any],
    sections: Sequence[Section] = (),
) -> str:  # fmt: skip
    """The page of two checkpoints on the same exchanges."""
    parts = [
        ("Differences", _differences(first, second, differences)),
        ("Side by side", _samples([first, second])),
        ("Lengths, and what is said most", _replies([first, second])),
        *((section.title, section.html) for section in sections),
        ("How it was measured", _how(first.evaluation, about)),
    ]
    head = (
        f"<h1>{_verdict(first, second, differences)}</h1><p class=quiet>{_counts(first.evaluation)}</p>"
        f"<p><span class='key fill-train'></span>{text(first.name)} &emsp; <span class='key fill-valid'></span>"
        f"{text(second.name)}</p>"
    )
    return _page(f"{first.name} against {second.name}", "two models on the same exchanges", head, parts)


def _page(title: str, name: str, head: str, parts: Sequence[tuple[str, str]]) -> str:
    links = "".join(f'<a href="#part-{place}">{text(part)}</a>' for place, (part, _) in enumerate(parts))
    sections = "".join(section(f"part-{place}", part, html) for place, (part, html) in enumerate(parts))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{CSS}{_CSS}</style></head><body>"
        f"<header><p class=quiet>Evaluation · <code>{text(name)}</code></p>{head}"
        f'<nav aria-label="Parts of this page">{links}</nav></header><main>{sections}</main>'
        "<footer>Intervals hold 95 of 100 figures of conversations drawn anew (bootstrap). The same figures are in the "
        "JSON file beside this page.</footer></body></html>\n"
    )
    return page.encode("utf-8", errors="replace").decode()  # what people said may hold half an emoji


def _main(evaluation: Evaluation) -> Html:
    of = evaluation.figures["bits_per_byte"]
    return Html(f"<em>{shown(of.value)} bits per byte</em> on the {text(evaluation.split)} split{_between(of)}")


def _between(of: Estimate) -> str:
    return f", between {shown(of.low)} and {shown(of.high)}" if math.isfinite(of.low) else ""


def _counts(evaluation: Evaluation) -> str:
    if evaluation.num_replies == evaluation.num_exchanges:
        return f"{evaluation.num_exchanges:,} exchanges, all of them replied to."
    return (
        f"{evaluation.num_exchanges:,} exchanges, of which the loss is; replies to {evaluation.num_replies:,} of them, "
        "drawn by a hash that is the same for every model."
    )


def _tiles(evaluation: Evaluation) -> Html:
    known = evaluation.figures | evaluation.speed
    return tiles([(shown(known[name].value), _title(name)) for name in TILES if name in known])


def _title(name: str) -> str:
    return SPEED_TITLES.get(name) or FIGURES[name].title


def _group(name: str) -> str:
    if name in SPEED_TITLES:
        return "Speed of model and engine, one core or GPU"
    if name in ("loss", "perplexity", "bits_per_byte"):
        return "What the model gives to people's replies"
    return "Of the replies alone" if FIGURES[name].is_alone else "Replies against people's"


def _arrow(name: str) -> str:
    better = FIGURES[name].better if name in FIGURES else -1 if "_ms_" in name else 1
    return {1: " ↑", -1: " ↓", 0: ""}[better]


def _figures(evaluation: Evaluation) -> str:
    known = evaluation.figures | evaluation.speed
    parts = [
        "<p class=quiet>↑ higher is better, ↓ lower is better. What people's own replies have is a mark to aim at."
    ]
    for group, names in _grouped(list(known)):
        rows = []
        for name in names:
            of = known[name]
            human = evaluation.human.get(name)
            interval = f"{shown(of.low)} to {shown(of.high)}" if math.isfinite(of.low) else "–"
            rows.append([_title(name) + _arrow(name), shown(of.value), interval, shown(human.value) if human else ""])
        has_human = any(row[3] for row in rows)
        head = ["", "model", "95 in 100", "people" if has_human else ""]
        parts.append(f"<h3>{text(group)}</h3>{table(head, rows)}")
    return "".join(parts)


def _grouped(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_group(name), []).append(name)
    return sorted(groups.items(), key=lambda item: ["What", "Replies", "Of", "Speed"].index(item[0].split()[0]))


def _slices(evaluation: Evaluation) -> str:
    drawn = []
    for name in PLOTTED:
        if name not in evaluation.figures:
            continue
        groups: dict[str, list[Row]] = {}
        for of in evaluation.slices:
            num = of.num_exchanges if _group(name).startswith("What") else of.num_replies
            if name in of.figures:
                groups.setdefault(of.kind, []).append(Row(of.name, num, of.figures[name]))
        plot = forest(_title(name), evaluation.figures[name], list(groups.items()))
        drawn.append(figure(_title(name) + _arrow(name), plot))
    names = list(evaluation.figures)
    rows = [
        [f"{of.kind}: {of.name}", number(of.num_exchanges), number(of.num_replies)]
        + [shown(of.figures[name].value) if name in of.figures else "–" for name in names]
        for of in evaluation.slices
    ]
    every = table(["", "exchanges", "replies", *(_title(name) for name in names)], rows)
    return (
        "<p class=quiet>A line is the interval of a slice, the broken line all exchanges together; the number beside a "
        "name counts the slice's exchanges. Distinct-n falls with their number, so small slices have more of it.</p>"
        f"<div class=side>{''.join(drawn)}</div>{folded('Every figure of every slice', every)}"
    )


def _replies(of: Sequence[Measurement]) -> str:
    names = [one.name for one in of] if len(of) > 1 else ["the model"]
    plot = lengths(
        of[0].evaluation.lengths.get("human", []),
        [(name, one.evaluation.lengths.get("model", [])) for name, one in zip(names, of, strict=True)],
    )
    keys = "".join(
        f"<span class='key fill-{kind}'></span>{text(name)} &emsp; "
        for kind, name in zip(("out", "train", "valid"), ("people", *names), strict=False)
    )
    parts: list[str] = [figure("Words of a reply", f"<p>{keys}</p>{plot}")]
    for name, one in zip(names, of, strict=True):
        num = one.evaluation.num_replies or 1
        rows = [[said(reply), f"{count:,}", f"{100 * count / num:.1f} %"] for reply, count in one.evaluation.said_most]
        parts.append(f"<div><h3>What {text(name)} says most</h3>{table(['reply', 'times', ''], rows, 'replies')}</div>")
    return f"<div class=side>{''.join(parts)}</div>"


def _samples(of: Sequence[Measurement]) -> str:
    talks = []
    for samples in zip(*(one.evaluation.samples for one in of), strict=False):
        turns = "".join(f"<p class=other>{said(turn)}</p>" for turn in samples[0].context.splitlines())
        replies = "".join(
            f"<p class={kind}><span class=who>{text(one.name if len(of) > 1 else 'model')}</span>"
            f"{said(sample.model_reply)}</p>"
            for kind, one, sample in zip(("reply", "second"), of, samples, strict=False)
        )
        person = f"<p class=person><span class=who>person</span>{said(samples[0].reply)}</p>"
        talks.append(f"<article class=talk>{turns}{person}{replies}</article>")
    if not talks:
        return "<p class=quiet>None were asked for: evaluation.num_samples is 0.</p>"
    return f"<div class=talks>{''.join(talks)}</div>"


def _differences(first: Measurement, second: Measurement, differences: dict[str, Paired]) -> str:
    parts = [
        f"<p>{text(first.name)} minus {text(second.name)}, on the same exchanges, conversations drawn in pairs. p is "
        "how probable a difference this large would be if there were none. Among twenty figures one falls below 0.05 "
        "by chance: decide beforehand which one you look at.</p>"
    ]
    for group, names in _grouped(list(differences)):
        rows = []
        for name in names:
            of = differences[name]
            like = max(abs(of.low), abs(of.high), abs(of.difference)) if math.isfinite(of.low) else abs(of.difference)
            rows.append(
                [
                    _title(name) + _arrow(name),
                    shown(first.evaluation.figures[name].value),
                    shown(second.evaluation.figures[name].value),
                    Html(f"<span class='{_better(name, of)}'>{signed(of.difference, like)}</span>"),
                    f"{signed(of.low, like)} to {signed(of.high, like)}" if math.isfinite(of.low) else "–",
                    difference(of),
                    f"{of.p:.3f}" if math.isfinite(of.p) else "–",
                ]
            )
        keys = [Html(f"<span class='key fill-{kind}'></span>") for kind in ("train", "valid")]
        head = ["", *keys, "difference", "95 in 100", "", "p"]
        parts.append(f"<h3>{text(group)}</h3>{table(head, rows, 'differences')}")
    return "".join(parts)


def _better(name: str, of: Paired) -> str:
    """A class of the style sheet, where the difference is larger than chance."""
    if not of.p < 0.05 or not FIGURES[name].better:
        return ""
    return "better" if of.difference * FIGURES[name].better > 0 else "worse"


def _verdict(first: Measurement, second: Measurement, differences: dict[str, Paired]) -> Html:
    of = differences["bits_per_byte"]
    like = max(abs(of.difference), 1e-9)
    if not of.p < 0.05:
        return Html(f"No difference in bits per byte is seen ({signed(of.difference, like)})")
    who = first.name if of.difference < 0 else second.name
    return Html(f"<em>{text(who)}</em> is better by {signed(abs(of.difference), like)[1:]} bits per byte")


def _how(evaluation: Evaluation, about: dict[str, Any]) -> str:
    signatures = [[name, said(signature)] for name, signature in evaluation.signatures.items()]
    settings = json.dumps(about, indent=1, ensure_ascii=False)
    return (
        f"<p>{text(_counts(evaluation))} A person's reply is what the model learns of it: cleaned, and cut at "
        "<code>text.max_reply_tokens</code>. Intervals and p-values are from conversations drawn anew, since exchanges "
        "of one conversation are alike.</p>"
        f"<h3>What others need to get the same figures</h3>{table(['metric', ''], signatures, 'replies')}"
        f"{folded('Settings', file_text(settings))}"
    )
