"""A prepared set in, everything that its page shows out, as plain values.

Lengths and corpora come from the indexes, the rest from one pass over the shards' columns, some thousands of rows at a
time: a second for a million exchanges. Only what needs text looks at a sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rejoinder import catalog
from rejoinder.errors import RecipeError
from rejoinder.shards.index import open_batch
from rejoinder.shards.manifest import Manifest
from rejoinder.shards.report.row_keys import RowKeys
from rejoinder.shards.shard_set import ShardSet
from rejoinder.text import END_ID, NUM_CONTROL_IDS, SPLITS, TextStream, Tokenizer, measure_tokenizer

NUM_REPLIES, NUM_SAMPLES, NUM_RANKS = 20, 10, 80
NUM_TEXTS = 2_000
"""Replies that fertility and coverage are measured on: cutting a text anew costs 40 microseconds."""
RUN = 40
ROWS_AT_ONCE = 16_384

Array = np.ndarray[Any, np.dtype[Any]]


def measure(directory: Path) -> dict[str, Any]:
    """The figures. Holds up to 50 bytes of each training row, and the ids of some thousand rows at a time."""
    sets = {split: ShardSet(directory, split) for split in SPLITS}
    train, manifest = sets["train"], sets["train"].manifest
    tokenizer = train.tokenizer()
    columns = {split: _read(directory, manifest, split, tokenizer.num_ids) for split in SPLITS}
    return {
        "name": directory.name,
        "fingerprint": manifest.fingerprint,
        "splits": {
            split: {
                "num_conversations": columns[split].conversation_lengths.total(),
                **{name: manifest.total(split, name) for name in _TOTALS},
                "num_shards": len(manifest.splits[split]),
            }
            for split in SPLITS
        },
        "num_conversations": manifest.num_conversations,
        "num_turns": manifest.num_turns,
        "left_out": manifest.left_out,
        "left_in": manifest.left_in,
        "examples": manifest.examples,
        "cleaning": manifest.cleaning,
        "limits": {
            name: manifest.settings.get("text", {}).get(name)
            for name in ("max_context_tokens", "max_reply_tokens", "max_context_turns")
        },
        "context_lengths": np.bincount(train.context_lengths).tolist(),
        "reply_lengths": np.bincount(train.reply_lengths).tolist(),
        "num_cut_replies": columns["train"].num_cut_replies,
        "conversation_lengths": _filled(columns["train"].conversation_lengths),
        "top_replies": _top_replies(train, columns["train"].reply_keys, tokenizer),
        "vocabulary": _vocabulary(train, columns["train"].id_counts, tokenizer),
        "token_ranks": _ranks(columns["train"].id_counts, tokenizer),
        "samples": _samples(train, tokenizer),
        "corpora": _corpora(manifest, sets),
        "settings": manifest.settings,
    }


_TOTALS = ("num_exchanges", "num_context_tokens", "num_reply_tokens", "num_reply_bytes")


@dataclass
class _Columns:
    """What one pass over a split's shards finds."""

    id_counts: Array
    """How often each id stands in a reply."""
    reply_keys: Array
    """(N,) uint64; equal replies have equal keys."""
    num_cut_replies: int = 0
    conversation_lengths: Counter[int] = field(default_factory=Counter)
    """Conversations by the number of their exchanges."""


def _read(directory: Path, manifest: Manifest, split: str, num_ids: int) -> _Columns:
    found = _Columns(np.zeros(num_ids, np.int64), np.zeros(manifest.total(split, "num_exchanges"), np.uint64))
    keys, row, before, runs = RowKeys(num_ids), 0, None, [0]
    for shard in manifest.splits[split]:
        batch = open_batch(directory / shard.file)
        ids_of_rows = batch.column("conversation_id")
        lengths = _run_lengths(ids_of_rows)
        if len(lengths) and ids_of_rows[0].as_py() == before:  # it began in the shard before
            runs[-1] += lengths.pop(0)
        runs += lengths
        before = ids_of_rows[-1].as_py() if len(ids_of_rows) else before
        if split != "train":
            continue
        for ids, offsets in _pieces(batch.column("reply_ids")):
            found.id_counts += np.bincount(ids, minlength=num_ids)
            found.reply_keys[row : row + len(offsets) - 1] = keys.of(ids, offsets)
            found.num_cut_replies += int((ids[offsets[1:] - 1] != END_ID).sum())
            row += len(offsets) - 1
    found.conversation_lengths.update(runs[1:])
    return found


