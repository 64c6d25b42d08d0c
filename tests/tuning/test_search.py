"""A search's decisions: who begins, who is stopped, what is recorded, what a killed search knows when it goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from rejoinder.errors import ClusterError, TuningError
from rejoinder.recipe import Recipe
from tuning.adapters import Decisions, Judge
from tuning.history import FAILED, FILE, FINISHED, RUNNING, STOPPED
from tuning.search import Search, num_concurrent
from tuning.searches import _found
from tuning.trial import FACTS

Make = Callable[..., Any]
RATES = {"training.learning_rate": {"loguniform": [1e-4, 1]}}
ASHA = ("tuning.num_trials=18", "tuning.grace_steps=10", "tuning.num_random_trials=4", "tuning.scheduler=asha")


def falls(sample: dict[str, Any], step: int) -> float:
    """A loss that ends the lower the nearer the rate is to 0.01."""
    return (math.log10(sample["training.learning_rate"]) + 2) ** 2 + 10 / step


def states(search: Search) -> list[str]:
    return [trial.state for trial in search.history.trials]


def test_asha_stops_bad_trials_early_and_lets_good_ones_end(make_space: Make, make_search: Make, play: Make) -> None:
    search = make_search(make_space(RATES, *ASHA))
    play(search, falls)
    assert len(states(search)) == 18
    assert set(states(search)) == {FINISHED, STOPPED}
    best = search.history.best(search.objectives)
    assert best.state == FINISHED
    steps = {state: [t.points[-1].step for t in search.history.trials if t.state == state] for state in states(search)}
    assert min(steps[FINISHED]) == 100
    assert sum(steps[STOPPED]) < 100 * len(steps[STOPPED]) / 2
    assert all("asha at step" in trial.reason for trial in search.history.trials if trial.state == STOPPED)


@pytest.mark.parametrize(
    ("scheduler", "killed_after"), [("asha", 1), ("asha", 9), ("asha", 30), ("median", 20), ("hyperband", 20)]
)
def test_a_killed_search_goes_on_and_no_trial_that_had_ended_runs_again(
    scheduler: str, killed_after: int, make_space: Make, make_search: Make, play: Make
) -> None:
    space = make_space(RATES, *ASHA[:3], f"tuning.scheduler={scheduler}")
    search = make_search(space)
    with pytest.raises(Exception, match=r"^$"):  # Killed, which has no message
        play(search, falls, killed_after=killed_after)
    ended = {trial.number for trial in search.history.trials if trial.state != RUNNING}
    running = {trial.number for trial in search.history.trials if trial.state == RUNNING}
    again = make_search(space)
    begun = play(again, falls)
    assert begun[: len(running)] == sorted(running)
    assert ended.isdisjoint(begun)
    assert sorted([*ended, *begun]) == list(range(18))
    assert RUNNING not in states(again)
    steps = [[point.step for point in trial.points] for trial in again.history.trials]
    assert all(of == list(range(10, of[-1] + 1, 10)) for of in steps)  # nothing missing, nothing twice


def test_what_a_killed_search_decides_is_what_it_would_have_decided(
    make_space: Make, make_search: Make, play: Make, tmp_path: Any
) -> None:
    space = make_space(RATES, *ASHA)
    whole = make_search(space, num_concurrent=1)
    play(whole, falls)
    (tmp_path / "search" / FILE).unlink()
    with pytest.raises(Exception, match=r"^$"):
        play(make_search(space, num_concurrent=1), falls, killed_after=25)
    resumed = make_search(space, num_concurrent=1)
    play(resumed, falls)
    assert [trial.sample for trial in resumed.history.trials] == [trial.sample for trial in whole.history.trials]
    assert states(resumed) == states(whole)


def test_a_trial_that_fails_is_recorded_with_its_reason_and_the_search_goes_on(
    make_space: Make, make_search: Make, play: Make
) -> None:
    def outcome(sample: dict[str, Any], step: int) -> float:
        if sample["training.seed"] == 1:
            raise ValueError("out of memory: lower training.max_microbatch_tokens")
        return float("nan") if sample["training.seed"] == 2 and step > 10 else 1.0

    lines = {"training.seed": {"choice": [1, 2, 3]}}
    search = make_search(make_space(lines, "tuning.search=grid", "tuning.scheduler=none"))
    play(search, outcome)
    assert [(trial.state, trial.reason) for trial in search.history.trials] == [
        (FAILED, "out of memory: lower training.max_microbatch_tokens"),
        (FAILED, "valid_loss is nan at step 20"),
        (FINISHED, ""),
    ]
    assert search.history.best(search.objectives).number == 2


def test_a_search_in_which_no_trial_succeeded_says_why_and_where(
    make_space: Make, make_search: Make, play: Make
) -> None:
    def fails(sample: dict[str, Any], step: int) -> float:
        raise ValueError("out of memory: lower training.max_microbatch_tokens")

    search = make_search(make_space(RATES, "tuning.num_trials=2"))
    play(search, fails)
    says = r"none of the 2 trials succeeded; the first one: out of memory: .*/search/trials\.jsonl; .* --fresh"
    with pytest.raises(TuningError, match=says):
        _found(search.recipe, search.space, search.history, search.objectives)


def test_combinations_of_a_grid_that_are_no_recipe_fail_without_being_started(
    make_space: Make, make_search: Make, play: Make
) -> None:
    lines = {"model.num_heads": {"choice": [4, 3]}, "model.width": {"choice": [48, 64]}, "model.name": "transformer"}
    search = make_search(make_space(lines, "tuning.search=grid", "tuning.scheduler=none"))
    assert play(search, lambda sample, step: 1.0) == [0, 1, 2]
    refused = search.history.trials[3]
    assert (refused.state, refused.num_steps) == (FAILED, 0)
    assert "num_heads = 3 must divide width = 64" in refused.reason


LOSS = RuntimeError("The actor died unexpectedly")


def test_a_trial_whose_process_was_lost_begins_again_before_any_other(make_space: Make, make_search: Make) -> None:
    """Also the last one, after which nothing else is to be begun."""
    search = make_search(make_space(RATES, "tuning.num_trials=1", "tuning.scheduler=none"))
    search.next_config("a")
    search.goes_on("a", {"step": 10, "valid_loss": 1.0})
    assert search.next_config("b") is None  # not the end: the one that runs may be lost
    search.ended("a", LOSS)
    assert json.loads(search.next_config("b")["work"])["number"] == 0
    (trial,) = search.history.trials
    assert (trial.state, trial.num_losses) == (RUNNING, 1)
    assert not search.goes_on("a", {"step": 100, "valid_loss": 1.0})  # what the lost one may still have said
    search.goes_on("b", {"step": 100, "valid_loss": 1.0})
    search.goes_on("b", {f"{FACTS}/recorded_s": 0.0})
    search.ended("b")
    assert (trial.state, trial.reason, [point.step for point in trial.points]) == (FINISHED, "", [10, 100])
    assert search.next_config("c") == "FINISHED"


def test_a_trial_that_was_lost_too_often_fails_with_the_loss(make_space: Make, make_search: Make) -> None:
    space = make_space(RATES, "tuning.num_trials=2", "training.max_restarts=2")
    search = make_search(space)
    for tune_id in ("a", "b"):
        search.next_config(tune_id)
        search.ended(tune_id, LOSS)
    search = make_search(space)  # an interruption changes nothing of it
    search.next_config("c")
    search.ended("c", LOSS)
    assert [(trial.state, trial.reason) for trial in search.history.trials] == [
        (FAILED, "RuntimeError: The actor died unexpectedly")
    ]
    search.next_config("d")
    search.ended("d")
    assert search.history.trials[1].reason == "its process ended without a word"


def test_a_member_that_was_lost_when_its_generation_had_ended_does_not_begin_again(
    make_space: Make, make_search: Make
) -> None:
    space = make_space(RATES, "tuning.search=pbt", "tuning.population=2", "tuning.generation_steps=20")
    search = make_search(space)
    search.next_config("a")
    assert not search.goes_on("a", {"step": 20, "valid_loss": 1.0})
    search.ended("a", LOSS)
    assert states(search) == [FINISHED]


def test_a_trial_that_tune_begins_again_itself_stays_one_trial(make_space: Make, make_search: Make) -> None:
    search = make_search(make_space(RATES, "training.max_restarts=0"))
    search.next_config("a")
    decisions = Decisions(search)
    tune_trial = SimpleNamespace(trial_id="a", status="ERROR", ERROR="ERROR", get_error=lambda: LOSS)
    decisions.on_trial_error(None, tune_trial)
    assert search.history.trials[0].num_losses == 1
    assert search.goes_on("a", {"step": 10, "valid_loss": 1.0})
    tune_trial.status = "RUNNING"
    decisions.on_trial_error(None, tune_trial)
    assert states(search) == [FAILED]


def test_reports_of_a_restarted_trial_are_not_taken_twice(make_space: Make, make_search: Make) -> None:
    search = make_search(make_space(RATES))
    search.next_config("a")
    for step in (10, 20, 10, 20, 30):
        assert search.goes_on("a", {"step": step, "valid_loss": 1.0, "valid_perplexity": 3, "time_total_s": 5.0})
    (trial,) = search.history.trials
    assert [point.step for point in trial.points] == [10, 20, 30]
    assert set(trial.points[0].metrics) == {"valid_loss", "valid_perplexity", "s"}


def test_all_that_a_trial_of_decoding_settings_measures_is_recorded(make_space: Make, make_search: Make) -> None:
    lines = {"decoding.repetition_penalty": {"choice": [1, 1.2]}}
    search = make_search(make_space(lines, "tuning.objectives=[word_f1, distinct_1]"))
    search.next_config("a")
    measured = {"word_f1": 0.5, "distinct_1": 0.1, "chrf": 20.0, "s_per_reply": 0.2}
    assert search.goes_on("a", {"step": 2, **measured, "time_total_s": 3.0})
    (trial,) = search.history.trials
    assert trial.points[0].metrics == {**measured, "s": pytest.approx(0, abs=60)}
    assert search.history.best(search.objectives) is trial


def test_the_search_ends_with_its_budget_of_tokens(make_space: Make, make_search: Make, play: Make) -> None:
    words = ("tuning.num_trials=50", "tuning.max_tokens=100000", "tuning.scheduler=none")
    search = make_search(make_space(RATES, *words), num_concurrent=1)
    play(search, falls)
    batch = search.recipe.training.batch_tokens
    assert 100_000 <= search.history.num_tokens <= 100_000 + 10 * batch
    assert search.spent == "tuning.max_tokens = 100,000"


def test_trials_that_a_budget_cut_off_go_on_when_there_is_more_of_it(
    make_space: Make, make_search: Make, play: Make
) -> None:
    words = ("tuning.num_trials=4", "tuning.scheduler=none")
    little = make_space(RATES, *words, "tuning.max_tokens=20000")
    search = make_search(little)
    play(search, falls)
    search.cut_off()
    assert [(trial.state, trial.reason) for trial in search.history.trials] == [
        (STOPPED, "the search's budget was spent: tuning.max_tokens = 20,000")
    ] * 2
    assert not make_search(little).has_work
    again = make_search(make_space(RATES, *words))
    assert play(again, falls) == [0, 1, 2, 3]
    assert states(again) == [FINISHED] * 4
    assert [[point.step for point in trial.points] for trial in again.history.trials] == [list(range(10, 101, 10))] * 4
    assert again.history.trials[0].reason == ""


def test_a_budget_that_was_spent_before_anything_was_measured_is_said(make_space: Make, make_search: Make) -> None:
    search = make_search(make_space(RATES, "tuning.max_wall_s=1000"))
    search.next_config("a")
    search.history.earlier_s = 1001
    assert search.is_over()
    search.cut_off()
    with pytest.raises(TuningError, match=r"none of the 1 trials had measured anything when tuning\.max_wall_s = 1000"):
        _found(search.recipe, search.space, search.history, search.objectives, search.spent)


def test_the_search_ends_with_its_budget_of_time(make_space: Make, make_search: Make, play: Make) -> None:
    search = make_search(make_space(RATES, "tuning.max_wall_s=1000"))
    assert not search.is_over()
    search.history.earlier_s = 1001
    assert search.is_over()
    assert search.spent == "tuning.max_wall_s = 1000"


def test_more_trials_are_the_same_search(make_space: Make, make_search: Make, play: Make) -> None:
    play(make_search(make_space(RATES, "tuning.num_trials=3", *ASHA[1:])), falls)
    assert play(make_search(make_space(RATES, "tuning.num_trials=5", *ASHA[1:])), falls) == [3, 4]


def test_a_population_runs_generation_by_generation_from_its_own_checkpoints(
    make_space: Make, make_search: Make, play: Make
) -> None:
    words = ("tuning.search=pbt", "tuning.population=4", "tuning.generation_steps=20")
    space = make_space(RATES, *words)
    with pytest.raises(Exception, match=r"^$"):
        play(make_search(space), falls, killed_after=13)
    search = make_search(space)
    play(search, falls)
    trials = search.history.trials
    assert states(search) == [FINISHED] * 20
    assert [trial.first_step for trial in trials] == [20 * (number // 4) for number in range(20)]
    assert [trial.points[-1].step for trial in trials] == [20 * (number // 4 + 1) for number in range(20)]
    assert all(trial.parent // 4 == trial.number // 4 - 1 for trial in trials[4:])
    assert search.history.num_tokens == 4 * 100 * space.recipe.training.batch_tokens
    assert search.history.best(search.objectives).number >= 16


def test_a_member_whose_end_the_driver_did_not_live_to_note_has_ended(make_space: Make, make_search: Make) -> None:
    space = make_space(RATES, "tuning.search=pbt", "tuning.population=2", "tuning.generation_steps=20")
    search = make_search(space)
    for tune_id in ("a", "b"):
        search.next_config(tune_id)
        search.goes_on(tune_id, {"step": 20, "valid_loss": 1.0})
    search.ended("a")  # and then the driver is killed
    again = make_search(space)
    assert [trial.state for trial in again.history.trials] == [FINISHED, FINISHED]
    work = json.loads(again.next_config("c")["work"])
    assert (work["number"], work["first_step"]) == (2, 20)


def test_several_objectives_come_to_a_front(make_space: Make, make_search: Make, play: Make) -> None:
    lines = {"model.width": {"choice": [8, 16, 24, 32]}}
    words = ("tuning.objectives=[valid_loss, num_parameters]", "tuning.search=grid", "tuning.scheduler=none")
    search = make_search(make_space(lines, *words))
    play(search, lambda sample, step: {8: 3.0, 16: 2.0, 24: 2.5, 32: 1.0}[sample["model.width"]])
    assert [trial.sample["model.width"] for trial in search.history.front(search.objectives)] == [8, 16, 32]


def test_the_median_stops_what_is_worse_than_the_others(make_space: Make, make_search: Make, play: Make) -> None:
    lines = {"training.learning_rate": {"choice": [0.01, 0.011, 0.012, 0.9]}}
    search = make_search(make_space(lines, "tuning.search=grid", "tuning.scheduler=median", "tuning.grace_steps=20"), 3)
    play(search, falls)
    assert states(search) == [FINISHED] * 3 + [STOPPED]
    assert search.history.trials[3].reason == "median at step 20"


def test_hyperband_gives_trials_different_graces(make_space: Make) -> None:
    space = make_space(RATES, "tuning.scheduler=hyperband", "tuning.grace_steps=10")
    from tuning.objectives import read_objectives

    judge = Judge(space.recipe.tuning, read_objectives(None, is_of_decoding=False)[0], 100)
    judge.goes_on(0, 10, {"valid_loss": 0.0})
    survived = sum(judge.goes_on(number, 10, {"valid_loss": float(number)}) for number in range(1, 60))
    assert 10 < survived < 59  # those whose bracket begins later, and few others


@pytest.mark.usefixtures("ray_cluster")
def test_as_many_trials_run_as_there_is_room_for_with_all_their_workers(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe()  # the cluster of the tests has 4 CPUs
    assert num_concurrent(recipe, workers=1, cpus=1, gpus=0) == 4
    assert num_concurrent(make_recipe("tuning.max_concurrent_trials=3"), workers=1, cpus=1, gpus=0) == 3
    assert num_concurrent(make_recipe("scaling.cpus_per_worker=2"), workers=2, cpus=2, gpus=0) == 1
    with pytest.raises(ClusterError, match=r"one trial \(5 workers of 1 CPU\) needs 5 CPUs.* the cluster has 4 CPUs"):
        num_concurrent(recipe, workers=5, cpus=1, gpus=0)


def test_the_history_is_plain_json(make_space: Make, make_search: Make, play: Make) -> None:
    search = make_search(make_space(RATES, "tuning.num_trials=2"))
    play(search, falls)
    lines = (search.history.folder.directory / FILE).read_text().splitlines()
    assert {json.loads(line)["event"] for line in lines} == {"session", "begin", "point", "end"}
