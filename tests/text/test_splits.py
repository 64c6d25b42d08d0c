"""Where a conversation belongs is written in its id alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.text import SPLITS, split_of

IDS = [f"corpus/{number}" for number in range(10_000)]


@pytest.mark.parametrize(
    ("id", "seed", "split"),
    # The first 8 bytes of sha256("SEED/ID"), as a fraction: 0.008, 0.511, 0.873; 0.055.
    [("made_up/0/3", 0, "valid"), ("made_up/0/2", 0, "train"), ("你好", 0, "test"), ("made_up/0/3", 1, "valid")],
)
def test_splits_are_the_same_in_every_version(id: str, seed: int, split: str) -> None:
    """Another hash would move conversations from the test split of an old model into the training of a new one."""
    assert split_of(id, seed, 0.15, 0.15) == split


def test_shares_are_as_asked() -> None:
    shares = Counter(split_of(id, 0, 0.1, 0.2) for id in IDS)
    assert set(shares) == set(SPLITS)
    assert shares["valid"] / len(IDS) == pytest.approx(0.1, abs=0.02)
    assert shares["test"] / len(IDS) == pytest.approx(0.2, abs=0.02)


def test_another_seed_holds_out_others() -> None:
    held_out = [{id for id in IDS if split_of(id, seed, 0.1, 0.0) == "valid"} for seed in (0, 1)]
    assert len(held_out[0] & held_out[1]) < 0.2 * len(held_out[0])


def test_a_larger_share_takes_from_the_training_split_only() -> None:
    for id in IDS[:2000]:
        before, after = split_of(id, 0, 0.1, 0.1), split_of(id, 0, 0.2, 0.3)
        assert after == before or before == "train"


@pytest.mark.parametrize(("valid", "test", "splits"), [(0, 0, {"train"}), (0.5, 0, {"train", "valid"})])
def test_a_share_of_nothing_is_nothing(valid: float, test: float, splits: set[str]) -> None:
    assert {split_of(id, 0, valid, test) for id in IDS[:500]} == splits


@given(st.text(st.characters()))
def test_any_id_has_a_split(id: str) -> None:
    assert split_of(id, 0, 0.1, 0.1) in SPLITS
