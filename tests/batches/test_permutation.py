"""A shuffle whose every entry is computed by itself."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.batches.permutation import keys_of, permuted


def shuffle(size: int, seed: int = 0, epoch: int = 0, purpose: int = 0, number: int = 0) -> list[int]:
    places = np.arange(size)
    keys = keys_of(seed, epoch, purpose, np.full(size, number))
    return permuted(places, np.full(size, size), keys).tolist()


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**63), epoch=st.integers(0, 10_000))
def test_every_place_goes_to_a_place_of_its_own(size: int, seed: int, epoch: int) -> None:
    assert sorted(shuffle(size, seed, epoch)) == list(range(size))


def test_every_small_size_is_permuted() -> None:
    for size in range(1, 200):
        assert sorted(shuffle(size, seed=size)) == list(range(size))


@given(size=st.integers(2**20, 2**61), data=st.data())
def test_places_of_huge_sizes_stay_inside_and_apart(size: int, data: st.DataObject) -> None:
    places = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=50, unique=True)))
    images = permuted(places, np.full(len(places), size), keys_of(0, 0, 0, np.zeros_like(places)))
    assert ((images >= 0) & (images < size)).all()
    assert len(set(images.tolist())) == len(places)


def test_a_place_goes_where_it_goes_whatever_else_is_asked() -> None:
    whole = shuffle(1000)
    sizes, keys = np.array([1000, 7, 1000]), keys_of(0, 0, 0, np.array([0, 1, 0]))
    assert permuted(np.array([5, 3, 999]), sizes, keys).tolist()[::2] == [whole[5], whole[999]]


def test_seed_epoch_purpose_and_number_each_make_another_shuffle() -> None:
    shuffles = [shuffle(500), shuffle(500, seed=1), shuffle(500, epoch=1), shuffle(500, purpose=1)]
    shuffles.append(shuffle(500, number=1))
    for number, one in enumerate(shuffles):
        for other in shuffles[:number]:
            assert sum(here == there for here, there in zip(one, other, strict=True)) < 15


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_every_order_of_a_few_is_as_likely_as_any_other(size: int) -> None:
    """Chi-square over all n! orders. 6 standard deviations: a fair shuffle fails once in a billion."""
    num_keys = 12_000
    places, numbers = np.tile(np.arange(size), num_keys), np.repeat(np.arange(num_keys), size)
    images = permuted(places, np.full_like(places, size), keys_of(7, 3, 0, numbers)).reshape(-1, size)
    counts = Counter(map(tuple, images.tolist()))
    orders = list(permutations(range(size)))
    expected = num_keys / len(orders)
    chi_square = sum((counts[order] - expected) ** 2 / expected for order in orders)
    freedom = len(orders) - 1
    assert chi_square < freedom + 6 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("size", [13, 64, 101])
def test_every_place_goes_anywhere_as_likely(size: int) -> None:
    num_keys = 2_000
    places, numbers = np.tile(np.arange(size), num_keys), np.repeat(np.arange(num_keys), size)
    images = permuted(places, np.full_like(places, size), keys_of(1, 0, 0, numbers))
    counts = np.bincount(places * size + images, minlength=size * size)
    expected = num_keys / size
    freedom = (size - 1) ** 2
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 6 * np.sqrt(2 * freedom)
