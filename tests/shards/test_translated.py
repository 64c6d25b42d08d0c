"""The same exchanges in another tokenizer's ids: what was said stays, the order stays, the numbers stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rejoinder.corpora import made_up
from rejoinder.recipe import TextSection
from rejoinder.shards import ShardSet, translated
from rejoinder.storage import Folder
from rejoinder.text import CONTROLS, END_ID, OTHER_ID, SELF_ID, Exchange, Tokenizer, train_tokenizer
from rejoinder.text.tokenizers import byte_bpe, words
from tests.conftest import TEXT, WriteSet

TALK = [[turn.text for turn in of.turns] for of in made_up.read(made_up.Settings(num_conversations=60))]


@pytest.fixture(scope="module")
def other() -> Tokenizer:
    return train_tokenizer(byte_bpe.Settings(), iter(TALK), 400)


def rows_of(directory: Path) -> list[tuple[list[int], list[int], int, str]]:
    of = ShardSet(directory, "test")
    numbers = np.arange(len(of))
    rows = of.rows(numbers)
    return [
        (rows.context_ids[n].tolist(), rows.reply_ids[n].tolist(), int(of.reply_num_bytes[n]), of.conversation_id(n))
        for n in numbers.tolist()
    ]


def test_in_the_sets_own_tokens_nothing_changes(prepared_set: Path, tokenizer: Tokenizer) -> None:
    folder = translated(Folder(prepared_set), "test", tokenizer, TextSection(**TEXT))
    assert rows_of(folder.directory) == rows_of(prepared_set)


def test_in_other_tokens_the_same_is_said_in_the_same_order(
    prepared_set: Path, tokenizer: Tokenizer, other: Tokenizer
) -> None:
    roomy = TextSection(**TEXT | {"vocabulary_size": 400, "max_context_tokens": 500, "max_reply_tokens": 500})
    folder = translated(Folder(prepared_set), "test", other, roomy)
    before, after = rows_of(prepared_set), rows_of(folder.directory)
    assert len(before) == len(after) > 20
    assert [row[2:] for row in before] == [row[2:] for row in after]  # bytes and conversations
    for (context, reply, *_), (new_context, new_reply, *_) in zip(before, after, strict=True):
        assert other.with_markers(new_context) == tokenizer.with_markers(context)
        assert other.with_markers(new_reply) == tokenizer.with_markers(reply)
    assert [row[1] for row in before] != [row[1] for row in after]
    of_both = [ShardSet(directory, "test").manifest for directory in (prepared_set, folder.directory)]
    assert of_both[0].fingerprint == of_both[1].fingerprint
    assert of_both[1].tokenizer_sha256 == other.sha256


def test_what_was_made_is_found(prepared_set: Path, other: Tokenizer) -> None:
    made = translated(Folder(prepared_set), "test", other, TextSection(**TEXT))
    at = (made.directory / "manifest.json").stat().st_mtime_ns
    assert translated(Folder(prepared_set), "test", other, TextSection(**TEXT)).directory == made.directory
    assert (made.directory / "manifest.json").stat().st_mtime_ns == at


def test_a_model_of_shorter_memory_reads_the_newest_turns_and_learns_shorter_replies(
    prepared_set: Path, other: Tokenizer
) -> None:
    short = TextSection(**TEXT | {"max_context_tokens": 9, "max_reply_tokens": 4})
    folder = translated(Folder(prepared_set), "test", other, short)
    for (whole, _, num_bytes, _), (context, learnt, learnt_bytes, _) in zip(
        rows_of(prepared_set), rows_of(folder.directory), strict=True
    ):
        assert len(context) <= 9
        assert context[0] in (SELF_ID, OTHER_ID)
        assert whole
        assert len(learnt) <= 4
        assert learnt_bytes == len(other.to_bytes(learnt)) <= num_bytes


def test_a_blank_that_a_token_carries_is_not_counted_twice(prepared_set: Path) -> None:
    by_words = train_tokenizer(words.Settings(), iter(TALK), 600)
    folder = translated(Folder(prepared_set), "test", by_words, TextSection(**TEXT))
    for _, reply, num_bytes, _ in rows_of(folder.directory):
        if by_words.unknown_id not in reply:
            assert num_bytes == len(by_words.to_bytes(reply))


def test_a_model_is_told_only_what_it_learnt_to_hear(
    tmp_path: Path, tokenizer: Tokenizer, other: Tokenizer, write_set: WriteSet
) -> None:
    hello, hi = tokenizer.to_ids("hello"), tokenizer.to_ids("hi")
    context = [CONTROLS["persona"], *hello, CONTROLS["topic"], *hi, OTHER_ID, *hello]
    directory = write_set(tmp_path / "set", {"test": [[(Exchange(context, [*hi, END_ID], 2), "talk")]]})
    text = TextSection(**TEXT | {"control_tokens": ("topic",)})
    ((found, _, _, _),) = rows_of(translated(Folder(directory), "test", other, text).directory)
    assert found == [CONTROLS["topic"], *other.to_ids("hi"), OTHER_ID, *other.to_ids("hello")]
