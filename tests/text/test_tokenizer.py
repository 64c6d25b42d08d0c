"""Every text comes back exactly, and nothing that is typed becomes a control token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rejoinder.corpora import made_up
from rejoinder.errors import StorageError, TextError
from rejoinder.text import (
    END_ID,
    NUM_CONTROL_IDS,
    PAD_ID,
    PERSONA_ID,
    SELF_ID,
    TextStream,
    Tokenizer,
    clean,
    train_tokenizer,
)
from rejoinder.text.tokenizer import CONTROL_TOKENS, FORMAT
from rejoinder.text.tokenizers import byte_bpe

SAMPLES = [
    "",
    "Ada: 3 € – naïve",
    "你好，世界",
    "שלום مرحبا",
    "👩‍👩‍👧🏽 🇪🇺",
    "\x00\x7f\x80",
    "<end><pad>",
    " a\r\n\tb ",
]


def trained(vocabulary_size: int = 320, seed: int = 0) -> Tokenizer:
    talk = made_up.read(made_up.Settings(num_conversations=40, seed=seed))
    texts = ([turn.text for turn in conversation.turns] for conversation in talk)
    return train_tokenizer(byte_bpe.Settings(), texts, vocabulary_size)


@pytest.mark.parametrize("text", SAMPLES)
def test_a_text_comes_back_exactly(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.to_text(tokenizer.to_ids(text)) == text


@given(raw=st.text(st.characters()))
@example("\ud83d half an emoji")
def test_whatever_was_typed_comes_back_as_it_was_cleaned(tokenizer: Tokenizer, raw: str) -> None:
    ids = tokenizer.to_ids(clean(raw))
    assert tokenizer.to_text(ids) == clean(raw)
    assert all(NUM_CONTROL_IDS <= id < tokenizer.num_ids for id in ids)


@pytest.mark.parametrize("name", CONTROL_TOKENS)
def test_typing_a_control_tokens_name_is_only_text(tokenizer: Tokenizer, name: str) -> None:
    ids = tokenizer.to_ids(f"say {name} and {name.upper()}")
    assert not any(tokenizer.is_control(id) for id in ids)
    assert tokenizer.to_text(ids) == f"say {name} and {name.upper()}"


def test_control_tokens_have_no_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.to_text([PAD_ID, *tokenizer.to_ids("hi"), END_ID, NUM_CONTROL_IDS - 1]) == "hi"


def test_an_id_that_is_none_of_ours_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextError, match="token id 320 is outside this tokenizer's 320 ids"):
        tokenizer.to_text([tokenizer.num_ids])


def test_many_texts_at_once_are_the_same_as_one_by_one(tokenizer: Tokenizer) -> None:
    assert tokenizer.many_to_ids(SAMPLES) == [tokenizer.to_ids(text) for text in SAMPLES]


def test_it_learns_what_it_has_seen(tokenizer: Tokenizer) -> None:
    seen, unseen = "I really like the sea!", "Qv xj zwk pfy Bcd hgm!"
    assert tokenizer.num_ids == 320
    assert len(tokenizer.to_ids(seen)) < 0.7 * len(tokenizer.to_ids(unseen))


def test_no_token_spans_two_words(tokenizer: Tokenizer) -> None:
    texts = [tokenizer.to_text([id]) for id in range(NUM_CONTROL_IDS, tokenizer.num_ids)]
    assert [text for text in texts if " " in text[1:]] == []


def test_the_same_texts_give_the_same_tokenizer_to_the_byte() -> None:
    assert trained().to_json() == trained().to_json()


def test_when_nothing_is_left_to_merge_it_stays_smaller() -> None:
    assert train_tokenizer(byte_bpe.Settings(), iter([["ab"]]), 1000).num_ids == NUM_CONTROL_IDS + 256


def test_without_text_there_is_no_tokenizer() -> None:
    with pytest.raises(TextError, match="the training split is empty"):
        train_tokenizer(byte_bpe.Settings(), iter([[]]), 320)


def test_a_saved_tokenizer_is_the_same_when_it_is_read(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.to_json() == tokenizer.to_json()
    assert again.sha256 == tokenizer.sha256
    assert again.many_to_ids(SAMPLES) == tokenizer.many_to_ids(SAMPLES)


def test_another_tokenizer_has_another_hash(tokenizer: Tokenizer) -> None:
    assert len({tokenizer.sha256, trained(330).sha256, trained(seed=1).sha256}) == 3


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"nonsense", b"\xff\xfe", b'{"format": 1, "tokenizer": {}}'])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(TextError, match=f"^{file}: not a tokenizer of ours"):
        Tokenizer.load(file)


def test_another_format_is_refused_not_guessed_at(tokenizer: Tokenizer) -> None:
    newer = json.dumps(json.loads(tokenizer.to_json()) | {"format": FORMAT + 1})
    with pytest.raises(TextError, match=r"^t\.json: tokenizer format 3, this version reads 1 and 2"):
        Tokenizer.from_json(newer, "t.json")


def test_the_first_format_is_read_and_stays_what_its_hash_says(tokenizer: Tokenizer) -> None:
    names = ["<pad>", "<start>", "<end>", "<self>", "<other>"]
    old = json.loads(tokenizer.to_json()) | {"format": 1, "control_tokens": names}
    text = json.dumps(old, ensure_ascii=False)
    again = Tokenizer.from_json(text)
    assert again.to_json() == text
    assert again.many_to_ids(SAMPLES) == tokenizer.many_to_ids(SAMPLES)


def test_control_tokens_are_shown_by_name(tokenizer: Tokenizer) -> None:
    ids = [PERSONA_ID, *tokenizer.to_ids("a cook"), SELF_ID, *tokenizer.to_ids("hi"), NUM_CONTROL_IDS - 1]
    assert tokenizer.with_markers(ids) == "<persona> a cook <self> hi <15>"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"none\.json: the tokenizer cannot be read: No such file"):
        Tokenizer.load(tmp_path / "none.json")


def test_a_full_disk_is_named(tokenizer: Tokenizer, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(60_000))
    with pytest.raises(StorageError, match=r"tokenizer\.json: no space left"):
        tokenizer.save(small_disk / "tokenizer.json")


@given(text=st.text())
@example("👩‍👩‍👧 你好")
def test_a_stream_never_splits_a_character(tokenizer: Tokenizer, text: str) -> None:
    stream, so_far = TextStream(tokenizer), ""
    for id in tokenizer.to_ids(text):
        so_far += stream.add(id)
        assert text.startswith(so_far)
    assert so_far + stream.end() == text


@given(ids=st.lists(st.integers(0, 319), max_size=40))
def test_a_stream_of_any_ids_joins_to_their_text(tokenizer: Tokenizer, ids: list[int]) -> None:
    stream = TextStream(tokenizer)
    assert "".join(map(stream.add, ids)) + stream.end() == tokenizer.to_text(ids)


def test_a_reply_that_was_cut_inside_a_character_ends_in_the_replacement_character(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer)
    *cut, _ = tokenizer.to_ids("ok 🙂")
    assert "".join(map(stream.add, cut)) == "ok "
    assert stream.end() == "\ufffd"
