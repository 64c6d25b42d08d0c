"""One MLflow run for one training run, over all restarts and outages: each point once, and none lost."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from rejoinder.recipe import Recipe
from rejoinder.registry import Ended, MlflowTracker, tracked_run, tracked_search
from rejoinder.registry import tracking as tracking_module
from rejoinder.registry.recorder import SAMPLES
from rejoinder.registry.tracking import as_params, flatten
from rejoinder.shards import Prepared


def points(tracker: MlflowTracker, metric: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, as the store has them."""
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id, metric)
    return sorted((point.step, point.value) for point in history)


def artifacts(tracker: MlflowTracker, folder: str | None = None) -> set[str]:
    """The paths of a run's artifacts."""
    return {artifact.path for artifact in MlflowClient(tracker.uri).list_artifacts(tracker.run_id, folder)}


def test_a_restarted_training_goes_on_in_the_same_run(recipe: Recipe, prepared: Prepared) -> None:
    first = begin_and_fail(recipe, prepared)
    client = MlflowClient(first.uri)
    assert client.get_run(first.run_id).info.status == "FAILED"
    with tracked_run(recipe, prepared, "one") as second:
        second.log({"train_loss": 2.0}, step=2)
    assert second.run_id == first.run_id
    assert client.get_run(first.run_id).info.status == "FINISHED"
    assert points(first, "train_loss") == [(1, 3.0), (2, 2.0)]


