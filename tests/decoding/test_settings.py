"""A batch of requests, each with its own settings."""

from __future__ import annotations

import torch
from torch import Tensor

from rejoinder.decoding import Decoding, DecodingRows
from rejoinder.recipe import DecodingSection
from rejoinder.text import END_ID, NUM_CONTROL_IDS

NUM_IDS = NUM_CONTROL_IDS + 4
A, B, C, D = range(NUM_CONTROL_IDS, NUM_IDS)


def rows(*decodings: Decoding) -> DecodingRows:
    made = DecodingRows.free(len(decodings), NUM_IDS, torch.device("cpu"))
    for row, decoding in enumerate(decodings):
        made.put(row, decoding)
    return made


def decoding(**changes: float) -> Decoding:
    """Greedy, everything else off."""
    settings = {"temperature": 0, "top_k": 0, "top_p": 1, "repetition_penalty": 1, "min_reply_tokens": 0}
    return Decoding(**(settings | {"max_reply_tokens": 10} | changes))  # type: ignore[arg-type]


def logits(**of_ids: float) -> Tensor:
    """logits_V with control tokens far above all that may be said."""
    logits_V = torch.full((NUM_IDS,), -5.0)
    logits_V[:NUM_CONTROL_IDS] = 100.0
    logits_V[END_ID] = of_ids.pop("end", -5.0)
    for name, value in of_ids.items():
        logits_V["abcd".index(name) + NUM_CONTROL_IDS] = value
    return logits_V


def choices(of: DecodingRows, logits_V: Tensor, number: int, row: int = 0) -> list[int]:
    return [int(of.choose(logits_V[None], torch.tensor([row]))) for _ in range(number)]


def test_a_request_changes_what_it_names_and_nothing_else() -> None:
    section = DecodingSection(temperature=0.5, top_k=7)
    changed = Decoding.of(section, 12, temperature=0.0, top_p=None, seed=3)
    assert (changed.temperature, changed.top_k, changed.top_p) == (0.0, 7, section.top_p)
    assert (changed.max_reply_tokens, changed.seed) == (12, 3)


def test_control_tokens_are_never_chosen() -> None:
    assert choices(rows(decoding()), logits(b=1), 1) == [B]
    assert set(choices(rows(decoding(temperature=5, seed=0)), logits(), 200)) == {END_ID, A, B, C, D}


def test_a_reply_has_at_least_so_many_tokens() -> None:
    assert choices(rows(decoding(min_reply_tokens=2)), logits(end=9, b=1), 3) == [B, B, END_ID]


def test_what_was_said_is_penalised_from_then_on() -> None:
    assert choices(rows(decoding(repetition_penalty=2)), logits(a=3, b=2, c=1.6), 4) == [A, B, C, A]


def test_a_new_request_in_a_slot_begins_with_nothing_said() -> None:
    slots = rows(decoding(repetition_penalty=2, min_reply_tokens=2))
    for _ in range(2):
        assert choices(slots, logits(a=3, b=2, end=9), 3) == [A, B, END_ID]
        slots.put(0, decoding(repetition_penalty=2, min_reply_tokens=2))


def test_each_row_follows_its_own_settings() -> None:
    slots = rows(decoding(), decoding(min_reply_tokens=1), decoding(temperature=5, top_k=1))
    logits_V = logits(end=3, c=2)
    assert slots.choose(logits_V.repeat(3, 1), torch.tensor([0, 1, 2])).tolist() == [END_ID, C, END_ID]


def test_rows_are_slots_not_places_in_the_batch() -> None:
    slots = rows(decoding(), decoding(min_reply_tokens=1))
    logits_V = logits(end=3, c=2)
    assert slots.choose(logits_V.repeat(2, 1), torch.tensor([1, 0])).tolist() == [C, END_ID]
    assert choices(slots, logits_V, 1, row=1) == [END_ID]


def test_a_seed_gives_the_same_tokens_in_any_slot() -> None:
    warm = decoding(temperature=1, seed=11)
    assert choices(rows(warm), logits(), 20) == choices(rows(decoding(), decoding(), warm), logits(), 20, row=2)


def test_without_a_seed_every_request_is_different() -> None:
    warm = decoding(temperature=5)
    assert choices(rows(warm), logits(), 40) != choices(rows(warm), logits(), 40)


def test_logits_of_half_precision_are_taken() -> None:
    assert choices(rows(decoding()), logits(b=1).bfloat16(), 1) == [B]
