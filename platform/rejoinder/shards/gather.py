"""A piece of a corpus in, its conversations out as one Arrow file: cleaned, filtered, each with its split and keys.

The corpora are read once; all that follows (what is a leak, the tokenizer, the shards) reads these files by memory map.
A piece whose record stands is not read again.

    gathered/00007.arrow    a row a conversation
    gathered/00007.json     its record, written last: counts, and what was met while reading
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from rejoinder.corpora import Conversation, Piece, ReadReport, Turn, read_piece
from rejoinder.recipe import DataSection, Recipe, TextSection
from rejoinder.shards import near
from rejoinder.shards.keys import key_of, key_of_turns, said_in
from rejoinder.storage import Folder, sha256_of
from rejoinder.text import SPLITS, CleaningReport, clean_counted, known_of, offsets_of, refused_by, split_of

NUM_CONVERSATIONS_PER_BATCH = 2_048

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("split", pa.int8(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("texts", pa.list_(pa.string()), nullable=False),
        pa.field("speakers", pa.list_(pa.int16()), nullable=False),
        pa.field("keys", pa.list_(pa.uint64()), nullable=False),
        pa.field("is_refused", pa.list_(pa.bool_()), nullable=False),
    ]
)
"""`split` counts in SPLITS; `keys` are of the turns, `key` of the whole; `is_refused`: a filter says that this turn is
not to be learnt as a reply."""
KNOWN = pa.field("known", pa.string(), nullable=False)
"""JSON: what `text.control_tokens` may ask for, a list for each turn. Only where something is asked for."""
SIGNATURE = pa.field("signature", pa.binary(near.NUM_BYTES), nullable=False)
SIGNATURES = pa.field("signatures", pa.list_(pa.binary(near.NUM_BYTES)), nullable=False)
"""Of the conversation, and of each turn with the one before it. Only where near duplicates are looked for."""


@dataclass
class Record:
    """What a gathered file holds, and what was met while it was made."""

    num_conversations: int = 0
    num_turns: int = 0
    num_filtered: int = 0
    """Conversations left out by a filter."""
    num_emptied: int = 0
    """Conversations that cleaning left fewer than two turns of."""
    read: ReadReport = field(default_factory=ReadReport)
    cleaning: CleaningReport = field(default_factory=CleaningReport)
    sha256: str = ""
    """Of the file: it is not waited for until it is on the disk."""


_AS_JSON = TypeAdapter(Record)


def gather(folder: Folder, number: int, piece: Piece, recipe: Recipe) -> Record:
    """Reads piece number `number`, unless its record stands."""
    name = f"gathered/{number:05d}"
    if (made_before := folder.read_text(f"{name}.json")) is not None:
        with suppress(ValidationError):  # the record itself may be damaged where a machine lost its power
            record = _AS_JSON.validate_json(made_before)
            if folder.stands(f"{name}.arrow", record.sha256):
                return record
    record = Record()
    with folder.written(f"{name}.arrow", flush=False) as file:
        _write(file, read_piece(recipe.data.corpora, piece, recipe.data.max_broken_lines, record.read), record, recipe)
        record.sha256 = sha256_of(file)
    folder.write_text(f"{name}.json", _AS_JSON.dump_json(record).decode(), flush=False)
    return record


def schema_for(data: DataSection, text: TextSection) -> pa.Schema:
    """The columns that these settings ask for."""
    schema = SCHEMA.append(KNOWN) if text.control_tokens else SCHEMA
    if data.near_duplicate_similarity is None:
        return schema
    return schema.append(SIGNATURE).append(SIGNATURES)


def _write(file: Path, conversations: Iterator[Conversation], record: Record, recipe: Recipe) -> None:
    schema = schema_for(recipe.data, recipe.text)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        block = _Block(recipe)
        for conversation in conversations:
            block.add(conversation, record)
            if len(block.ids) == NUM_CONVERSATIONS_PER_BATCH:
                writer.write_batch(block.to_arrow(schema))
                block = _Block(recipe)
        if block.ids:
            writer.write_batch(block.to_arrow(schema))


class _Block:
    """Some conversations, column by column."""

    def __init__(self, recipe: Recipe) -> None:
        self._data, self._text = recipe.data, recipe.text
        self.ids = list[bytes]()
        self._splits, self._keys, self._num_turns, self._known = list[int](), list[bytes](), list[int](), list[str]()
        self._texts, self._speakers, self._turn_keys = list[str](), list[int](), list[bytes]()
        self._is_refused, self._said = list[bool](), list[bytes]()

    def add(self, conversation: Conversation, record: Record) -> None:
        """Cleans and keeps a conversation; one that nothing is left of is only counted."""
        steps, filters = self._text.cleaning, self._text.filters
        turns = list[Turn]()
        texts, is_refused = list[str](), list[bool]()
        for turn in conversation.turns:
            if text := clean_counted(turn.text, steps, record.cleaning):
                turns.append(turn)
                texts.append(text)
        if len(texts) < 2:
            record.num_emptied += 1
            return
        if filters:
            for text in texts:
                refusing = refused_by(text, filters, record.cleaning)
                if refusing is not None and refusing.what == "conversation":
                    record.num_filtered += 1
                    return
                is_refused.append(refusing is not None)
        else:
            is_refused = [False] * len(texts)
        said = [said_in(text) for text in texts]
        keys = [key_of(one) for one in said]
        numbers: dict[str, int] = {}
        # An id may hold half an emoji, as JSON can; Arrow's text may not.
        self.ids.append(conversation.id.encode("utf-8", errors="replace"))
        self._splits.append(SPLITS.index(split_for(conversation, self._data)))
        self._keys.append(key_of_turns(keys))
        self._num_turns.append(len(texts))
        self._texts += texts
        self._speakers += [numbers.setdefault(turn.speaker, len(numbers)) for turn in turns]
        self._turn_keys += keys
        self._is_refused += is_refused
        if self._text.control_tokens:
            known = [[*known_of(conversation.notes, turn.speaker, turn.emotion)] for turn in turns]
            wanted = [[pair for pair in pairs if pair[0] in self._text.control_tokens] for pairs in known]
            self._known.append(json.dumps(wanted))
        if self._data.near_duplicate_similarity is not None:
            self._said += said
        record.num_conversations += 1
        record.num_turns += len(texts)

    def to_arrow(self, schema: pa.Schema) -> pa.RecordBatch:
        """The columns of the schema."""
        offsets = offsets_of(self._num_turns)

        def lists(values: Any) -> Any:
            return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)

        columns = [
            pa.array(self.ids, pa.string()),
            pa.array(self._splits, pa.int8()),
            _uint64(self._keys),
            lists(pa.array(self._texts, pa.string())),
            lists(pa.array(self._speakers, pa.int16())),
            lists(_uint64(self._turn_keys)),
            lists(pa.array(self._is_refused, pa.bool_())),
        ]
        if self._text.control_tokens:
            columns.append(pa.array(self._known, pa.string()))
        if self._data.near_duplicate_similarity is not None:
            columns.append(_binary(near.signatures_of_conversations(self._said, offsets)))
            columns.append(lists(_binary(near.signatures_of_exchanges(self._said, offsets))))
        return pa.record_batch(columns, schema=schema)


def split_for(conversation: Conversation, data: DataSection) -> str:
    """The corpus's own split where it has one, else by the stable hash of the conversation's id."""
    return conversation.split or split_of(conversation.id, data.split_seed, data.valid_fraction, data.test_fraction)


def _uint64(digests: list[bytes]) -> Any:
    return pa.Array.from_buffers(pa.uint64(), len(digests), [None, pa.py_buffer(b"".join(digests))])


def _binary(signatures: Any) -> Any:
    return pa.Array.from_buffers(pa.binary(near.NUM_BYTES), len(signatures), [None, pa.py_buffer(signatures)])