def test_a_run_whose_process_died_as_it_was_begun_is_not_gone_on_with(
    recipe: Recipe, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> str:
        raise SystemExit  # after the settings, before all else

    with monkeypatch.context() as patch:
        patch.setattr(tracking_module, "installed", die)
        with pytest.raises(SystemExit):
            tracked_run(recipe, prepared, "one").__enter__()
    with tracked_run(recipe, prepared, "one") as whole:
        pass
    assert "requirements.lock" in artifacts(whole)
    with tracked_run(recipe, prepared, "one") as again:
        assert again.run_id == whole.run_id


def begin_and_fail(recipe: Recipe, prepared: Prepared) -> MlflowTracker:
    """A run whose training ends with an error after a step."""
    try:
        with tracked_run(recipe, prepared, "one") as tracker:
            tracker.log({"train_loss": 3.0}, step=1)
            raise ZeroDivisionError
    except ZeroDivisionError:
        return tracker


def test_steps_that_are_made_again_after_an_interruption_are_recorded_once(recipe: Recipe, prepared: Prepared) -> None:
    with tracked_run(recipe, prepared, "one") as tracker:
        for step in (5, 6, 7):
            tracker.log({"train_loss": 10.0 - step}, step)
        tracker.log({"valid_loss": 3.0}, 5)
        tracker.close()  # the worker is lost; its last checkpoint is that of step 5
        restarted = pickle.loads(pickle.dumps(tracker))
        for step in (6, 7, 8):
            restarted.log({"train_loss": 10.0 - step}, step)
        restarted.log({"valid_loss": 2.5}, 8)
        restarted.close()
    assert points(tracker, "train_loss") == [(5, 5.0), (6, 4.0), (7, 3.0), (8, 2.0)]
    assert points(tracker, "valid_loss") == [(5, 3.0), (8, 2.5)]


def test_a_fresh_training_of_the_same_name_has_a_run_of_its_own(recipe: Recipe, prepared: Prepared) -> None:
    ids = []
    for fresh in (False, True, False):
        with tracked_run(recipe, prepared, "one", fresh=fresh) as tracker:
            tracker.log({"train_loss": 2.0}, step=1)
            ids.append(tracker.run_id)
    assert ids[0] != ids[1]
    assert ids[2] == ids[1]
    assert points(tracker, "train_loss") == [(1, 2.0)]


def test_other_trainings_have_other_runs(recipe: Recipe, prepared: Prepared) -> None:
    ids = []
    for name in ("one", "two"):
        with tracked_run(recipe, prepared, name) as tracker:
            ids.append(tracker.run_id)
    assert ids[0] != ids[1]


def test_a_trial_is_shown_under_its_search(recipe: Recipe, prepared: Prepared) -> None:
    """Both by titles that can be read in a narrow column, and the search with its own settings."""
    with (
        tracked_search(recipe, prepared, "search-123", title="tiny") as parent,
        tracked_run(recipe, prepared, "search-123-0001", parent_run_id=parent.run_id, title="trial 1 of tiny") as child,
    ):
        pass
    search, trial = (MlflowClient(parent.uri).get_run(tracker.run_id) for tracker in (parent, child))
    assert trial.data.tags["mlflow.parentRunId"] == parent.run_id
    assert (search.info.run_name, trial.info.run_name) == ("tiny", "trial 1 of tiny")
    assert search.data.params["tuning.num_trials"] == str(recipe.tuning.num_trials)
    assert not any(name.startswith("tuning.") for name in trial.data.params)
    with tracked_run(recipe, prepared, "search-123-0001", title="trial 1 of tiny") as again:
        assert again.run_id == child.run_id


def test_what_became_of_trials_is_in_their_runs(recipe: Recipe, prepared: Prepared) -> None:
    """One that was stopped where it stood, one whose process was lost, one that nobody knows of, and one that ended."""
    became = {"a": Ended("FINISHED"), "b": Ended("KILLED", "asha at step 20"), "c": Ended("FAILED", "out of memory")}
    with tracked_search(recipe, prepared, "search", lambda: became) as parent:
        client, ids = MlflowClient(parent.uri), {}
        for name in ("a", "b", "c", "d"):
            with tracked_run(recipe, prepared, name, parent_run_id=parent.run_id) as tracker:
                ids[name] = tracker.run_id
            if name != "a":  # its process had no time to end it
                client.update_run(tracker.run_id, status="RUNNING")
    runs = {name: client.get_run(run_id) for name, run_id in ids.items()}
    statuses = {name: run.info.status for name, run in runs.items()}
    assert statuses == {"a": "FINISHED", "b": "KILLED", "c": "FAILED", "d": "KILLED"}
    notes = {name: run.data.tags.get("mlflow.note.content") for name, run in runs.items()}
    assert notes == {"a": None, "b": "asha at step 20", "c": "out of memory", "d": None}
    with tracked_run(recipe, prepared, "b", parent_run_id=parent.run_id):  # it goes on
        assert "mlflow.note.content" not in client.get_run(ids["b"]).data.tags


def test_all_settings_are_in_the_run_however_many_there_are(
    make_recipe: Callable[..., Recipe], prepared: Prepared
) -> None:
    corpora = [{"name": "made_up", "num_conversations": 40 + number} for number in range(30)]
    with tracked_run(make_recipe(f"data.corpora={json.dumps(corpora)}"), prepared, "one") as tracker:
        pass
    params = MlflowClient(tracker.uri).get_run(tracker.run_id).data.params
    assert params["data.corpora.29.num_conversations"] == "69"
    assert (params["decoding.top_k"], params["training.num_steps"]) == ("40", "4")
    assert len(params) > 100


def test_a_run_says_what_it_was_made_from(recipe: Recipe, prepared: Prepared) -> None:
    with tracked_run(recipe, prepared, "one") as tracker:
        pass
    run = MlflowClient(tracker.uri).get_run(tracker.run_id)
    assert run.data.params["model.name"] == "gru_attention"
    assert run.data.params["data.corpora.0.name"] == "made_up"
    assert run.data.tags["rejoinder.data"] == "0123456789abcdef"
    assert run.data.tags["version.ray"]
    assert artifacts(tracker) == {"recipe.yaml", "data_manifest.json", "requirements.lock"}
    lock = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/requirements.lock")
    assert f"mlflow=={mlflow.__version__}\n" in lock


def test_curves_are_drawn_when_there_are_new_points(recipe: Recipe, prepared: Prepared) -> None:
    with tracked_run(recipe, prepared, "one") as tracker:
        for step in range(1, 4):
            tracker.log({"train_loss": 3.0 / step, "train_learning_rate": 1e-3, "train_gradient_norm": 1.0}, step)
        tracker.log({"valid_loss": 2.0}, step=3)
    names = {f"plots/{name}.png" for name in ("loss", "learning_rate", "gradient_norm")}
    assert artifacts(tracker, "plots") == names


def test_replies_become_one_table_with_each_step_once(recipe: Recipe, prepared: Prepared) -> None:
    with tracked_run(recipe, prepared, "one") as tracker:
        for step, reply in ((4, "uh"), (8, "fine"), (4, "again"), (8, "fine")):
            rows = [{"context": "how are you?", "reply": "fine, thanks", "model_reply": reply}]
            tracker.samples(lambda rows=rows: rows, step)
            if step == 8:
                tracker.close()  # a restart in between
    run = MlflowClient(tracker.uri).get_run(tracker.run_id)
    table = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{SAMPLES}"))
    assert table["columns"] == ["step", "context", "reply", "model_reply"]
    assert [(row[0], row[3]) for row in table["data"]] == [(4, "again"), (8, "fine")]
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": SAMPLES, "type": "table"}]


def test_samples_that_cannot_be_made_do_not_stop_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> list[dict[str, str]]:
        raise RuntimeError("out of memory")

    MlflowTracker("http://127.0.0.1:9", "run", tmp_path / "waiting", 0).samples(fails, 3)
    assert "step 3: no samples were made: out of memory" in caplog.text


def test_the_load_of_the_machine_is_recorded_over_the_seconds_of_the_run(recipe: Recipe, prepared: Prepared) -> None:
    with tracked_run(recipe, prepared, "one") as tracker:
        tracker.log({"train_loss": 2.0}, step=1000)
    ((seconds, megabytes),) = points(tracker, "system/process_memory_megabytes")
    assert 0 <= seconds < 60
    assert megabytes > 50
    assert points(tracker, "system/cpu_utilization_percentage")


def test_nothing_waits_for_a_store_that_is_away_and_nothing_is_lost(
    recipe: Recipe, prepared: Prepared, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_module, "_CLOSE_TIMEOUT_S", 0.3)
    with tracked_run(recipe, prepared, "one") as tracker:
        away = MlflowTracker("http://127.0.0.1:9", tracker.run_id, tracker.waiting, tracker.begun_ms)
        began = time.perf_counter()
        for step in range(1, 201):
            away.log({"train_loss": 1.0, "train_gradient_norm": 1.0}, step)
        assert time.perf_counter() - began < 0.2
        away.close()
        waiting = [json.loads(line)["step"] for line in tracker.waiting.read_text().splitlines()]
        assert [step for step in waiting if step > 0][:200] == list(range(1, 201))
    assert points(tracker, "train_loss") == [(step, 1.0) for step in range(1, 201)]
    assert not tracker.waiting.exists()


def test_what_a_store_never_took_is_said_to_wait_and_delivered_by_the_next_run(
    recipe: Recipe, prepared: Prepared, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_module, "_PATIENCE_S", 0.0)
    store, away = Path(recipe.storage.uri) / "mlflow" / "mlflow.db", Path(recipe.storage.uri) / "away.db"
    with tracked_run(recipe, prepared, "one") as tracker:
        tracker.log({"train_loss": 2.0}, step=1)
        while not tracker.waiting.exists():
            time.sleep(0.01)
        copy = store.read_bytes()
        away.write_bytes(copy)
        store.write_bytes(b"no database" * 100)
    assert f"wait in {tracker.waiting}; the same command delivers them" in caplog.text
    store.write_bytes(away.read_bytes())
    with tracked_run(recipe, prepared, "one"):
        pass
    assert points(tracker, "train_loss") == [(1, 2.0)]
    assert not tracker.waiting.exists()


def test_settings_become_flat_parameters() -> None:
    assert flatten({"a": {"b": [1, {"c": None}]}}) == {"a.b.0": "1", "a.b.1.c": "None"}


@pytest.mark.parametrize(("length", "is_cut"), [(500, False), (501, True), (9000, True)])
def test_a_value_that_is_too_long_for_the_store_is_cut_with_a_mark(length: int, is_cut: bool) -> None:
    (param,) = as_params({"model.config": "x" * length})
    assert len(param.value) == 500
    assert param.value.endswith("(cut; see recipe.yaml)") == is_cut


def test_a_recipe_of_more_settings_than_one_request_takes_is_recorded(
    with_words: Callable[..., Recipe], prepared: Prepared
) -> None:
    corpora = ",".join(f"{{name: made_up, num_conversations: {number}}}" for number in range(1, 60))
    recipe = with_words(f"data.corpora=[{corpora}]")
    with tracked_run(recipe, prepared, "wide") as tracker:
        pass
    params = MlflowClient(tracker.uri).get_run(tracker.run_id).data.params
    assert params["data.corpora.58.num_conversations"] == "59"
    assert len(params) > 200
