"""Text in, token ids out, and back without loss: byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2).

Every text is a sequence of bytes, so there are no out-of-vocabulary words and every script and emoji comes back
exactly. The control tokens are ids below the library's own, not strings: nothing a user types can become one.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from rejoinder.errors import TextError
from rejoinder.storage import disk_errors

CONTROL_TOKENS = ("<pad>", "<start>", "<end>", "<self>", "<other>")
PAD_ID, START_ID, END_ID, SELF_ID, OTHER_ID = range(len(CONTROL_TOKENS))
"""Padding; before a reply; after a reply; before a turn of the speaker who will reply; before anyone else's."""
NUM_CONTROL_IDS = 16
"""Ids kept for control tokens, some for later: the library's id i is our id i + 16."""
FORMAT = 1


class Tokenizer:
    """A trained tokenizer. `num_ids` ids in all, of which the first 16 are control tokens."""

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        self._library = library
        self.num_ids: int = library.get_vocab_size() + NUM_CONTROL_IDS

    def to_ids(self, text: str) -> list[int]:
        """Ids of a text, none of them a control token."""
        return [id + NUM_CONTROL_IDS for id in self._library.encode(text, add_special_tokens=False).ids]

    def many_to_ids(self, texts: list[str]) -> list[list[int]]:
        """`to_ids` for many texts at once, on several threads."""
        encodings = self._library.encode_batch_fast(texts, add_special_tokens=False)
        return [[id + NUM_CONTROL_IDS for id in encoding.ids] for encoding in encodings]

    @staticmethod
    def is_control(id: int) -> bool:
        """Whether an id stands for no text."""
        return id < NUM_CONTROL_IDS

    def to_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of these ids; control tokens have none."""
        return b"".join(self._bytes_of(id) for id in ids if id >= NUM_CONTROL_IDS)

    def to_text(self, ids: Iterable[int]) -> str:
        """The text of these ids; bytes that are no UTF-8 (a reply cut inside a character) become U+FFFD."""
        return self.to_bytes(ids).decode("utf-8", errors="replace")

    def with_markers(self, ids: Iterable[int]) -> str:
        """Text for people to look at: the control tokens stand in it by name."""
        parts: list[list[int]] = [[]]
        for id in ids:
            parts += [[id], []] if self.is_control(id) else []
            parts[-1] += [] if self.is_control(id) else [id]
        shown = (CONTROL_TOKENS[part[0]] if part and self.is_control(part[0]) else self.to_text(part) for part in parts)
        return " ".join(text for text in shown if text)

    def to_json(self) -> str:
        """The whole tokenizer as text."""
        library = json.loads(self._library.to_str())
        return json.dumps(
            {"format": FORMAT, "control_tokens": CONTROL_TOKENS, "tokenizer": library}, ensure_ascii=False
        )

    @classmethod
    def from_json(cls, text: str, source: str = "tokenizer") -> Tokenizer:
        """Reads `to_json`'s text. TextError names the source when it is anything else."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise TextError(f"{source}: tokenizer format {data['format']}, this version reads {FORMAT}")
            return cls(tokenizers.Tokenizer.from_str(json.dumps(data["tokenizer"])))
        except TextError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise TextError(f"{source}: not a tokenizer of ours: {error}") from None

    def save(self, file: Path) -> None:
        """Writes `tokenizer.json`."""
        with disk_errors(file):
            file.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Tokenizer:
        """Reads what `save` wrote."""
        try:
            return cls.from_json(file.read_text(encoding="utf-8"), str(file))
        except OSError as error:
            raise TextError(f"{file}: the tokenizer cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise TextError(f"{file}: not a tokenizer of ours: {error}") from None

    @property
    def sha256(self) -> str:
        """Hash of the whole tokenizer: two with the same hash give the same ids."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def _bytes_of(self, id: int) -> bytes:
        token = self._library.id_to_token(id - NUM_CONTROL_IDS)
        if token is None:
            raise TextError(f"token id {id} is outside this tokenizer's {self.num_ids} ids")
        return bytes(_BYTE_OF[character] for character in token)


class TextStream:
    """Ids one by one in, text out that never splits a character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, id: int) -> str:
        """The text that is certain after this id; empty in the middle of a character."""
        return self._decoder.decode(self._tokenizer.to_bytes([id]))

    def end(self) -> str:
        """What is left when no id follows: U+FFFD for an unfinished character, else nothing."""
        return self._decoder.decode(b"", final=True)


def train_tokenizer(texts: Iterator[str], vocabulary_size: int) -> Tokenizer:
    """Learns merges from texts until there are `vocabulary_size` ids, or nothing is left to merge.

    The same texts give the same tokenizer, to the byte. Raises TextError without any text.
    """
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    library.decoder = decoders.ByteLevel()
    first = next(texts, None)
    if first is None:
        raise TextError("there is no text to train a tokenizer on; the training split is empty")
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - NUM_CONTROL_IDS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    library.train_from_iterator(_chain(first, texts), trainer)
    return Tokenizer(library)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _byte_alphabet() -> dict[str, int]:
    """The library's character for each byte: printable Latin-1 stands for itself, the rest from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
