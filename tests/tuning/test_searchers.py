"""What comes next: by chance, by grid, by what was good; and by a population."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from rejoinder.errors import TuningError
from tuning.history import FAILED, FINISHED, Point, Trial
from tuning.objectives import read_objectives
from tuning.population import next_segment, require_generations
from tuning.searchers import next_sample
from tuning.space import Space

MakeSpace = Callable[..., Space]
RATES = {"training.learning_rate": {"loguniform": [1e-4, 1]}, "training.warmup_steps": {"int": [0, 20]}}
LOSS = read_objectives(None, is_of_decoding=False)


def bowl(sample: dict[str, Any]) -> float:
    """Best at a rate of 0.01 and 5 steps of warm-up."""
    return (math.log10(sample["training.learning_rate"]) + 2) ** 2 + (sample["training.warmup_steps"] - 5) ** 2 / 100


def searched(space: Space, num: int, outcome: Callable[[dict[str, Any]], float] = bowl) -> list[Trial]:
    trials = list[Trial]()
    for number in range(num):
        sample = next_sample(space, space.recipe.tuning, LOSS, trials)
        if sample is None:
            break
        point = Point(100, {"valid_loss": outcome(sample)}, 1.0)
        trials.append(Trial(number, sample, state=FINISHED, points=[point]))
    return trials


@pytest.mark.parametrize("search", ["random", "optuna"])
def test_a_search_is_a_function_of_its_seed_and_its_history(search: str, make_space: MakeSpace) -> None:
    def samples(seed: int) -> list[dict[str, Any]]:
        words = (f"tuning.search={search}", f"tuning.seed={seed}", "tuning.num_random_trials=3")
        return [trial.sample for trial in searched(make_space(RATES, *words), 6)]

    assert samples(0) == samples(0)
    assert samples(0) != samples(1)


def test_tpe_learns_where_the_good_settings_are(make_space: MakeSpace) -> None:
    def costs(search: str) -> list[float]:
        words = (f"tuning.search={search}", "tuning.num_random_trials=8")
        return sorted(bowl(trial.sample) for trial in searched(make_space(RATES, *words), 40)[20:])

    assert costs("optuna")[10] < costs("random")[10] / 2  # the median of the second half of the trials


def test_tpe_looks_for_a_whole_front_where_there_are_several_objectives(make_space: MakeSpace) -> None:
    """Wide is good for the one and bad for the other; a seed that is far from 50 is bad for both."""
    both = read_objectives(["valid_loss", "num_parameters"], is_of_decoding=False)

    def tried(search: str) -> list[tuple[int, int]]:
        lines = {"model.width": {"int": [8, 200]}, "training.seed": {"int": [0, 99]}}
        space, trials = make_space(lines, f"tuning.search={search}", "tuning.num_random_trials=8"), list[Trial]()
        for number in range(32):
            sample = next_sample(space, space.recipe.tuning, both, trials)
            assert sample is not None
            width, away = sample["model.width"], abs(sample["training.seed"] - 50)
            metrics = {"valid_loss": 1000 / width + away, "num_parameters": width + away}
            trials.append(Trial(number, sample, state=FINISHED, points=[Point(100, metrics, 1.0)]))
        return [(trial.sample["model.width"], abs(trial.sample["training.seed"] - 50)) for trial in trials[8:]]

    learnt, by_chance = tried("optuna"), tried("random")
    assert sorted(away for _, away in learnt)[12] < 0.75 * sorted(away for _, away in by_chance)[12]
    widths = [width for width, _ in learnt]
    assert min(widths) < 20 < 60 < max(widths)


def test_tpe_takes_trials_that_were_stopped_failed_or_run_still(make_space: MakeSpace) -> None:
    space = make_space(RATES, "tuning.num_random_trials=2")
    trials = searched(space, 4)
    trials[1].state, trials[2].state, trials[3].state = "stopped", FAILED, "running"
    trials[2].points = []
    assert next_sample(space, space.recipe.tuning, LOSS, trials) is not None


def test_a_grid_is_every_combination_once(make_space: MakeSpace) -> None:
    lines = {"training.seed": {"choice": [1, 2, 3]}, "training.label_smoothing": {"uniform": [0, 0.2]}}
    trials = searched(make_space(lines, "tuning.search=grid", "tuning.grid_points=2"), 99, lambda _: 1.0)
    assert [tuple(trial.sample.values()) for trial in trials] == [(s, v) for s in (1, 2, 3) for v in (0, 0.2)]


@pytest.mark.parametrize("search", ["random", "optuna"])
def test_nothing_is_tried_twice_and_a_small_space_is_tried_out(search: str, make_space: MakeSpace) -> None:
    lines = {"training.seed": {"choice": [1, 2, 3]}, "training.label_smoothing": {"choice": [0, 0.1]}}
    trials = searched(make_space(lines, f"tuning.search={search}"), 50, lambda sample: sample["training.seed"])
    assert len({str(trial.sample) for trial in trials}) == len(trials)
    assert 4 <= len(trials) <= 6


def test_combinations_that_are_no_recipe_are_drawn_again(make_space: MakeSpace) -> None:
    lines = {"model.num_heads": {"choice": [4, 3]}, "model.width": {"choice": [48, 64]}, "model.name": "transformer"}
    for trial in searched(make_space(lines, "tuning.search=random"), 10, lambda _: 1.0):
        assert trial.sample["model.width"] % trial.sample["model.num_heads"] == 0


def member(number: int, sample: dict[str, Any], loss: float | None, parent: int | None = None) -> Trial:
    points = [] if loss is None else [Point(50, {"valid_loss": loss}, 1.0)]
    return Trial(number, sample, parent, 50, FINISHED if points else FAILED, points=points)


def population_of(make_space: MakeSpace) -> Space:
    steps = ("tuning.generation_steps=50", "training.validate_every_steps=25")
    return make_space(RATES, "tuning.search=pbt", "tuning.population=4", *steps)


def test_the_worst_quarter_goes_on_from_the_best_with_settings_near_its(make_space: MakeSpace) -> None:
    space = population_of(make_space)
    firsts = list[Trial]()
    for number, loss in enumerate([3.0, 1.0, 9.0, 2.0]):
        segment = next_segment(space, space.recipe, LOSS, firsts)
        assert segment is not None
        assert (segment.parent, segment.until_step) == (None, 50)
        firsts.append(member(number, segment.sample, loss))
    trials = list(firsts)
    for number in range(4, 8):
        segment = next_segment(space, space.recipe, LOSS, trials)
        assert segment is not None
        assert segment.until_step == 100
        trials.append(Trial(number, segment.sample, segment.parent, 100))
    assert [trial.parent for trial in trials[4:]] == [0, 1, 1, 3]
    assert [trials[4 + own].sample == firsts[own].sample for own in (0, 1, 3)] == [True, True, True]
    assert trials[6].sample != firsts[1].sample
    assert next_segment(space, space.recipe, LOSS, [*firsts[:3], Trial(3, {}, None, 50)]) is None  # one still runs


def test_members_begin_with_different_samples_where_there_are_as_many(make_space: MakeSpace) -> None:
    words = ("tuning.search=pbt", "tuning.population=3", "tuning.generation_steps=50")
    space = make_space({"training.learning_rate": {"choice": [0.1, 0.01]}}, *words)
    firsts = list[Trial]()
    for number in range(3):
        segment = next_segment(space, space.recipe, LOSS, firsts)
        assert segment is not None
        firsts.append(Trial(number, segment.sample, None, 50))
    rates = [trial.sample["training.learning_rate"] for trial in firsts]
    assert set(rates[:2]) == {0.1, 0.01}
    assert rates[2] in rates[:2]


def test_a_member_that_failed_goes_on_from_another(make_space: MakeSpace) -> None:
    space = population_of(make_space)
    sample = {"training.learning_rate": 0.01, "training.warmup_steps": 3}
    failed = [member(number, sample, None if number == 0 else number) for number in range(4)]
    segment = next_segment(space, space.recipe, LOSS, failed)
    assert segment is not None
    assert segment.parent == 1
    with pytest.raises(TuningError, match="all members of generation 1 failed"):
        next_segment(space, space.recipe, LOSS, [member(number, sample, None) for number in range(4)])


def test_a_generation_ends_with_a_validation(make_space: MakeSpace) -> None:
    words = ("tuning.search=pbt", "tuning.generation_steps=30", "training.validate_every_steps=20")
    with pytest.raises(TuningError, match=r"training.validate_every_steps = 20 apart; give a multiple of it"):
        require_generations(make_space(RATES, *words).recipe)


def test_a_metric_that_is_not_measured_names_those_that_are() -> None:
    with pytest.raises(TuningError, match=r"chrf is not measured in a search of training; .*valid_loss"):
        read_objectives(["chrf"], is_of_decoding=False)
    assert read_objectives(None, is_of_decoding=True)[0].metric == "chrf"
