"""Ids that are unique within a corpus and stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.corpora.base import Turn
from rejoinder.corpora.identity import Ids, official_split


@given(st.lists(st.sampled_from(["a", "b", "a#2", "b#2", "a#2#2", "b#3"])))
def test_no_id_is_given_twice_whatever_the_names(names: list[str]) -> None:
    ids = Ids()
    given_out = [ids.unique(name) for name in names]
    assert len(set(given_out)) == len(names)
    assert all(id.startswith(name) for id, name in zip(given_out, names, strict=True))


def test_repeats_are_numbered() -> None:
    ids = Ids()
    assert [ids.unique(name) for name in ("x", "y", "x", "x", "y")] == ["x", "y", "x#2", "x#3", "y#2"]


def test_the_table_grows_and_forgets_nothing() -> None:
    ids = Ids()
    assert [ids.unique(f"n{number}") for number in range(5_000)] == [f"n{number}" for number in range(5_000)]
    assert [ids.unique(f"n{number}") for number in range(5_000)] == [f"n{number}#2" for number in range(5_000)]


def test_what_no_utf8_can_hold_has_an_id_too() -> None:
    assert Ids().of([Turn("a", "\ud800")]) != Ids().of([Turn("a", "\ud801")])
    assert Ids().unique("\ud800") == "\ud800"


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
