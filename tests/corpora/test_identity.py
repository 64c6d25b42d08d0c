"""Ids that name content and stay."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.corpora.base import Turn
from rejoinder.corpora.identity import content_id, id_of, official_split

TEXTS = st.text(st.characters())


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_an_id_is_the_hash_of_speakers_and_texts_as_json(said: list[tuple[str, str]]) -> None:
    """Another hash would move conversations from the test split of an old model into the training of a new one."""
    assert content_id(said) == hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
    assert id_of([Turn(*pair, emotion="joy") for pair in said]) == content_id(said)


@given(st.lists(st.tuples(TEXTS, TEXTS)), st.lists(st.tuples(TEXTS, TEXTS)))
def test_two_conversations_have_one_id_only_where_they_say_the_same(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    assert (content_id(one) == content_id(other)) == (one == other)


def test_what_no_utf8_can_hold_has_an_id_too() -> None:
    assert id_of([Turn("a", "\ud800")]) != id_of([Turn("a", "\ud801")])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.csv", "train"),
        ("valid_self_original.txt", "valid"),
        ("dialogues_validation.txt", "valid"),
        ("dev.tsv.gz", "valid"),
        ("Test-00000-of-00001.parquet", "test"),
        ("contest.csv", None),
        ("trainers.csv", None),
    ],
)
def test_a_split_is_a_word_of_the_files_name(name: str, split: str | None) -> None:
    assert official_split(name) == split
