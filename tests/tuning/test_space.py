"""Spaces: conditions, and every problem of a file at once, before anything has started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rejoinder.errors import TuningError
from rejoinder.recipe import Recipe
from tuning.space import Space, names, read_space, with_best, with_sample

MakeSpace = Callable[..., Space]
SCHEDULES = {
    "training.schedule.final_fraction": {"uniform": [0, 0.3], "when": {"training.schedule.name": ["cosine", "linear"]}},
    "training.schedule.name": {"choice": ["cosine", "linear", "constant"]},
}


def test_a_setting_is_looked_for_where_its_conditions_hold_and_nowhere_else(make_space: MakeSpace) -> None:
    space = make_space(SCHEDULES)
    samples = [space.draw(Random(seed)) for seed in range(30)]
    assert {len(sample) for sample in samples} == {1, 2}
    for sample in samples:
        has_one = "training.schedule.final_fraction" in sample
        assert has_one == (sample["training.schedule.name"] != "constant")
        with_sample(space.recipe, sample)
    assert len(space.grid(3)) == 3 + 3 + 1


def test_the_best_of_decoding_is_for_the_endpoint_too_but_for_what_requests_say(make_space: MakeSpace) -> None:
    space = make_space({
        "decoding.num_beams": {"choice": [1, 4]}, "decoding.temperature": 0, "decoding.num_replies": 1,
        "decoding.stop": {"choice": [["."], []]},
    })  # fmt: skip
    sample = {"decoding.num_beams": 4, "decoding.temperature": 0, "decoding.num_replies": 3, "decoding.stop": ["."]}
    best = with_best(space.recipe, space, sample)
    assert best.decoding == with_sample(space.recipe, sample).decoding
    assert best.serving.decoding == {"num_beams": 4, "temperature": 0.0, "stop": (".",)}
    of_training = make_space(SCHEDULES)
    sample = of_training.draw(Random(1))
    assert with_best(of_training.recipe, of_training, sample) == with_sample(of_training.recipe, sample)


def test_a_condition_may_be_about_a_setting_that_is_not_searched(make_space: MakeSpace) -> None:
    line = {"model.width": {"choice": [8, 16], "when": {"model.name": "gru_attention"}}}
    assert make_space(line).grid(2) == [{"model.width": 8}, {"model.width": 16}]


def test_a_relative_range_is_of_the_recipes_own_value(make_space: MakeSpace) -> None:
    lines = {"training.batch_tokens": {"choice": [0.5, 1], "relative": True}}
    assert make_space(lines, "training.batch_tokens=1000").grid(2) == [
        {"training.batch_tokens": 500},
        {"training.batch_tokens": 1000},
    ]


def test_every_problem_of_a_space_is_said_at_once(make_space: MakeSpace) -> None:
    lines: dict[str, Any] = {
        "training.lerning_rate": {"uniform": [0, 1]},
        "training.learning_rate": {"loguniform": [1e-4, 100]},
        "training.label_smoothing": {"uniform": [-0.1, 0.1]},
        "training.warmup_steps": {"choice": [10, 100]},
        "model.width": {"choice": [8, "wide"]},
        "text.vocabulary_size": {"choice": [300]},
        "serving.port": {"choice": [80]},
        "decoding.top_k": {"int": [0, 9]},
        "training.seed": {"int": [0, 9], "when": {"training.schedule.name": "linear"}},
    }
    with pytest.raises(TuningError) as refused:
        make_space(lines)
    said = str(refused.value)
    for part in (
        "did you mean 'learning_rate'",
        "training.learning_rate = 100.0: must be less than 10",
        "training.label_smoothing = -0.1: must be greater than or equal to 0",
        "training.warmup_steps = 100 must be below training.num_steps = 100",
        "model.width = 'wide'",
        "text.vocabulary_size: all trials share one prepared set",
        "serving.port: a search changes model, training, decoding",
        "decoding.*: is searched on a trained checkpoint",
        "training.seed: never looked for: the space and the recipe never have training.schedule.name in ['linear']",
    ):
        assert part in said
    assert "training.learning_rate = 0.0001" not in said


def test_values_that_fit_in_some_company_only_are_no_problem(make_space: MakeSpace) -> None:
    lines = {"model.num_heads": {"choice": [4, 3]}, "model.width": {"choice": [48, 64]}, "model.name": "transformer"}
    assert len(make_space(lines).grid(2)) == 4  # 3 heads and a width of 64 stand among them
    alone = {"model.num_heads": {"choice": [4, 3]}, "model.width": 64, "model.name": "transformer"}
    with pytest.raises(TuningError, match=r"num_heads = 3"):
        make_space(alone)


def test_conditions_in_a_circle_are_refused(make_space: MakeSpace) -> None:
    lines = {
        "training.seed": {"int": [0, 9], "when": {"training.warmup_steps": 1}},
        "training.warmup_steps": {"int": [0, 9], "when": {"training.seed": 1}},
    }
    with pytest.raises(TuningError, match=r"goes in a circle: training\.seed, training\.warmup_steps"):
        make_space(lines)


def test_a_population_cannot_change_what_its_weights_depend_on(make_space: MakeSpace) -> None:
    with pytest.raises(TuningError, match=r"model.width: pbt changes settings of a model in training"):
        make_space({"model.width": {"choice": [8, 16]}}, "tuning.search=pbt")


def test_a_space_that_does_not_exist_names_those_that_do(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    assert names() == ["architecture", "decoding", "optimisation"]
    with pytest.raises(TuningError, match=r"did you mean 'optimisation'\? \(there are: architecture, decoding, opti"):
        read_space(make_recipe("tuning.space=optimization"))
    with pytest.raises(TuningError, match="No such file"):
        read_space(make_recipe(f"tuning.space={tmp_path}/none.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(TuningError, match="a space is a mapping of recipe paths"):
        read_space(make_recipe(f"tuning.space={tmp_path}/list.yaml"))
