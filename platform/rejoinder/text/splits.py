"""A conversation's id in, its split out: by a stable hash, so that a new corpus never moves an old conversation."""

from __future__ import annotations

import hashlib

SPLITS = ("train", "valid", "test")


def split_of(conversation_id: str, seed: int, valid_fraction: float, test_fraction: float) -> str:
    """`train`, `valid` or `test`: a pure function of its arguments.

    Raising a fraction moves conversations out of train only: valid lies at the bottom of the unit interval, test at
    its top.
    """
    digest = hashlib.sha256(f"{seed}/{conversation_id}".encode("utf-8", errors="replace")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < valid_fraction:
        return "valid"
    return "test" if place >= 1 - test_fraction else "train"