def _pieces(column: Any) -> Iterator[tuple[Array, Array]]:
    """(ids, offsets) of some thousands of rows at a time."""
    values = np.frombuffer(column.values.buffers()[1] or b"", np.int32)
    all_offsets = np.frombuffer(column.buffers()[1] or b"", np.int32)[column.offset :]
    for start in range(0, len(column), ROWS_AT_ONCE):
        offsets = all_offsets[start : min(start + ROWS_AT_ONCE, len(column)) + 1]
        yield values[offsets[0] : offsets[-1]], offsets - offsets[0]


def _run_lengths(ids: Any) -> list[int]:
    """Of the runs of equal ids: the exchanges of a conversation stand together."""
    if len(ids) == 0:
        return []
    import pyarrow.compute as pc

    differs = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    is_last = np.unpackbits(np.frombuffer(differs.buffers()[1] or b"", np.uint8), bitorder="little")
    ends = np.concatenate([np.flatnonzero(is_last[: len(ids) - 1]) + 1, [len(ids)]])
    return list(np.diff(ends, prepend=0).tolist())


def _filled(counts: Counter[int]) -> list[int]:
    return [counts[length] for length in range(max(counts, default=-1) + 1)]


def _top_replies(train: ShardSet, keys: Array, tokenizer: Tokenizer) -> dict[str, Any]:
    """The replies that stand most often, over all rows; those said equally often in the order of their keys."""
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.concatenate([[len(keys) > 0], ordered[1:] != ordered[:-1]]))
    counts = np.diff(starts, append=len(keys))
    most = np.argsort(-counts, kind="stable")[:NUM_REPLIES]
    first_rows = np.array([np.argmax(keys == key) for key in ordered[starts[most]]], np.int64)
    texts = [tokenizer.to_text(ids.tolist()) for ids in train.rows(first_rows).reply_ids] if len(first_rows) else []
    num_tokens = counts[most] * train.reply_lengths[first_rows]
    return {
        "replies": [list(pair) for pair in zip(texts, counts[most].tolist(), strict=True)],
        "share_of_exchanges": _share(int(counts[most].sum()), len(keys)),
        "share_of_reply_tokens": _share(int(num_tokens.sum()), int(train.reply_lengths.sum(dtype=np.int64))),
        "num_different": len(counts),
        "num_said_once": int((counts == 1).sum()),
    }


