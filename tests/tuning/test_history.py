"""The file of a search: what it keeps, and what a kill leaves of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rejoinder.storage import Folder
from tuning.history import FAILED, FILE, FINISHED, RUNNING, STOPPED, History
from tuning.objectives import Objective, read_objectives

LOSS = read_objectives(None, is_of_decoding=False)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Where a search is kept."""
    return Folder(tmp_path / "search")


def filled(folder: Folder) -> History:
    history = History(folder)
    history.open_session()
    for number, losses in enumerate([[3.0, 2.0, 2.5], [4.0], [float("nan")]]):
        history.begin(number, {"training.seed": number}, 1000, None, None)
        for place, loss in enumerate(losses):
            history.point(number, 10 * (place + 1), {"valid_loss": loss, "num_parameters": 10.0 - number})
    history.end(0, FINISHED, facts={"recorded_s": 1.5})
    history.end(2, FAILED, "valid_loss is nan")
    return history


def test_all_is_read_back(folder: Folder) -> None:
    before, after = filled(folder), History(folder)
    assert [(trial.number, trial.sample, trial.state, trial.reason) for trial in after.trials] == [
        (0, {"training.seed": 0}, FINISHED, ""),
        (1, {"training.seed": 1}, RUNNING, ""),
        (2, {"training.seed": 2}, FAILED, "valid_loss is nan"),
    ]
    assert [[point.step for point in trial.points] for trial in after.trials] == [[10, 20, 30], [10], [10]]
    assert after.trials[0].facts == {"recorded_s": 1.5}
    assert after.born_ms == before.born_ms
    assert after.num_tokens == 1000 * (30 + 10 + 10)


def test_a_line_that_a_kill_cut_off_is_passed_over_and_the_next_one_is_whole(folder: Folder) -> None:
    filled(folder)
    file = folder.directory / FILE
    file.write_text(file.read_text() + '{"event": "end", "number": 1, "sta')
    history = History(folder)
    assert history.trials[1].state == RUNNING
    history.open_session()
    history.end(1, STOPPED, "asha at step 10")
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()][-2:] == ["session", "end"]
    assert History(folder).trials[1].reason == "asha at step 10"


def test_time_in_which_nobody_worked_on_it_does_not_count(folder: Folder) -> None:
    filled(folder)
    file = folder.directory / FILE
    events = [json.loads(line) for line in file.read_text().splitlines()]
    for place, event in enumerate(events):
        event["ms"] = 1_000_000 + 2_000 * place  # two seconds between any two
    again = {"event": "begin", "number": 1, "sample": {}, "batch_tokens": 1000, "parent": None, "until_step": None}
    later = [{"event": "session", "ms": 9_000_000}, again | {"ms": 9_001_000}]
    end = {"event": "end", "number": 1, "state": FINISHED, "reason": "", "facts": {}, "ms": 9_005_000}
    file.write_text("".join(json.dumps(event) + "\n" for event in [*events, *later, end]))
    history = History(folder)
    begun_s = next(event["ms"] for event in events if event["event"] == "begin" and event["number"] == 1) / 1000
    assert history.trials[1].seconds(0) == pytest.approx(events[-1]["ms"] / 1000 - begun_s + 4)
    assert history.earlier_s == pytest.approx((events[-1]["ms"] - events[0]["ms"]) / 1000 + 5)


def test_a_trial_counts_by_its_best_validation_and_one_of_decoding_by_its_last(folder: Folder) -> None:
    history = filled(folder)
    best = history.best(LOSS)
    assert best is not None
    assert (best.number, best.best(LOSS).metrics["valid_loss"]) == (0, 2.0)  # type: ignore[union-attr]
    at_the_end = (Objective("valid_loss", "min", counts_at_the_end=True),)
    assert best.best(at_the_end).metrics["valid_loss"] == 2.5  # type: ignore[union-attr]


def test_the_front_is_what_no_other_trial_is_better_than_in_everything(folder: Folder) -> None:
    history = History(folder)
    history.open_session()
    for number, (loss, size) in enumerate([(3.0, 1.0), (2.0, 2.0), (2.5, 2.0), (1.0, 3.0), (1.0, 4.0)]):
        history.begin(number, {}, 1000, None, None)
        history.point(number, 10, {"valid_loss": loss, "num_parameters": size})
        history.end(number, FINISHED)
    both = read_objectives(["valid_loss", "num_parameters"], is_of_decoding=False)
    assert [trial.number for trial in history.front(both)] == [0, 1, 3]
    assert [trial.number for trial in history.front(LOSS)] == [3]
    assert history.best(both).number == 3  # type: ignore[union-attr]
