"""A prepared set in, a page to look at out: what is in it, what was left out, and what the model will see.

One self-contained HTML file, and the same figures as JSON, beside the manifest. Written when the set is made.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from rejoinder.shards.manifest import Manifest
from rejoinder.shards.shard_set import ShardSet
from rejoinder.storage import write_text_whole
from rejoinder.text import SPLITS, Tokenizer

PAGE, FIGURES = "report.html", "report.json"
NUM_REPLIES, NUM_SAMPLES, NUM_BARS = 20, 10, 40


def write_report(directory: Path) -> None:
    """Writes report.html and report.json of the set in this directory, whose manifest stands."""
    figures = measure(directory)
    write_text_whole(directory / FIGURES, json.dumps(figures, indent=1, ensure_ascii=False))
    write_text_whole(directory / PAGE, render(figures))


def measure(directory: Path) -> dict[str, Any]:
    """Everything the page shows, as plain values."""
    sets = {split: ShardSet(directory, split) for split in SPLITS}
    manifest, tokenizer = sets["train"].manifest, sets["train"].tokenizer()
    return {
        "fingerprint": manifest.fingerprint,
        "corpora": [file.model_dump() for file in manifest.corpora],
        "settings": manifest.settings,
        "splits": {split: _counts(manifest, split) for split in SPLITS},
        "left_out": {
            "conversations nobody replied in": manifest.num_unanswered,
            "broken records": manifest.num_broken,
            "leaks between splits": manifest.num_leaks,
            "duplicates within a split": manifest.num_duplicates,
            "replies learnt often enough": manifest.num_capped_replies,
        },
        "left_out_examples": {"broken": manifest.first_broken} | manifest.left_out_examples,
        "context_lengths": _histogram(sets["train"].context_lengths),
        "reply_lengths": _histogram(sets["train"].reply_lengths),
        "vocabulary": _vocabulary(sets["train"], tokenizer),
        "top_replies": _top_replies(sets["train"], tokenizer),
        "samples": _samples(sets["train"], tokenizer),
    }


def _counts(manifest: Manifest, split: str) -> dict[str, int]:
    names = ("num_exchanges", "num_context_tokens", "num_reply_tokens", "num_reply_bytes")
    return {name: manifest.total(split, name) for name in names} | {"num_shards": len(manifest.splits[split])}


def _histogram(lengths: Any) -> list[int]:
    """How many rows have each length, from 0 up."""
    return [int(count) for count in np.bincount(lengths)]


def _vocabulary(train: ShardSet, tokenizer: Tokenizer) -> dict[str, Any]:
    counts = np.zeros(tokenizer.num_ids, np.int64)
    for replies in _in_pieces(train):
        counts += np.bincount(np.concatenate(replies), minlength=tokenizer.num_ids)
    num_tokens, num_bytes = int(counts.sum()), int(train.reply_num_bytes.sum())
    return {
        "num_ids": tokenizer.num_ids,
        "num_ids_in_replies": int((counts > 0).sum()),
        "num_ids_said_fewer_than_10_times": int((counts < 10).sum()),
        "bytes_per_token": round(num_bytes / num_tokens, 3),
    }


def _top_replies(train: ShardSet, tokenizer: Tokenizer) -> list[tuple[str, int]]:
    counts: Counter[bytes] = Counter()
    for replies in _in_pieces(train):
        counts.update(ids.tobytes() for ids in replies)
    return [
        (tokenizer.to_text(np.frombuffer(ids, np.int32).tolist()), count)
        for ids, count in counts.most_common(NUM_REPLIES)
    ]


def _samples(train: ShardSet, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    numbers = np.random.default_rng(0).choice(len(train), size=min(NUM_SAMPLES, len(train)), replace=False)
    return [
        {
            "conversation": train.conversation_id(number),
            "context": tokenizer.with_markers(train.rows(np.array([number])).context_ids[0].tolist()),
            "reply": tokenizer.with_markers(train.rows(np.array([number])).reply_ids[0].tolist()),
        }
        for number in numbers.tolist()
    ]


def _in_pieces(train: ShardSet, num_rows: int = 8_192) -> Any:
    """The replies of a split, some thousands at a time."""
    for start in range(0, len(train), num_rows):
        yield train.rows(np.arange(start, min(start + num_rows, len(train)))).reply_ids


def render(figures: dict[str, Any]) -> str:
    """The page."""
    splits, vocabulary = figures["splits"], figures["vocabulary"]
    columns = ("num_exchanges", "num_context_tokens", "num_reply_tokens", "num_reply_bytes", "num_shards")
    return _PAGE.format(
        fingerprint=figures["fingerprint"],
        splits=_table(
            ["split", *(name.removeprefix("num_").replace("_", " ") for name in columns)],
            [[split, *(f"{splits[split][name]:,}" for name in columns)] for split in splits],
        ),
        left_out=_table(["left out", "number"], [[what, f"{count:,}"] for what, count in figures["left_out"].items()]),
        examples="".join(
            f"<h3>{html.escape(what)}</h3><ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"
            for what, lines in figures["left_out_examples"].items()
            if lines
        ),
        contexts=_bars(figures["context_lengths"]),
        replies=_bars(figures["reply_lengths"]),
        vocabulary=_table(["vocabulary", ""], [[name.replace("_", " "), f"{n:,}"] for name, n in vocabulary.items()]),
        top=_table(["reply", "times"], [[text, f"{count:,}"] for text, count in figures["top_replies"]]),
        samples=_table(
            ["context, as the model reads it", "reply"], [[one["context"], one["reply"]] for one in figures["samples"]]
        ),
        corpora=_table(["reader", "file", "sha256"], [list(file.values()) for file in figures["corpora"]]),
        settings=html.escape(json.dumps(figures["settings"], indent=1, ensure_ascii=False)),
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _bars(counts: list[int]) -> str:
    """A histogram as SVG: at most NUM_BARS bars, the lengths they stand for below."""
    per_bar = max(1, -(-len(counts) // NUM_BARS))
    bars = [sum(counts[start : start + per_bar]) for start in range(0, len(counts), per_bar)]
    width, height, highest = 640, 140, max(bars, default=0) or 1
    step = width / max(1, len(bars))
    drawn = []
    for number, count in enumerate(bars):
        tall, left, first = height * count / highest, number * step, number * per_bar
        name = f"{first}" if per_bar == 1 else f"{first} to {first + per_bar - 1}"
        drawn.append(
            f'<rect x="{left:.1f}" y="{height - tall:.1f}" width="{step * 0.85:.1f}" height="{tall:.1f}">'
            f"<title>{name} tokens: {count:,}</title></rect>"
        )
        if number % max(1, len(bars) // 10) == 0:
            drawn.append(f'<text x="{left + step * 0.42:.1f}" y="{height + 16}">{first}</text>')
    top = f'<text x="{width + 6}" y="10" class="scale">{highest:,}</text>'
    return f'<svg viewBox="0 0 {width + 80} {height + 24}" role="img">{"".join(drawn)}{top}</svg>'


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Prepared set {fingerprint}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #20242a; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }} h3 {{ font-size: 1rem; }}
table {{ border-collapse: collapse; margin: .5rem 0; }}
th, td {{ text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e5e0d5; vertical-align: top; }}
td:not(:first-child) {{ font-variant-numeric: tabular-nums; }}
svg {{ width: 100%; max-width: 45rem; }} rect {{ fill: #b5592a; }}
svg text {{ font-size: 11px; fill: #5b6470; text-anchor: middle; }} svg text.scale {{ text-anchor: start; }}
pre {{ background: #f4f1ea; padding: 1rem; overflow: auto; }}
</style>
<h1>Prepared set {fingerprint}</h1>
{splits}
<h2>Left out</h2>{left_out}{examples}
<h2>Context lengths in tokens (train)</h2>{contexts}
<h2>Reply lengths in tokens (train)</h2>{replies}
<h2>Vocabulary</h2>{vocabulary}
<h2>The most frequent replies (train)</h2>{top}
<h2>Exchanges, as the model sees them (train)</h2>{samples}
<h2>Corpora</h2>{corpora}
<h2>Settings</h2><pre>{settings}</pre>
</html>
"""
