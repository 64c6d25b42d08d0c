"""Some gathered conversations in, one shard out: tokenized, cut into exchanges, written. The Ray task of the last step.

A shard whose record stands is not made again.
"""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
from pydantic import ValidationError

from rejoinder.recipe import TextSection
from rejoinder.shards.gathered import Array, Gathered
from rejoinder.shards.manifest import ShardRecord
from rejoinder.shards.schema import write_shard
from rejoinder.text import Exchanges, Tokenizer, Turns, exchanges, offsets_of, prefix_ids


def write_block(
    gathered: Gathered, name: str, conversations: Array, is_skipped: Array, tokenizer_json: str, text: TextSection
) -> ShardRecord:
    """Writes the shard `name` from these conversations; `is_skipped` has an entry for each of their turns."""
    folder = gathered.folder
    record_name = f"records/{name}.json"
    if (made_before := folder.read_text(record_name)) is not None:
        with suppress(ValidationError):  # the record itself may be damaged where a machine lost its power
            record = ShardRecord.model_validate_json(made_before)
            if folder.stands(name, record.sha256):
                return record
    ids, corpora, made = _exchanges(gathered, conversations, is_skipped, Tokenizer.from_json(tokenizer_json), text)
    with folder.written(name, flush=False) as file:
        write_shard(file, made, ids, corpora)
        record = ShardRecord.of(name, file, made)
    folder.write_text(record_name, record.model_dump_json(), flush=False)
    return record


def _exchanges(
    gathered: Gathered, conversations: Array, is_skipped: Array, tokenizer: Tokenizer, text: TextSection
) -> tuple[list[str], list[int], Exchanges]:
    """Ids and corpora of the conversations, and their exchanges."""
    columns = ["id", "texts", "speakers", *(["known"] if text.control_tokens else [])]
    ids, corpora, texts, num_turns = list[str](), list[int](), list[str](), list[int]()
    speakers, known = list[Array](), list[list[list[str]]]()
    for corpus, rows in gathered.rows(conversations, columns):
        ids += rows["id"].to_pylist()
        corpora += [corpus] * len(rows)
        for said, by in zip(rows["texts"].chunks, rows["speakers"].chunks, strict=True):
            num_turns += np.diff(said.offsets).tolist()
            texts += said.flatten().to_pylist()
            speakers.append(by.flatten().to_numpy())
        if text.control_tokens:
            known += [turn for turns in rows["known"].to_pylist() for turn in json.loads(turns)]
    token_ids, turn_offsets = tokenizer.to_flat_ids(texts)
    prefixes = [prefix_ids([(kind, said) for kind, said in turn], text.control_tokens, tokenizer) for turn in known]
    turns = Turns(
        token_ids,
        turn_offsets,
        offsets_of(num_turns),
        np.concatenate(speakers),
        is_skipped,
        np.array([id for prefix in prefixes for id in prefix], np.int32) if prefixes else None,
        offsets_of([len(prefix) for prefix in prefixes]) if prefixes else None,
    )
    made = exchanges(turns, text, tokenizer.num_bytes_of_ids, tokenizer.num_bytes_of_first_ids)
    return ids, corpora, made
