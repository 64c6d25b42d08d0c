"""What one request asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from rejoinder.decoding import Decoding
from rejoinder.errors import RecipeError
from rejoinder.recipe import DecodingSection, Recipe, validate


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
    plain = Decoding.of(DecodingSection(), 10)
    assert not plain.chooses
    used = plain.used - {"max_reply_tokens", "length_penalty"}  # the latter compares candidates
    assert used == {"temperature", "top_k", "top_p", "repetition_penalty", "min_reply_tokens"}


def decoding(**changes: Any) -> Decoding:
    settings = {"temperature": 0, "top_k": 0, "top_p": 1, "repetition_penalty": 1, "min_reply_tokens": 0}
    return Decoding(**(settings | {"max_reply_tokens": 10} | changes))


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({}, []),
        ({"num_beams": 4, "num_replies": 4, "mmi_weight": 0.5, "coverage_penalty": 0.2}, []),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}, []),
        ({"temperature": 0.7, "num_candidates": 5, "num_replies": 2, "mmi_weight": 0.5}, []),
        ({"temperature": 0.7, "num_replies": 3}, []),
        ({"num_beams": 4, "temperature": 0.7}, ["num_beams = 4 with temperature = 0.7: beams look for"]),
        (
            {"num_beams": 4, "top_k": 40, "top_p": 0.95, "min_p": 0.1, "typical_p": 0.9},
            [
                "top_k = 40 with num_beams = 4: beams look at all tokens, top_k narrows what is drawn from; set top_k",
                "top_p = 0.95 with num_beams = 4", "min_p = 0.1 with num_beams = 4", "typical_p = 0.9 with num_beams",
            ],
        ),
        ({"num_beams": 1, "top_k": 40, "top_p": 0.95, "min_p": 0.1, "typical_p": 0.9}, []),  # the highest token is kept
        ({"num_beams": 4, "num_candidates": 2}, ["num_candidates = 2 with num_beams = 4: the beams are"]),
        ({"num_beams": 4, "num_beam_groups": 3}, ["num_beam_groups = 3 must divide num_beams = 4"]),
        ({"num_beams": 4, "num_beam_groups": 2}, ["the groups would all say the same; try diversity_penalty=0.5"]),
        ({"num_beams": 4, "diversity_penalty": 1}, ["diversity_penalty = 1 is between groups of beams"]),
        ({"num_beams": 2, "num_replies": 3}, ["num_replies = 3 is more than num_beams = 2"]),
        ({"temperature": 1, "num_candidates": 2, "num_replies": 3}, ["more than num_candidates = 2"]),
        ({"num_replies": 3}, ["num_replies = 3 with temperature = 0"]),
        ({"num_candidates": 3}, ["num_candidates = 3 with temperature = 0"]),
        ({"mmi_weight": 0.5}, ["mmi_weight = 0.5 chooses among candidates, and there is one"]),
        ({"coverage_penalty": 0.5}, ["coverage_penalty = 0.5 chooses among candidates"]),
        ({"min_reply_tokens": 11}, ["min_reply_tokens = 11 is above max_reply_tokens = 10"]),
        ({"prefix_ids": (20,) * 10}, ["the prefix has 10 tokens, and max_reply_tokens = 10 leaves nothing"]),
        ({"prefix_ids": (2,)}, ["ids below 16 are control tokens"]),
        ({"bad_ids": ((),)}, ["bad_ids has a run of no tokens"]),
        ({"stop_ids": ((), (3,))}, ["ids below 16", "stop_ids has a run of no tokens"]),
        (
            {"temperature": 1, "num_beams": 2, "num_replies": 3, "min_reply_tokens": 11},
            ["num_beams = 2 with temperature", "num_replies = 3 is more", "min_reply_tokens = 11 is above"],
        ),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_said_all_at_once(changes: dict[str, Any], sentences: list[str]) -> None:
    said = list(decoding(**changes).contradictions())
    assert len(said) == len(sentences)
    for part, sentence in zip(sentences, said, strict=True):
        assert part in sentence


def test_what_a_section_narrows_draws_with_is_off_where_beams_are_searched() -> None:
    section = DecodingSection(top_p=0.8)  # of draws: whoever asks for beams besides has not asked for this
    searched = Decoding.of(section, 10, num_beams=4, temperature=0.0)
    assert (searched.top_k, searched.top_p, list(searched.contradictions())) == (0, 1.0, [])
    asked = Decoding.of(section, 10, num_beams=4, temperature=0.0, top_p=0.8)
    assert [sentence[:31] for sentence in asked.contradictions()] == ["top_p = 0.8 with num_beams = 4:"]
    drawn = Decoding.of(section, 10, num_candidates=4)
    assert (drawn.top_k, drawn.top_p, list(drawn.contradictions())) == (section.top_k, 0.8, [])


def test_what_compares_candidates_is_off_where_a_request_leaves_one() -> None:
    section = DecodingSection(
        temperature=0.0, num_beams=4, num_replies=2, num_beam_groups=2, diversity_penalty=0.5, mmi_weight=0.5
    )
    assert list(Decoding.of(section, 10).contradictions()) == []
    alone = Decoding.of(section, 10, num_beams=1, num_replies=1, temperature=0.7)
    assert (alone.num_rows, alone.mmi_weight, alone.num_beam_groups, list(alone.contradictions())) == (1, 0.0, 1, [])
    drawn = Decoding.of(section, 10, num_beams=1, temperature=0.7)
    assert (drawn.num_rows, drawn.mmi_weight, list(drawn.contradictions())) == (2, 0.5, [])
    asked = Decoding.of(DecodingSection(), 10, mmi_weight=0.5)
    assert ["mmi_weight = 0.5 chooses among" in sentence for sentence in asked.contradictions()] == [True]


def test_a_recipe_may_leave_what_narrows_draws_at_its_defaults(make_recipe: Callable[..., Recipe]) -> None:
    beams = ["decoding.num_beams=4", "decoding.temperature=0"]
    whole = make_recipe(*beams)
    assert validate(whole.model_dump(mode="json")) == whole  # a recipe that was written with every value reads as well
    make_recipe(*beams, "decoding.top_k=0", "decoding.top_p=1")
    with pytest.raises(RecipeError) as refused:
        make_recipe(*beams, "decoding.top_k=5", "decoding.top_p=0.9", "decoding.num_replies=5")
    assert str(refused.value).splitlines() == [
        "recipe: 3 problems",
        "  decoding.top_k = 5 with decoding.num_beams = 4: beams look at all tokens, top_k narrows what is drawn from; "
        "set decoding.top_k=0, or decoding.num_beams=1 and a temperature",
        "  decoding.top_p = 0.9 with decoding.num_beams = 4: beams look at all tokens, top_p narrows what is drawn "
        "from; set decoding.top_p=1, or decoding.num_beams=1 and a temperature",
        "  decoding.num_replies = 5 is more than decoding.num_beams = 4; raise num_beams to 5",
    ]


@pytest.mark.parametrize(
    ("several", "candidates"),
    [
        ({"temperature": 1, "num_replies": 3, "mmi_weight": 0.5}, 3),
        ({"temperature": 1, "num_candidates": 4, "num_replies": 3}, 4),
        ({"num_beams": 4, "num_replies": 3, "mmi_weight": 0.5}, 1),
        ({}, 1),
    ],
)
def test_the_best_alone_is_the_best_of_as_many(several: dict[str, Any], candidates: int) -> None:
    wanted = decoding(num_logprobs=2, **several)
    best = wanted.one_reply
    assert (best.num_replies, best.num_logprobs, best.num_candidates) == (1, None, candidates)
    assert best.num_rows == wanted.num_rows
    assert list(best.contradictions()) == []


def test_a_recipe_says_its_contradictions_by_their_whole_names(make_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError) as refused:
        make_recipe("decoding.num_beams=4", "decoding.num_replies=5")
    for sentence in (
        "decoding.num_beams = 4 with decoding.temperature = 0.7",
        "set decoding.temperature=0, or decoding.num_beams=1",
        "decoding.num_replies = 5 is more than decoding.num_beams = 4",
    ):
        assert sentence in str(refused.value)
