"""Text in, token ids out, and back; ids of many texts as one array. What a vocabulary is learnt by is a plug-in of
`tokenizers/`; this is what they all make.

The control tokens are ids below the library's own, not strings: nothing a user types can become one.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from rejoinder.errors import TextError
from rejoinder.storage import disk_errors
from rejoinder.text.token_bytes import TokenBytes, read_token_bytes
from rejoinder.text.word_cache import WordCache

CONTROL_TOKENS = (
    "<pad>", "<start>", "<end>", "<self>", "<other>",
    "<persona>", "<emotion>", "<rating>", "<topic>", "<system>", "<speaker>",
)  # fmt: skip
PAD_ID, START_ID, END_ID, SELF_ID, OTHER_ID = range(5)
"""Padding; before a reply; after a reply; before a turn of the speaker who will reply; before anyone else's."""
PERSONA_ID, EMOTION_ID, RATING_ID, TOPIC_ID, SYSTEM_ID, SPEAKER_ID = range(5, len(CONTROL_TOKENS))
"""Before what is known of a reply: each starts the text that says it."""
NUM_CONTROL_IDS = 16
"""Ids kept for control tokens, some for later: the library's id i is our id i + 16."""
FORMAT = 2
NUM_NAMES_OF_FORMAT = {1: 5, 2: len(CONTROL_TOKENS)}
"""What is read: format 1 named the first five control tokens only, and is otherwise the same."""


