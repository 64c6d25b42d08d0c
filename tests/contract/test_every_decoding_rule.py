"""What every rule of decoding promises: off, it changes nothing to the last bit; each row is its own."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from rejoinder.decoding import Decoding, DecodingRows, Row
from rejoinder.decoding.settings import NAMES, OFF
from rejoinder.text import NUM_CONTROL_IDS

NUM_IDS, CONTEXT = NUM_CONTROL_IDS + 80, list(range(NUM_CONTROL_IDS, NUM_CONTROL_IDS + 20))
A, B, C = CONTEXT[:3]
RULES: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.7},
    "top_k": {"top_k": 5},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.1},
    "typical_p": {"typical_p": 0.7},
    "repetition_penalty": {"repetition_penalty": 1.4},
    "presence_penalty": {"presence_penalty": 0.9},
    "frequency_penalty": {"frequency_penalty": -0.9},
    "no_repeat_ngram_tokens": {"no_repeat_ngram_tokens": 1},
    "no_copied_ngram_tokens": {"no_copied_ngram_tokens": 1},
    "min_reply_tokens": {"min_reply_tokens": 6},
    "bad_ids": {"bad_ids": (*((id,) for id in range(NUM_CONTROL_IDS, NUM_CONTROL_IDS + 60)), (A, B))},
    "prefix_ids": {"prefix_ids": (A, B, C)},
}
"""A value of each that shows."""
NO_RULES = {
    "max_reply_tokens", "seed", "stop", "stop_ids", "num_beams", "num_beam_groups", "diversity_penalty",
    "length_penalty", "coverage_penalty", "early_stopping", "num_candidates", "mmi_weight", "num_replies",
    "num_logprobs",
}  # fmt: skip
"""What is about whole replies."""
NARROWING = ("top_k", "top_p", "min_p", "typical_p")
STEPS = 8


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def decoding(rule: str | None, seed: int = 0) -> Decoding:
    """Drawn at temperature 1, with one rule."""
    settings = {name: getattr(OFF, name) for name in NAMES} | {"temperature": 1.0, "max_reply_tokens": 30, "seed": seed}
    return Decoding(**(settings | (RULES[rule] if rule else {})))


def logits(num_rows: int) -> Tensor:
    """logits_NBV, in which the end is likely."""
    logits_NBV = 2 * torch.randn(STEPS, num_rows, NUM_IDS, generator=torch.Generator().manual_seed(0))
    logits_NBV[:, :, 2] += 3
    return logits_NBV


def say(decodings: list[Decoding], logits_NBV: Tensor) -> tuple[list[list[int]], Tensor]:
    """What the rows say, and the logits after the rules."""
    rows = [Row(one, CONTEXT) for one in decodings]
    together, ruled = DecodingRows(rows, torch.device("cpu")), []
    for logits_BV in logits_NBV:
        ruled.append(together.ruled(logits_BV.clone()))
        for row, id in zip(rows, together.choose(ruled[-1]), strict=True):
            row.said_ids.append(id)
    return [row.said_ids for row in rows], torch.stack(ruled)


def test_there_is_no_rule_that_is_not_tested() -> None:
    assert set(RULES) | NO_RULES == set(NAMES)


def test_it_shows(rule: str) -> None:
    """With several seeds: one draw may well be the same."""
    seeds = range(12)
    logits_NBV = logits(1)
    said = [[say([decoding(one, seed)], logits_NBV)[0] for seed in seeds] for one in (rule, None)]
    assert said[0] != said[1]


def test_a_row_that_has_it_turned_off_does_not_notice_one_that_has_not(rule: str) -> None:
    logits_NBV = logits(2)
    alone_ids, alone_NBV = say([decoding(None)], logits_NBV[:, :1])
    ids, ruled_NBV = say([decoding(None), decoding(rule, 1)], logits_NBV)
    assert ids[0] == alone_ids[0]
    assert torch.equal(ruled_NBV[:, :1], alone_NBV)


def test_a_row_says_the_same_alone_and_among_rows_with_other_rules(rule: str) -> None:
    others = [decoding(other, seed) for seed, other in enumerate(RULES, start=1)]
    random.Random(0).shuffle(others)
    logits_NBV = logits(len(others) + 1)
    alone_ids, alone_NBV = say([decoding(rule)], logits_NBV[:, :1])
    ids, ruled_NBV = say([decoding(rule), *others], logits_NBV)
    assert ids[0] == alone_ids[0]
    assert torch.equal(ruled_NBV[:, :1], alone_NBV)


@pytest.mark.parametrize("rule", NARROWING)
def test_what_narrows_a_draw_has_no_part_in_a_greedy_choice(rule: str) -> None:
    greedy = Decoding(**(vars(decoding(rule)) | {"temperature": 0.0}))
    ids, _ = say([greedy], logits(1))
    assert ids == say([Decoding(**(vars(decoding(None)) | {"temperature": 0.0}))], logits(1))[0]


def test_the_model_may_be_in_half_precision(rule: str) -> None:
    ids, ruled_NBV = say([decoding(rule)], logits(1).bfloat16())
    assert ruled_NBV.dtype == torch.float32
    assert len(ids[0]) == STEPS
