"""A tokenizer of the `tokenizers` library in, the bytes that each of its ids stands for out.

One table for every kind, so that counting bytes, streaming and turning back are the same for all. Where the library
writes blanks between tokens, each token carries the blank before it, and the first of a text loses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rejoinder.errors import TextError

UNKNOWN = "\ufffd".encode()
"""What stands in a text where something was that the vocabulary does not have."""
_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
_SPLITS_AT_BLANKS = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")


@dataclass(frozen=True)
class TokenBytes:
    """How a library's ids become text."""

    of_id: list[bytes]
    """The bytes of each id inside a text. Special tokens and ids without a token have none; the unknown token has
    `UNKNOWN`'s."""
    drops_first_blank: bool
    """Whether a text begins without the blank that its first token carries."""
    unknown_id: int | None
    """The library's id of what is not in its vocabulary; None where there is no such thing."""
    words_are_independent: bool
    """Whether each word's ids are the same in every text, a word being what stands between single blanks."""


def read_token_bytes(library: dict[str, Any]) -> TokenBytes:
    """Of the library's own JSON. Raises TextError for a decoder that we cannot turn back token by token."""
    model, added = library["model"], library["added_tokens"]
    vocabulary = _vocabulary(model) | {token["content"]: token["id"] for token in added}
    unknown = model.get("unk_token")
    unknown_id = vocabulary.get(unknown) if unknown is not None else model.get("unk_id")
    spell, drops_first_blank = _speller(library)
    of_id = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, id in vocabulary.items():
        of_id[id] = spell(token)
    for token in added:
        of_id[token["id"]] = b"" if token["special"] else token["content"].encode()
    if unknown_id is not None:
        of_id[unknown_id] = spell(UNKNOWN.decode())
    return TokenBytes(of_id, drops_first_blank, unknown_id, _words_are_independent(library))


def _vocabulary(model: dict[str, Any]) -> dict[str, int]:
    vocabulary = model["vocab"]
    return vocabulary if isinstance(vocabulary, dict) else {token: id for id, (token, _) in enumerate(vocabulary)}


def _speller(library: dict[str, Any]) -> tuple[Any, bool]:
    """A function from a token to its bytes; whether the first blank is dropped."""
    parts = list(_parts(library["decoder"], "decoders"))
    kinds = {part["type"]: part for part in parts}
    if "ByteLevel" in kinds:
        prefixed = any(part.get("add_prefix_space") for part in _parts(library["pre_tokenizer"], "pretokenizers"))
        return _byte_level, prefixed
    if not parts:
        return _after_a_blank, True
    if "WordPiece" in kinds:
        return _word_piece(kinds["WordPiece"]), True
    if "Metaspace" in kinds:
        blank = kinds["Metaspace"]["replacement"]
        return _sentence_piece(blank, "ByteFallback" in kinds), kinds["Metaspace"].get("prepend_scheme") != "never"
    if "Replace" in kinds and kinds["Replace"]["content"] == " ":
        blank = kinds["Replace"]["pattern"].get("String", "▁")
        return _sentence_piece(blank, "ByteFallback" in kinds), "Strip" in kinds
    raise TextError(
        f"a tokenizer whose decoder is {' and '.join(kinds)} cannot be turned back token by token; those of byte-level "
        "BPE, SentencePiece and WordPiece can"
    )


def _byte_level(token: str) -> bytes:
    try:
        return bytes(BYTE_OF[character] for character in token)
    except KeyError:  # as the library does it
        return token.encode()


def _after_a_blank(token: str) -> bytes:
    return b" " + token.encode()


def _word_piece(decoder: dict[str, Any]) -> Any:
    prefix, is_tidy = decoder["prefix"], decoder["cleanup"]

    def spell(token: str) -> bytes:
        if token.startswith(prefix):
            return token.removeprefix(prefix).encode()
        return token.encode() if is_tidy and token in (".", ",", "?", "!") else _after_a_blank(token)

    return spell


def _sentence_piece(blank: str, falls_back_to_bytes: bool) -> Any:
    def spell(token: str) -> bytes:
        if falls_back_to_bytes and (match := _BYTE_FALLBACK.fullmatch(token)):
            return bytes([int(match[1], 16)])
        return token.replace(blank, " ").encode()

    return spell


def _words_are_independent(library: dict[str, Any]) -> bool:
    """True only for what is known to look at no more than one word; others are merely slower."""
    first = next(_parts(library["pre_tokenizer"], "pretokenizers"), {"type": None})
    normalizers = {part["type"] for part in _parts(library["normalizer"], "normalizers")}
    return bool(
        (first["type"] in _SPLITS_AT_BLANKS or (first["type"] == "ByteLevel" and first.get("use_regex", True)))
        and normalizers <= {"Lowercase", "BertNormalizer"}
        and all(token["special"] for token in library["added_tokens"])
        and not library["model"].get("dropout")
    )


def _parts(node: dict[str, Any] | None, name: str) -> Iterator[dict[str, Any]]:
    """The node, or what a sequence is made of."""
    if node is None:
        return
    if node["type"] != "Sequence":
        yield node
        return
    for part in node[name]:
        yield from _parts(part, name)


def _byte_alphabet() -> dict[str, int]:
    """The library's character for each byte: printable Latin-1 stands for itself, the rest from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTE_OF = _byte_alphabet()
