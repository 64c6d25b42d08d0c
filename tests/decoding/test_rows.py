"""A batch of requests, each with its own settings."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from rejoinder.decoding import Decoding, DecodingRows
from rejoinder.decoding import rows as module
from rejoinder.text import END_ID, NUM_CONTROL_IDS

NUM_IDS = NUM_CONTROL_IDS + 4
A, B, C, D = range(NUM_CONTROL_IDS, NUM_IDS)


def rows(*decodings: Decoding) -> DecodingRows:
    made = DecodingRows(len(decodings), NUM_IDS, torch.device("cpu"))
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


def test_presence_is_penalised_once_and_frequency_each_time() -> None:
    """A has 3.5, then with one penalty of 1 always 2.5; with one for each time 2.5, 1.5, ..."""
    logits_V = logits(a=3.5, b=2)
    assert choices(rows(decoding(presence_penalty=1)), logits_V, 4) == [A, A, A, A]
    assert choices(rows(decoding(frequency_penalty=1)), logits_V, 4) == [A, A, B, A]


def test_a_penalty_below_zero_asks_for_repetition() -> None:
    slots = rows(decoding(presence_penalty=-2))
    assert choices(slots, logits(a=1), 1) == [A]
    assert choices(slots, logits(a=0, b=1), 1) == [A]


def test_no_run_of_tokens_is_said_twice() -> None:
    assert choices(rows(decoding(no_repeat_ngram_tokens=1)), logits(a=4, b=3, c=2, end=1), 4) == [A, B, C, END_ID]
    assert choices(rows(decoding(no_repeat_ngram_tokens=2)), logits(a=4, b=3, c=2), 5) == [A, A, B, A, C]


def test_no_run_of_tokens_is_copied_from_the_context() -> None:
    slots = rows(decoding())
    slots.put(0, decoding(no_copied_ngram_tokens=2), [A, B, A, C])
    assert choices(slots, logits(a=1, b=3, c=2), 3) == [B, B, B]
    slots.put(0, decoding(no_copied_ngram_tokens=2), [B, B, A, C])
    assert choices(slots, logits(a=1, b=3, c=2), 3) == [B, C, B]


def test_a_new_request_in_a_slot_may_say_what_the_last_one_said() -> None:
    slots = rows(decoding())
    for _ in range(2):
        slots.put(0, decoding(no_repeat_ngram_tokens=1, frequency_penalty=1), [A])
        assert choices(slots, logits(a=4, b=3), 2) == [A, B]


def test_min_p_and_typical_p_narrow_what_is_drawn() -> None:
    logits_V = logits(a=2, b=2, c=1)
    assert set(choices(rows(decoding(temperature=1, seed=0)), logits_V, 200)) >= {A, B, C}
    assert set(choices(rows(decoding(temperature=1, min_p=0.9, seed=0)), logits_V, 200)) == {A, B}
    assert set(choices(rows(decoding(temperature=1, typical_p=0.6, seed=0)), logits_V, 200)) == {A, B}


@pytest.mark.parametrize("changes", [{"typical_p": 0.01}, {"min_p": 1}, {"top_k": 2}, {"top_p": 0.1}])
def test_what_narrows_a_draw_does_nothing_to_a_greedy_choice(changes: dict[str, float]) -> None:
    """The most probable token is not typical here."""
    assert choices(rows(decoding(**changes)), logits(a=3, b=0, c=0, d=0), 1) == [A]


def test_a_temperature_too_low_to_divide_by_is_greedy() -> None:
    assert choices(rows(decoding(temperature=1e-39, seed=0)), logits(a=9, b=8), 20) == [A] * 20


EVERY_RULE = {
    "top_k": 4, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.9, "repetition_penalty": 1.5, "presence_penalty": 0.5,
    "frequency_penalty": 0.5, "no_repeat_ngram_tokens": 2, "no_copied_ngram_tokens": 2, "min_reply_tokens": 3,
}  # fmt: skip


def test_a_row_does_not_notice_the_rules_of_others() -> None:
    """Drawn with the same logits and seed, alone and beside rows with other rules, 30 tokens long."""
    chance = random.Random(0)
    context = [A, B, C, D, A]
    some = [
        decoding(temperature=1, seed=seed, **{name: EVERY_RULE[name] for name in chance.sample(sorted(EVERY_RULE), 2)})
        for seed in range(12)
    ]
    plain = [decoding(temperature=1, seed=99), decoding()]
    all_rules = decoding(temperature=1, seed=7, **EVERY_RULE)
    requests = [*some, *plain, all_rules]
    logits_NBV = torch.randn(30, len(requests), NUM_IDS, generator=torch.Generator().manual_seed(0))

    def said(numbers: list[int]) -> Tensor:
        slots = rows(*(requests[number] for number in numbers))
        for row, number in enumerate(numbers):
            slots.put(row, requests[number], context)
        rows_B = torch.arange(len(numbers))
        return torch.stack([slots.choose(logits_BV[numbers], rows_B) for logits_BV in logits_NBV])

    together = said(list(range(len(requests))))
    for number in range(len(requests)):
        assert torch.equal(together[:, number], said([number])[:, 0]), requests[number]


RULES = [name for name in vars(module) if name.startswith(("penalise", "keep", "cool")) or "ngrams" in name]


@pytest.mark.parametrize("rule", [*RULES, "forbid_early_end"])
def test_a_rule_that_nobody_wants_costs_nothing(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Tensor:
        raise AssertionError(f"{rule} was computed")

    monkeypatch.setattr(module, rule, fail)
    assert choices(rows(decoding()), logits(b=1), 2) == [B, B]
