"""MinHash: signatures agree as much as the texts' pieces overlap, and what is alike is found."""

from __future__ import annotations

import numpy as np
import pytest

from rejoinder.shards import near
from rejoinder.text import offsets_of

WORDS = [f"word{number}" for number in range(400)]


def jaccard(a: bytes, b: bytes) -> float:
    """The overlap of the sets of 5-byte pieces; a shorter text's padding is not counted."""
    pieces = [{text[i : i + 5] for i in range(len(text) - 4)} for text in (a, b)]
    return len(pieces[0] & pieces[1]) / len(pieces[0] | pieces[1])


def talk(seed: int, num_changed: int = 0) -> bytes:
    """60 words; some of them are exchanged for others."""
    chance = np.random.default_rng(seed)
    words = chance.choice(WORDS, 60).tolist()
    for place in range(num_changed):
        words[place * 7 % 60] = f"other{seed}x{place}"
    return " ".join(words).encode()


def signatures(*texts: bytes) -> near.Array:
    return near.signatures_of_conversations(texts, np.arange(len(texts) + 1))


@pytest.mark.parametrize("num_changed", [0, 2, 6, 20])
def test_signatures_agree_as_the_texts_overlap(num_changed: int) -> None:
    pairs = [(talk(seed), talk(seed, num_changed)) for seed in range(30)]
    errors = []
    for one, other in pairs:
        agreement = float((signatures(one)[0] == signatures(other)[0]).mean())
        errors.append(agreement - jaccard(one, other))
    assert abs(np.mean(errors)) < 0.04  # unbiased, but for what the ends of the texts add
    assert np.std(errors) < 2 * 0.5 / np.sqrt(near.NUM_HASHES)  # the standard error of 64 coins is at most half of this


def test_a_signature_does_not_depend_on_its_neighbours() -> None:
    alone = signatures(b"some words", b"a")
    among = signatures(b"others before", b"some words", b"a", b"and after")
    assert np.array_equal(among[1:3], alone)


def test_turns_that_are_said_the_other_way_round_are_another_exchange() -> None:
    one, other = b"how are you today my friend", b"i am very well indeed thank you"
    first, second = (near.signatures_of_exchanges(said, np.array([0, 2]))[1] for said in ([one, other], [other, one]))
    assert (first == second).mean() < 0.2


def test_a_turn_is_compared_with_the_one_before_it_in_its_own_conversation() -> None:
    said = [b"hello there", b"good morning", b"hello there"]
    together = near.signatures_of_exchanges(said, offsets_of([2, 1]))
    assert np.array_equal(together[2], signatures(b"hello there")[0])


def test_what_is_alike_is_found_across_parts_and_the_first_one_stands_for_all() -> None:
    texts = [talk(1), talk(2), talk(1, 2), talk(3), talk(2, 1), talk(1, 1)]
    found = near.first_of_its_like([signatures(*texts[:3]), signatures(*texts[3:])], similarity=0.75)
    assert found.tolist() == [0, 1, 0, 3, 1, 0]


def test_what_is_not_alike_is_left_alone() -> None:
    texts = [talk(seed, 0) for seed in range(200)] + [talk(seed, 25) for seed in range(200)]
    assert near.first_of_its_like([signatures(*texts)], similarity=0.8).tolist() == list(range(400))


def test_nearly_all_that_is_alike_enough_is_found() -> None:
    texts = [talk(seed) for seed in range(200)] + [talk(seed, 2) for seed in range(200)]
    similarity = float(np.mean([jaccard(talk(seed), talk(seed, 2)) for seed in range(200)]))
    found = near.first_of_its_like([signatures(*texts)], similarity - 0.15)
    assert np.mean(found[200:] == np.arange(200)) > 0.95


def test_nothing_is_alike_where_there_is_nothing() -> None:
    assert near.first_of_its_like([], 0.8).tolist() == []
    assert near.first_of_its_like([signatures()], 0.8).tolist() == []
