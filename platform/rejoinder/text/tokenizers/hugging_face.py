"""A tokenizer.json of Hugging Face in, the same ids out, 16 higher: for pretrained models.

Byte-level BPE (BART, BlenderBot), SentencePiece's Unigram and BPE (T5, Llama) and WordPiece (BERT) are read. Special
tokens have ids, but no text makes them: a typed `</s>` is text. How much of a text comes back is the tokenizer's own
affair: byte-level ones lose nothing, T5's writes ﬁ as fi and has unknown characters, BERT's loses case and blanks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import tokenizers
from tokenizers import Regex, pre_tokenizers

from rejoinder.errors import TextError
from rejoinder.recipe import PluginSettings
from rejoinder.recipe.base import AbsolutePath
from rejoinder.text.tokenizer import Tokenizer

FILE = "tokenizer.json"


class Settings(PluginSettings):
    name: Literal["hugging_face"] = "hugging_face"
    path: AbsolutePath
    """A tokenizer.json, or the directory of a model that has one. Nothing is learnt: `text.vocabulary_size` is
    ignored. It is read when a set is prepared; a trained model carries its tokenizer with it."""


def train(settings: Settings, texts: Iterator[list[str]], vocabulary_size: int) -> Tokenizer:
    """Reads the file. Texts and `vocabulary_size` are ignored. Raises TextError when it is none."""
    (file,) = files(settings)
    try:
        library = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise TextError(f"{file}: not a tokenizer of the `tokenizers` library: {error}") from None
    # Limits and filling are for our batches to say; what a text is wrapped in, for our control tokens.
    library.no_truncation()
    library.no_padding()
    tokenizer = Tokenizer(_without_typed_specials(library))
    try:
        _ = tokenizer.num_bytes_of_ids
    except TextError as error:
        raise TextError(f"{file}: {error}") from None
    return tokenizer


def _without_typed_specials(library: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The library looks for special tokens no more, but Unigram still finds those that are pieces of its vocabulary, as
    T5's are: such a text is cut behind its first character."""
    library.encode_special_tokens = True
    special = {token.content: id for id, token in library.get_added_tokens_decoder().items() if token.special}
    found = [
        content
        for content, id in special.items()
        if len(content) > 1 and id in library.encode(content, add_special_tokens=False).ids
    ]
    if found:
        pattern = "|".join(f"{re.escape(content[0])}(?={re.escape(content[1:])})" for content in found)
        parts = [library.pre_tokenizer, pre_tokenizers.Split(Regex(pattern), behavior="isolated")]
        library.pre_tokenizer = pre_tokenizers.Sequence([part for part in parts if part is not None])
    return library


def files(settings: Settings) -> list[Path]:
    """The one tokenizer.json. Raises TextError when there is none."""
    path = Path(settings.path)
    if path.is_dir() and not (path / FILE).is_file():
        raise TextError(
            f"{path}: the directory has no {FILE}; write one with AutoTokenizer.from_pretrained({str(path)!r})"
            f".save_pretrained({str(path)!r}) of the package transformers"
        )
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise TextError(f"{file}: no such file; text.tokenizer.path must be a {FILE} or the directory of one")
    return [file]
