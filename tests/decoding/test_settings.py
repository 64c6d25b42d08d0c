"""What one request asks for."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rejoinder.decoding import Decoding
from rejoinder.recipe import DecodingSection


def test_a_request_changes_what_it_names_and_nothing_else() -> None:
    section = DecodingSection(temperature=0.5, top_k=7)
    changed = Decoding.of(section, 12, temperature=0.0, top_p=None, seed=3)
    assert (changed.temperature, changed.top_k, changed.top_p) == (0.0, 7, section.top_p)
    assert (changed.max_reply_tokens, changed.seed) == (12, 3)


@pytest.mark.parametrize(
    "out_of_range",
    [
        {"top_k": 10**30}, {"top_p": 0}, {"min_p": 1.5}, {"typical_p": 0}, {"presence_penalty": 2.5},
        {"frequency_penalty": -2.5}, {"no_repeat_ngram_tokens": -1}, {"no_copied_ngram_tokens": 10**30},
    ],
)  # fmt: skip
def test_what_no_rule_understands_is_refused(out_of_range: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(out_of_range))):
        DecodingSection(**out_of_range)  # type: ignore[arg-type]


def test_a_recipe_turns_no_new_rule_on_by_itself() -> None:
    used = Decoding.of(DecodingSection(), 10).used - {"max_reply_tokens"}
    assert used == {"temperature", "top_k", "top_p", "repetition_penalty", "min_reply_tokens"}
