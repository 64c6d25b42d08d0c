"""One MLflow run for one training run, over all restarts."""

from __future__ import annotations

import pickle

import pytest
from mlflow import MlflowClient

from rejoinder.recipe import Recipe
from rejoinder.registry import MlflowTracker, tracked_run
from rejoinder.registry.tracking import flatten
from rejoinder.shards import Prepared


def test_a_restarted_training_goes_on_in_the_same_run(recipe: Recipe, prepared: Prepared) -> None:
    first = begin_and_fail(recipe, prepared)
    client = MlflowClient(first.uri)
    assert client.get_run(first.run_id).info.status == "FAILED"
    with tracked_run(recipe, prepared, "one") as second:
        second.log({"train_loss": 2.0}, step=2)
    assert second.run_id == first.run_id
    assert client.get_run(first.run_id).info.status == "FINISHED"
    assert [(point.step, point.value) for point in client.get_metric_history(first.run_id, "train_loss")] == [
        (1, 3.0),
        (2, 2.0),
    ]


def begin_and_fail(recipe: Recipe, prepared: Prepared) -> MlflowTracker:
    """A run whose training ends with an error after a step."""
    try:
        with tracked_run(recipe, prepared, "one") as tracker:
            tracker.log({"train_loss": 3.0}, step=1)
            raise ZeroDivisionError
    except ZeroDivisionError:
        return tracker


def test_other_trainings_have_other_runs(recipe: Recipe, prepared: Prepared) -> None:
    ids = []
    for name in ("one", "two"):
        with tracked_run(recipe, prepared, name) as tracker:
            ids.append(tracker.run_id)
    assert ids[0] != ids[1]


def test_a_run_says_what_it_was_made_from(recipe: Recipe, prepared: Prepared, tmp_path: object) -> None:
    with tracked_run(recipe, prepared, "one") as tracker:
        pass
    client = MlflowClient(tracker.uri)
    run = client.get_run(tracker.run_id)
    assert run.data.params["model.name"] == "gru_attention"
    assert run.data.params["data.corpora.0.name"] == "made_up"
    assert run.data.tags["rejoinder.data"] == "0123456789abcdef"
    assert run.data.tags["version.ray"]
    assert {artifact.path for artifact in client.list_artifacts(tracker.run_id)} == {
        "recipe.yaml",
        "data_manifest.json",
    }


def test_a_tracker_travels_and_a_lost_store_costs_points_not_the_training(
    recipe: Recipe, prepared: Prepared, caplog: pytest.LogCaptureFixture
) -> None:
    with tracked_run(recipe, prepared, "one") as tracker:
        tracker.log({"a": 1.0}, step=1)
        copy = pickle.loads(pickle.dumps(tracker))
        copy.log({"a": 2.0}, step=2)
    assert len(MlflowClient(tracker.uri).get_metric_history(tracker.run_id, "a")) == 2
    MlflowTracker("http://127.0.0.1:9", "no-run").log({"a": 1.0}, step=3)
    assert "step 3 was not recorded in MLflow at http://127.0.0.1:9" in caplog.text


def test_settings_become_flat_parameters() -> None:
    assert flatten({"a": {"b": [1, {"c": None}]}}) == {"a.b.0": "1", "a.b.1.c": "None"}
