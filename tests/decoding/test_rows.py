"""A batch of requests, each with its own settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from rejoinder.decoding import Decoding, DecodingRows, Row
from rejoinder.decoding import rows as module
from rejoinder.text import END_ID, NUM_CONTROL_IDS

NUM_IDS = NUM_CONTROL_IDS + 4
A, B, C, D = range(NUM_CONTROL_IDS, NUM_IDS)


class Batch:
    """Rows that say what they choose."""

    def __init__(self, *decodings: Decoding, context: Sequence[int] = ()) -> None:
        self.rows = [Row(decoding, context) for decoding in decodings]
        self._together = DecodingRows(self.rows, torch.device("cpu"))

    def choose(self, logits_BV: Tensor) -> list[int]:
        ids = self._together.choose(self._together.ruled(logits_BV.clone()))
        for row, id in zip(self.rows, ids, strict=True):
            row.said_ids.append(id)
        return ids


def decoding(**changes: Any) -> Decoding:
    """Greedy, everything else off."""
    settings = {"temperature": 0, "top_k": 0, "top_p": 1, "repetition_penalty": 1, "min_reply_tokens": 0}
    return Decoding(**(settings | {"max_reply_tokens": 10} | changes))


def logits(**of_ids: float) -> Tensor:
    """logits_V with control tokens far above all that may be said."""
    logits_V = torch.full((NUM_IDS,), -5.0)
    logits_V[:NUM_CONTROL_IDS] = 100.0
    logits_V[END_ID] = of_ids.pop("end", -5.0)
    for name, value in of_ids.items():
        logits_V["abcd".index(name) + NUM_CONTROL_IDS] = value
    return logits_V


def choices(of: Decoding, logits_V: Tensor, number: int, context: Sequence[int] = ()) -> list[int]:
    """What one row says, given the same logits over and over."""
    batch = Batch(of, context=context)
    return [batch.choose(logits_V[None])[0] for _ in range(number)]


def test_control_tokens_are_never_chosen() -> None:
    assert choices(decoding(), logits(b=1), 1) == [B]
    assert set(choices(decoding(temperature=5, seed=0), logits(), 200)) == {END_ID, A, B, C, D}


def test_a_reply_has_at_least_so_many_tokens() -> None:
    assert choices(decoding(min_reply_tokens=2), logits(end=9, b=1), 3) == [B, B, END_ID]


def test_what_was_said_is_penalised_from_then_on() -> None:
    assert choices(decoding(repetition_penalty=2), logits(a=3, b=2, c=1.6), 4) == [A, B, C, A]


def test_each_row_follows_its_own_settings() -> None:
    batch = Batch(decoding(), decoding(min_reply_tokens=1), decoding(temperature=5, top_k=1))
    assert batch.choose(logits(end=3, c=2).repeat(3, 1)) == [END_ID, C, END_ID]


def test_a_seed_gives_the_same_tokens_in_any_row() -> None:
    warm = decoding(temperature=1, seed=11)
    batch = Batch(decoding(), decoding(temperature=1), warm)
    assert [batch.choose(logits().repeat(3, 1))[2] for _ in range(20)] == choices(warm, logits(), 20)


def test_the_rows_of_a_request_draw_different_replies_from_one_seed() -> None:
    def said(number: int) -> list[float]:
        row = Row(decoding(temperature=1, seed=11), (), number)
        return [row.chance.random() for _ in range(5)] if row.chance else []

    assert said(0) != said(1) != said(2)
    assert said(1) == said(1)


def test_without_a_seed_every_request_is_different() -> None:
    warm = decoding(temperature=5)
    assert choices(warm, logits(), 40) != choices(warm, logits(), 40)


def test_logits_of_half_precision_are_taken() -> None:
    assert choices(decoding(), logits(b=1).bfloat16(), 1) == [B]


def test_presence_is_penalised_once_and_frequency_each_time() -> None:
    """A has 3.5, then with one penalty of 1 always 2.5; with one for each time 2.5, 1.5, ..."""
    logits_V = logits(a=3.5, b=2)
    assert choices(decoding(presence_penalty=1), logits_V, 4) == [A, A, A, A]
    assert choices(decoding(frequency_penalty=1), logits_V, 4) == [A, A, B, A]


def test_a_penalty_below_zero_asks_for_repetition() -> None:
    batch = Batch(decoding(presence_penalty=-2))
    assert batch.choose(logits(a=1)[None]) == [A]
    assert batch.choose(logits(a=0, b=1)[None]) == [A]


def test_no_run_of_tokens_is_said_twice() -> None:
    assert choices(decoding(no_repeat_ngram_tokens=1), logits(a=4, b=3, c=2, end=1), 4) == [A, B, C, END_ID]
    assert choices(decoding(no_repeat_ngram_tokens=2), logits(a=4, b=3, c=2), 5) == [A, A, B, A, C]


def test_no_run_of_tokens_is_copied_from_the_context() -> None:
    copies = decoding(no_copied_ngram_tokens=2)
    assert choices(copies, logits(a=1, b=3, c=2), 3, context=[A, B, A, C]) == [B, B, B]
    assert choices(copies, logits(a=1, b=3, c=2), 3, context=[B, B, A, C]) == [B, C, B]


def test_a_reply_begins_with_its_prefix() -> None:
    forced = decoding(prefix_ids=(C, C, D))
    assert choices(forced, logits(a=9), 5) == [C, C, D, A, A]
    warm = decoding(temperature=1, top_k=1, prefix_ids=(D,), repetition_penalty=1.3)
    assert choices(warm, logits(a=9), 2) == [D, A]


def test_bad_words_are_not_completed() -> None:
    assert choices(decoding(bad_ids=((A,),)), logits(a=9, b=1), 2) == [B, B]
    assert choices(decoding(bad_ids=((A, B), (A, A))), logits(a=9, b=8, c=1), 3) == [A, C, A]


def test_min_p_and_typical_p_narrow_what_is_drawn() -> None:
    logits_V = logits(a=2, b=2, c=1)
    assert set(choices(decoding(temperature=1, seed=0), logits_V, 200)) >= {A, B, C}
    assert set(choices(decoding(temperature=1, min_p=0.9, seed=0), logits_V, 200)) == {A, B}
    assert set(choices(decoding(temperature=1, typical_p=0.6, seed=0), logits_V, 200)) == {A, B}


@pytest.mark.parametrize("changes", [{"typical_p": 0.01}, {"min_p": 1}, {"top_k": 2}, {"top_p": 0.1}])
def test_what_narrows_a_draw_does_nothing_to_a_greedy_choice(changes: dict[str, float]) -> None:
    """The most probable token is not typical here."""
    assert choices(decoding(**changes), logits(a=3, b=0, c=0, d=0), 1) == [A]


def test_a_temperature_too_low_to_divide_by_is_greedy() -> None:
    assert choices(decoding(temperature=1e-39, seed=0), logits(a=9, b=8), 20) == [A] * 20


def test_what_was_said_is_known_to_a_batch_that_begins_in_the_middle() -> None:
    """Rows join and leave: the batch is made anew, and its rules look at all that each row has said."""
    some = decoding(repetition_penalty=2, frequency_penalty=1)
    one, other = Batch(some, some), Batch(some, some)
    for step in range(6):
        logits_BV = torch.randn(2, NUM_IDS, generator=torch.Generator().manual_seed(step))
        other._together = DecodingRows(other.rows, torch.device("cpu"))
        assert one.choose(logits_BV) == other.choose(logits_BV)


RULES = [name for name in vars(module) if name.startswith(("penalise", "keep", "cool", "forbid", "force"))]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_nobody_wants_costs_nothing(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Tensor:
        raise AssertionError(f"{rule} was computed")

    monkeypatch.setattr(module, rule, fail)
    assert choices(decoding(), logits(b=1), 2) == [B, B]
