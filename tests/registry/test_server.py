"""A tracking server instead of a file: the same registry over HTTP, artifacts included; and one that is away."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from rejoinder import checkpoints
from rejoinder.evaluation import Evaluation
from rejoinder.recipe import Recipe
from rejoinder.registry import MlflowTracker, Registry, tracked_run
from rejoinder.shards import Prepared
from rejoinder.training import TrainedRun

pytestmark = pytest.mark.slow


def test_versions_travel_through_the_server(
    mlflow_server: Any, with_words: Callable[..., Recipe], prepared: Prepared, make_run: Callable[[int], TrainedRun],
    evaluation: Evaluation,
) -> None:  # fmt: skip
    recipe = with_words(f"registry.tracking_uri={mlflow_server.url}")
    with tracked_run(recipe, prepared, "run-1") as tracker:
        tracker.log({"train_loss": 3.0}, step=1)
        tracker.samples(lambda: [{"context": "hi", "reply": "hello", "model_reply": "uh"}], step=1)
    registry, run = Registry(recipe), make_run(1)
    registry.register(run, tracker.run_id, evaluation)
    registry.promote(None)
    directory = registry.download(registry.find("champion"))
    assert (directory / checkpoints.WEIGHTS).read_bytes() == (run.checkpoint / checkpoints.WEIGHTS).read_bytes()
    assert registry.uri == mlflow_server.url
    names = {artifact.path for artifact in MlflowClient(mlflow_server.url).list_artifacts(tracker.run_id)}
    assert {"plots", "samples.json", "recipe.yaml"} <= names


# A worker that is killed while the server is away.
KILLED_WORKER = """
import os, pickle, signal, sys, time
tracker = pickle.load(open(sys.argv[1], "rb"))
for step in range(102, 111):
    tracker.log({"train_loss": float(step)}, step)
while '"step": 110' not in (tracker.waiting.read_text() if tracker.waiting.exists() else ""):
    time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.timeout(600)
def test_a_server_that_goes_and_comes_back_has_every_point_once_and_nobody_waited_for_it(
    mlflow_server: Any, with_words: Callable[..., Recipe], prepared: Prepared, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with tracked_run(with_words(f"registry.tracking_uri={mlflow_server.url}"), prepared, "run") as tracker:
        tracker.log({"train_loss": 1.0}, step=1)
        wait_until(lambda: steps_of(tracker) == [1])

        mlflow_server.kill()
        slowest_s = 0.0
        for step in range(2, 102):
            began = time.perf_counter()
            tracker.log({"train_loss": float(step)}, step)
            slowest_s = max(slowest_s, time.perf_counter() - began)
            time.sleep(0.1)  # the attempts to deliver fall into this time
        assert slowest_s < 0.5
        assert f"MLflow at {mlflow_server.url} does not take points" in caplog.text
        tracker.close()
        waiting = [json.loads(line) for line in tracker.waiting.read_text().splitlines()]
        assert [entry["step"] for entry in waiting if "train_loss" in entry["metrics"]] == list(range(2, 102))

        (tmp_path / "tracker").write_bytes(pickle.dumps(tracker))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        worker = subprocess.run(
            [sys.executable, "-c", KILLED_WORKER, str(tmp_path / "tracker")], env=environment, timeout=120, check=False
        )
        assert worker.returncode == -9

        mlflow_server.start()
        restarted = pickle.loads(pickle.dumps(tracker))
        for step in range(105, 121):  # from the checkpoint of step 104
            restarted.log({"train_loss": float(step)}, step)
        wait_until(lambda: steps_of(tracker) == list(range(1, 121)))

        mlflow_server.kill()
        restarted.log({"train_loss": 121.0}, 121)
        restarted.close()
        later = threading.Thread(target=mlflow_server.start)
        later.start()  # while the driver tries to end the run
    later.join()
    assert steps_of(tracker) == list(range(1, 122))
    run = MlflowClient(tracker.uri).get_run(tracker.run_id)
    assert (run.info.status, run.data.metrics["train_loss"]) == ("FINISHED", 121.0)
    assert not tracker.waiting.exists()


def steps_of(tracker: MlflowTracker) -> list[int]:
    """The steps of the points that the store has."""
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id, "train_loss")
    return sorted(point.step for point in history)


def wait_until(is_true: Callable[[], bool]) -> None:
    """Looks for a minute."""
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.5)
