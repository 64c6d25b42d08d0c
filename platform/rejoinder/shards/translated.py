"""A split of a prepared set and another tokenizer in, the same exchanges as that one's ids out.

A model can only be measured on ids that it knows. What is said stays the same, exchange by exchange, so that two models
of different tokenizers can be compared on one set: by bits per byte and by what they reply, not per token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from rejoinder.recipe import TextSection
from rejoinder.shards.index import write_index
from rejoinder.shards.manifest import MANIFEST, TOKENIZER, FileRecord, ShardRecord, fetched
from rejoinder.shards.schema import write_shard
from rejoinder.shards.shard_set import ShardSet
from rejoinder.storage import Folder, locked, sha256_of
from rejoinder.text import CONTROLS, END_ID, OTHER_ID, SELF_ID, Exchange, Exchanges, Tokenizer, context_ids, prefix_ids

_AT_ONCE = 4_096
_WAIT_S = 600


def translated(prepared: Folder, split: str, tokenizer: Tokenizer, text: TextSection) -> Folder:
    """A set of this split alone, made inside `prepared`, or found there. Its fingerprint is that of `prepared`: it is
    of the same exchanges, in the same order and with the same numbers.

    `text` is what the model was trained with: its longest context and reply, its control tokens. Neither context nor
    reply gets longer than it was. Raises ShardError for a set that is missing or damaged.
    """
    fetched(prepared, [split])
    key = f"{tokenizer.sha256} {text.model_dump_json()} {split}"
    folder = prepared / f"translated-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    with locked(folder.directory, "translating it", _WAIT_S):
        if not folder.has(MANIFEST):
            _make(folder, ShardSet(prepared.directory, split), tokenizer, text)
    return folder


def _make(folder: Folder, shard_set: ShardSet, tokenizer: Tokenizer, text: TextSection) -> None:
    split, manifest = shard_set.split, shard_set.manifest
    name = f"{split}-00000.arrow"
    made = Exchanges.of(list(_exchanges(shard_set, tokenizer, text)))
    conversations = [shard_set.conversation_id(number) for number in range(len(shard_set))]
    with folder.written(name) as file:
        write_shard(file, made, conversations, shard_set.corpora.tolist())
        shard = ShardRecord.of(name, file, made)
    index = folder.path(write_index(folder.directory, split, [name]))
    folder.publish(index.name)
    folder.write_text(TOKENIZER, tokenizer.to_json())
    changes = {
        "tokenizer_sha256": tokenizer.sha256,
        "vocabulary_size": tokenizer.num_ids,
        "settings": manifest.settings | {"text": text.model_dump(mode="json")},
        "splits": {split: [shard]},
        "indexes": {split: FileRecord(file=index.name, sha256=sha256_of(index), size_bytes=index.stat().st_size)},
    }
    folder.write_text(MANIFEST, manifest.model_copy(update=changes).to_json())  # last: it vouches for the others


def _exchanges(shard_set: ShardSet, tokenizer: Tokenizer, text: TextSection) -> Iterator[Exchange]:
    known_as = {id: kind for kind, id in CONTROLS.items()}
    ours = shard_set.tokenizer()
    for start in range(0, len(shard_set), _AT_ONCE):
        rows = shard_set.rows(np.arange(start, min(start + _AT_ONCE, len(shard_set))))
        for context, reply in zip(rows.context_ids, rows.reply_ids, strict=True):
            said = [(id, ours.to_text(ids)) for id, ids in _parts(context.tolist())]
            turns = [(id, words) for id, words in said if id in (SELF_ID, OTHER_ID)]
            known = [(known_as[id], words) for id, words in said if id in known_as]
            yield Exchange(
                context_ids(
                    [str(id) for id, _ in turns], [tokenizer.to_ids(words) for _, words in turns], str(SELF_ID), text,
                    prefix_ids(known, text.control_tokens, tokenizer),
                ),
                *_reply(ours, reply.tolist(), tokenizer, text.max_reply_tokens),
            )  # fmt: skip


def _parts(ids: Sequence[int]) -> list[tuple[int, list[int]]]:
    """A context cut at its control tokens: each one, and the text behind it."""
    parts: list[tuple[int, list[int]]] = []
    for id in ids:
        if Tokenizer.is_control(id):
            parts.append((id, []))
        else:
            parts[-1][1].append(id)
    return parts


def _reply(ours: Tokenizer, reply_ids: list[int], tokenizer: Tokenizer, max_tokens: int) -> tuple[list[int], int]:
    """Ids and bytes of the same words. One that was cut has no end here either; it may have to be cut shorter."""
    ids = tokenizer.to_ids(ours.to_text(reply_ids))
    ids += [END_ID] if reply_ids[-1:] == [END_ID] else []
    learnt = ids[:max_tokens]
    return learnt, len(tokenizer.to_bytes(learnt))