def _vocabulary(train: ShardSet, id_counts: Array, tokenizer: Tokenizer) -> dict[str, Any]:
    # In runs of neighbours: each shard that a row is read of stays mapped, and a large set has hundreds.
    starts = np.linspace(0, max(len(train) - RUN, 0), NUM_TEXTS // RUN).astype(np.int64)
    rows = np.unique(np.clip(starts[:, None] + np.arange(RUN), 0, max(len(train) - 1, 0))) if len(train) else starts[:0]
    texts = [tokenizer.to_text(ids.tolist()) for ids in train.rows(rows).reply_ids] if len(rows) else []
    of_sample, num_tokens = measure_tokenizer(tokenizer, texts), int(id_counts.sum())
    unknown = tokenizer.unknown_id
    return {
        "num_ids": tokenizer.num_ids - NUM_CONTROL_IDS,
        "num_ids_in_replies": int((id_counts[NUM_CONTROL_IDS:] > 0).sum()),
        "num_ids_said_fewer_than_10_times": int((id_counts[NUM_CONTROL_IDS:] < 10).sum()),
        "bytes_per_token": _share(int(train.reply_num_bytes.sum(dtype=np.int64)), num_tokens),
        "share_of_unknown_tokens": None if unknown is None else _share(int(id_counts[unknown]), num_tokens),
        "num_sampled_replies": len(texts),
        "tokens_per_word": round(of_sample.fertility, 4),
        "coverage": round(of_sample.coverage, 6),
    }


def _ranks(id_counts: Array, tokenizer: Tokenizer) -> list[list[Any]]:
    """[rank, count, text] of the ids in replies, the most frequent first, at ranks that are evenly spaced in a log
    plot; the text only of the ranks 1, 10, 100 …"""
    order = NUM_CONTROL_IDS + np.argsort(-id_counts[NUM_CONTROL_IDS:], kind="stable")
    num_ranks = int((id_counts[NUM_CONTROL_IDS:] > 0).sum())
    decades = 10 ** np.arange(len(str(num_ranks)))
    spaced = np.geomspace(1, max(num_ranks, 1), NUM_RANKS).round().astype(np.int64)
    ranks = np.unique(np.concatenate([spaced, decades[decades <= num_ranks]]))[:num_ranks].tolist()
    return [
        [rank, int(id_counts[id]), _visible(tokenizer.inner_bytes(id)) if rank in decades else None]
        for rank, id in zip(ranks, order[np.array(ranks, np.int64) - 1].tolist(), strict=True)
    ]


def _visible(token: bytes) -> str:
    return token.decode("utf-8", errors="replace").replace(" ", "␣")


def _samples(train: ShardSet, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    numbers = np.random.default_rng(0).choice(len(train), size=min(NUM_SAMPLES, len(train)), replace=False)
    if not len(numbers):
        return []
    rows = train.rows(numbers)
    return [
        {
            "row": number,
            "conversation": train.conversation_id(number),
            "context": _as_seen(context.tolist(), tokenizer),
            "reply": _as_seen(reply.tolist(), tokenizer),
        }
        for number, context, reply in zip(numbers.tolist(), rows.context_ids, rows.reply_ids, strict=True)
    ]


def _as_seen(ids: Sequence[int], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The ids as turns: {"control": "<self>", "tokens": [" i", " am"]}; control is None where text comes first."""
    turns: list[dict[str, Any]] = []
    stream = TextStream(tokenizer)
    for id in [*ids, None]:
        if turns and (id is None or tokenizer.is_control(id)) and (rest := stream.end()):
            turns[-1]["tokens"].append(rest)
        if id is None:
            break
        if tokenizer.is_control(id):
            turns.append({"control": tokenizer.with_markers([id]), "tokens": []})
            stream = TextStream(tokenizer)
            continue
        if not turns:
            turns.append({"control": None, "tokens": []})
        if text := stream.add(id):  # of a character in several tokens the last one has it
            turns[-1]["tokens"].append(text)
    return turns


def _corpora(manifest: Manifest, sets: dict[str, ShardSet]) -> list[dict[str, Any]]:
    """One for each corpus of the recipe, in its order."""
    counts = {split: np.bincount(of.corpora) for split, of in sets.items()}
    readers = [corpus["name"] for corpus in manifest.settings.get("data", {}).get("corpora", [])]
    num_exchanges = len(sets["train"])
    found = []
    for number, reader in enumerate(readers):
        exchanges = {split: int(of[number]) if number < len(of) else 0 for split, of in counts.items()}
        found.append(
            {
                "reader": reader,
                "about": _about(reader),
                "num_exchanges": exchanges,
                "share": _share(exchanges["train"], num_exchanges),
                "files": [file.model_dump() for file in manifest.corpora if file.corpus == number],
            }
        )
    return found


def _about(reader: str) -> dict[str, str] | None:
    """What the reader says of a public corpus; None for a format that anyone's data may have."""
    try:
        about = getattr(catalog.pick("rejoinder.corpora", reader), "ABOUT", None)
    except RecipeError:  # a set of another version
        return None
    return about and {name: str(getattr(about, name)) for name in ("title", "licence", "citation")}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