class Tokenizer:
    """A trained tokenizer. `num_ids` ids in all, of which the first 16 are control tokens."""

    def __init__(self, library: tokenizers.Tokenizer, format: int = FORMAT) -> None:
        library.encode_special_tokens = True  # a typed "</s>" is text, whatever the library means by it
        self._library = library
        self._format = format
        vocabulary = library.get_vocab()
        self.num_ids: int = max(vocabulary.values(), default=-1) + 1 + NUM_CONTROL_IDS

    def to_ids(self, text: str) -> list[int]:
        """Ids of a text, none of them a control token."""
        return [id + NUM_CONTROL_IDS for id in self._library.encode(text, add_special_tokens=False).ids]

    def many_to_ids(self, texts: list[str]) -> list[list[int]]:
        """`to_ids` for many texts at once, on several threads."""
        encodings = self._library.encode_batch_fast(texts, add_special_tokens=False)
        return [[id + NUM_CONTROL_IDS for id in encoding.ids] for encoding in encodings]

    def to_flat_ids(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """`to_ids` of text t is `ids[offsets[t]:offsets[t + 1]]`: the fastest way to the ids of many texts.

        Most words of a corpus were met before, and cleaned text has single blanks only: words are looked up (see
        `WordCache`), and what is not so simple goes through the library.
        """
        ids_of_texts: list[bytes | None] = [None] * len(texts)
        if self._token_bytes.words_are_independent:
            ids_of_texts = self._words.ids_of_texts(texts)
        places = [place for place, ids in enumerate(ids_of_texts) if ids is None]
        for place, ids in zip(places, self.many_to_ids([texts[place] for place in places]), strict=True):
            ids_of_texts[place] = np.array(ids, np.int32).tobytes()
        known = [ids for ids in ids_of_texts if ids is not None]
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, known), np.int64, len(texts)) // np.int32().nbytes, out=offsets[1:])
        return np.frombuffer(b"".join(known), np.int32), offsets

    @cached_property
    def num_bytes_of_ids(self) -> NDArray[np.int32]:
        """(num_ids,): UTF-8 bytes of each id inside a text; none for control ids.

        Exact for byte-level kinds: a reply's bytes are the sum over its ids. Where tokens carry the blank before them
        (words, WordPiece, SentencePiece) the first id of a text counts as in `num_bytes_of_first_ids`; the unknown
        token counts as U+FFFD, three bytes, whatever stood there, and what was normalized away is not counted.
        """
        counts = [0] * NUM_CONTROL_IDS + [len(spelt) for spelt in self._token_bytes.of_id]
        return np.array(counts, np.int32)

    @cached_property
    def num_bytes_of_first_ids(self) -> NDArray[np.int32]:
        """(num_ids,): UTF-8 bytes of each id where a text begins with it: without the blank that is dropped there."""
        if not self.drops_first_blank:
            return self.num_bytes_of_ids
        blanks = [0] * NUM_CONTROL_IDS + [spelt.startswith(b" ") for spelt in self._token_bytes.of_id]
        return self.num_bytes_of_ids - np.array(blanks, np.int32)

    @property
    def drops_first_blank(self) -> bool:
        """Whether a text begins without the blank that its first token carries."""
        return self._token_bytes.drops_first_blank

    @property
    def unknown_id(self) -> int | None:
        """The id of what the vocabulary does not have; None for kinds that have everything."""
        id = self._token_bytes.unknown_id
        return None if id is None else id + NUM_CONTROL_IDS

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """(id, start, end) of each token: characters of the text that it stands for."""
        encoding = self._library.encode(text, add_special_tokens=False)
        return [
            (id + NUM_CONTROL_IDS, start, end) for id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        ]

    @staticmethod
    def is_control(id: int) -> bool:
        """Whether an id stands for no text."""
        return id < NUM_CONTROL_IDS

    def to_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of these ids as a whole text; control tokens have none."""
        joined = b"".join(self.inner_bytes(id) for id in ids)
        return joined.removeprefix(b" ") if self.drops_first_blank else joined

    def inner_bytes(self, id: int) -> bytes:
        """The bytes of an id that is not the first of its text."""
        if id >= self.num_ids:
            raise TextError(f"token id {id} is outside this tokenizer's {self.num_ids} ids")
        return b"" if self.is_control(id) else self._token_bytes.of_id[id - NUM_CONTROL_IDS]

    def to_text(self, ids: Iterable[int]) -> str:
        """The text of these ids; bytes that are no UTF-8 (a reply cut inside a character) become U+FFFD."""
        return self.to_bytes(ids).decode("utf-8", errors="replace")

    def with_markers(self, ids: Iterable[int]) -> str:
        """Text for people to look at: the control tokens stand in it by name."""
        parts: list[list[int]] = [[]]
        for id in ids:
            parts += [[id], []] if self.is_control(id) else []
            parts[-1] += [] if self.is_control(id) else [id]
        shown = (_name(part[0]) if part and self.is_control(part[0]) else self.to_text(part) for part in parts)
        return " ".join(text for text in shown if text)

    def to_json(self) -> str:
        """The whole tokenizer as text, in the format that it was read in: what an old manifest vouches for stays so."""
        library = json.loads(self._library.to_str())
        names = CONTROL_TOKENS[: NUM_NAMES_OF_FORMAT[self._format]]
        return json.dumps({"format": self._format, "control_tokens": names, "tokenizer": library}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, source: str = "tokenizer") -> Tokenizer:
        """Reads `to_json`'s text, the same text once a process: a worker keeps the words that it has met.

        TextError names the source when it is anything else.
        """
        try:
            return _read(text)
        except TextError as error:
            raise TextError(f"{source}: {error}") from None
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

    @cached_property
    def _token_bytes(self) -> TokenBytes:
        return read_token_bytes(json.loads(self._library.to_str()))

    @cached_property
    def _words(self) -> WordCache:
        return WordCache(self.to_ids)


@lru_cache(maxsize=4)
def _read(text: str) -> Tokenizer:
    data = json.loads(text)
    if data["format"] not in NUM_NAMES_OF_FORMAT:
        formats = " and ".join(map(str, NUM_NAMES_OF_FORMAT))
        raise TextError(f"tokenizer format {data['format']}, this version reads {formats}")
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(data["tokenizer"])), data["format"])


def _name(control_id: int) -> str:
    return CONTROL_TOKENS[control_id] if control_id < len(CONTROL_TOKENS) else f"<{control_id}>"


class TextStream:
    """Ids one by one in, text out that never splits a character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._is_empty = True

    def add(self, id: int) -> str:
        """The text that is certain after this id; empty in the middle of a character."""
        spelt = self._tokenizer.inner_bytes(id)
        if self._is_empty and spelt:
            self._is_empty = False
            spelt = spelt.removeprefix(b" ") if self._tokenizer.drops_first_blank else spelt
        return self._decoder.decode(spelt)

    def end(self) -> str:
        """What is left when no id follows: U+FFFD for an unfinished character, else nothing."""
        return self._decoder.decode(b"", final=True)
