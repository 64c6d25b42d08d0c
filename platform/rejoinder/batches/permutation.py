"""Places in, other places out: a shuffle of 0 .. n - 1 of which any entry is computed without the others.

A Feistel network over a grid of about sqrt(n) x sqrt(n) cells permutes the grid; an image outside 0 .. n - 1 is
permuted again until it is inside ("cycle walking": Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains",
their generalized Feistel cipher). Good enough to mix data, not to keep a secret.
"""

from __future__ import annotations

from typing import Any

import numpy as np

IntArray = np.ndarray[Any, np.dtype[np.integer[Any]]]
Keys = np.ndarray[Any, np.dtype[np.uint64]]

NUM_ROUNDS = 12
"""With 10, some orders of five entries are likelier than others; with 12 a chi-square test sees none up to six."""


def permuted(places: IntArray, sizes: IntArray, keys: Keys) -> IntArray:
    """Where each place goes in the shuffle of `sizes` entries that its key names.

    All three of one shape; each place is in 0 .. size - 1, sizes are below 2**62. For one size and key the images of
    all places are all places.
    """
    limits: Keys = sizes.astype(np.uint64)
    heights: Keys = np.ceil(np.sqrt(sizes.astype(np.float64))).astype(np.uint64)
    widths: Keys = (limits + heights - np.uint64(1)) // heights  # the smallest such grid with `size` cells
    images = _permuted_once(places.astype(np.uint64), heights, widths, keys)
    (outside,) = np.nonzero(images >= limits)
    while len(outside):
        again = _permuted_once(images[outside], heights[outside], widths[outside], keys[outside])
        images[outside] = again
        outside = outside[again >= limits[outside]]
    return images.astype(np.int64)


def keys_of(seed: int, epoch: int, purpose: int, numbers: IntArray) -> Keys:
    """A key for each number, unlike those of other seeds, epochs and purposes."""
    keys = np.zeros(numbers.shape, np.uint64)
    for part in (seed, epoch, purpose):
        keys = _mixed(keys + np.uint64(part % 2**64))
    return _mixed(keys + numbers.astype(np.uint64))


def _permuted_once(cells: Keys, heights: Keys, widths: Keys, keys: Keys) -> Keys:
    rows, columns = cells % heights, cells // heights
    for number in range(NUM_ROUNDS):
        keys = keys + np.uint64(0x9E3779B97F4A7C15)
        if number % 2:
            columns = _shifted(columns, rows, widths, keys)
        else:
            rows = _shifted(rows, columns, heights, keys)
    return columns * heights + rows


def _shifted(values: Keys, others: Keys, size: Keys, keys: Keys) -> Keys:
    """(value + a number of 0 .. size - 1 that key and other value draw) modulo size, without dividing: that costs."""
    chance = (keys ^ others) * np.uint64(0xBF58476D1CE4E5B9)
    chance = (chance ^ (chance >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    moved = values + (((chance >> np.uint64(32)) * size) >> np.uint64(32))
    return np.minimum(moved, moved - size)  # what is below 0 wraps around and is huge


def _mixed(values: Keys) -> Keys:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input changes half of the output's."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
