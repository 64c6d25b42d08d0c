"""Which versions are served, and how they reply: the words that say it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from rejoinder.errors import RecipeError
from rejoinder.recipe import Recipe, explain


def test_a_version_is_named_by_its_alias_or_its_number(make_recipe: Callable[..., Recipe]) -> None:
    serving = make_recipe("serving.canary.to=4", "serving.also_loaded=[candidate,3]").serving
    assert (serving.canary.to, serving.also_loaded) == ("4", ("candidate", "3"))
    assert serving.asked_names == ("4",)


def test_weights_are_given_one_by_one_and_by_number(make_recipe: Callable[..., Recipe]) -> None:
    words = "serving.ab_test.champion=1", "serving.ab_test.challenger=0.5"
    assert make_recipe(*words).serving.ab_test == {"champion": 1.0, "challenger": 0.5}
    serving = make_recipe("serving.ab_test={champion: 1, 4: 1}", "serving.shadow.to=next").serving
    assert serving.asked_names == ("4", "next")


def test_a_recipe_that_is_written_back_says_the_same(make_recipe: Callable[..., Recipe]) -> None:
    import yaml

    recipe = make_recipe(
        "serving.ab_test={champion: 1, 4: 1}", "serving.canary.to=7", "serving.max_loaded=4",
        "serving.decoding={stop: [x], top_p: 1}",
    )  # fmt: skip
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


@pytest.mark.parametrize(
    "word",
    ["serving.canary.percent=101", "serving.shadow.max_fill=1", "serving.follow_every_s=0", "serving.canary.to=a b"],
)
def test_what_is_out_of_range_is_refused_by_its_name(make_recipe: Callable[..., Recipe], word: str) -> None:
    with pytest.raises(RecipeError, match=word.partition("=")[0].replace(".", r"\.")):
        make_recipe(word)


def test_the_help_knows_them() -> None:
    text = explain()
    for name in ("serving.canary.percent", "serving.ab_test", "serving.retreat.min_replies", "serving.shadow.max_fill"):
        assert name in text


def test_decoding_that_is_served_is_what_was_named_and_nothing_else(make_recipe: Callable[..., Recipe]) -> None:
    assert make_recipe().serving.decoding == {}
    recipe = make_recipe("serving.decoding.temperature=0", "serving.decoding.bad_words=[rats]")
    assert recipe.serving.decoding == {"temperature": 0.0, "bad_words": ("rats",)}
    assert recipe.decoding == make_recipe().decoding


@pytest.mark.parametrize(
    ("decoding", "complaint"),
    [
        ("{temperatur: 0}", "serving.decoding.temperatur: serving.decoding has no such setting; did you mean 'temper"),
        ("{temperature: 9}", "serving.decoding.temperature = 9: must be less than or equal to 5"),
        ("{top_k: yes}", "serving.decoding.top_k: true (yes, no, on or off in YAML) is no number"),
        ("{num_beams: 4, temperature: 0.7}", "serving.decoding.num_beams = 4 with serving.decoding.temperature = 0.7"),
        ("{num_beams: 3, num_beam_groups: 2}", "num_beam_groups = 2 must divide serving.decoding.num_beams = 3"),
        ("{num_candidates: 3, temperature: 0}", "serving.decoding.num_candidates = 3 with serving.decoding.temperat"),
        ("{mmi_weight: 1, num_beams: 1, temperature: 0}", "serving.decoding.mmi_weight = 1 chooses among candidates"),
        ("{num_replies: 2}", "serving.decoding.num_replies = 2: this is for each request to say, with n; leave it out"),
        ("7", "serving.decoding = 7: serving.decoding is a section"),
    ],
)
def test_decoding_that_cannot_be_served_is_refused_as_in_its_own_section(
    make_recipe: Callable[..., Recipe], decoding: str, complaint: str
) -> None:
    with pytest.raises(RecipeError, match=re.escape(complaint)):
        make_recipe(f"serving.decoding={decoding}")


@pytest.mark.parametrize(
    "decoding",
    ["num_beams: 4", "num_beams: 4, top_k: 40", "num_beam_groups: 3", "diversity_penalty: 1", "mmi_weight: 0.5",
     "num_candidates: 4", "mmi_weight: 0.5, temperature: 0", "coverage_penalty: 1, num_candidates: 1"],
)  # fmt: skip
def test_what_a_model_with_other_settings_could_do_is_for_the_model_to_say(
    make_recipe: Callable[..., Recipe], decoding: str
) -> None:
    assert make_recipe(f"serving.decoding={{{decoding}}}").serving.decoding
