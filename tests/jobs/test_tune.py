"""`jobs/tune.py`, a trial at a time: a search whose driver is killed, and which goes on to register the best."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from rejoinder.recipe import load_recipe
from tuning.search import DRIVER_MEMORY_BYTES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CHECKOUT = Path(__file__).resolve().parents[2]
SPACE = {"training.learning_rate": {"choice": [0.01, 1e-9]}}
WORDS = [
    "tiny", "scaling.num_workers=1", "cluster.num_cpus=1", "data.corpora.0.num_conversations=100", "model.width=16",
    "training.num_steps=20", "training.validate_every_steps=10", "tuning.search=grid", "tuning.scheduler=none",
    "evaluation.num_samples=0", "evaluation.max_replies=8", "evaluation.num_timed_replies=0", "evaluation.behaviour=[]",
    "evaluation.num_self_chats=0", "evaluation.num_attention_maps=0",
]  # fmt: skip


def test_a_search_that_was_killed_keeps_what_had_ended_and_registers_the_best(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(SPACE, sort_keys=False))
    command = [sys.executable, str(CHECKOUT / "jobs" / "tune.py"), *WORDS, f"tuning.space={file}"]
    home = Path(environment["HOME"]) / ".rejoinder"
    with open(tmp_path / "first.txt", "w") as out:
        first = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=tmp_path)
    wait_for(lambda: any(event["event"] == "end" for event in events(home)), first, tmp_path / "first.txt")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    ended = {event["number"] for event in events(home) if event["event"] == "end"}
    num_events = len(events(home))

    done = subprocess.run(
        [*command, "--output", str(tmp_path / "best.yaml")], env=environment, cwd=tmp_path, capture_output=True,
        text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"found, made before: {len(ended)} trials that have ended" in done.stdout
    later = events(home)[num_events:]
    assert ended.isdisjoint(event["number"] for event in later if event["event"] == "begin")

    ends = {event["number"]: event for event in events(home) if event["event"] == "end"}
    assert [ends[number]["state"] for number in range(2)] == ["finished", "finished"]
    assert load_recipe(tmp_path / "best.yaml").training.learning_rate == 0.01
    (page,) = home.glob("tuning/*/report.html")
    assert "in trial 0, the best of 2" in page.read_text()
    (kept,) = home.glob("tuning/*/trial-0000")  # the best one's alone
    assert not list(home.glob("tuning/*/trial-0001"))
    assert list(kept.glob("checkpoints/step_*/weights.safetensors"))
    assert "alias 'candidate'" in done.stdout

    client = MlflowClient(f"sqlite:///{home}/mlflow/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("rejoinder").experiment_id])
    (search,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == search.info.run_id]
    assert len(trials) == len(runs) - 1 == 2
    assert [run.info.status for run in trials] == ["FINISHED", "FINISHED"]
    losses = [run.data.metrics["valid_loss"] for run in trials]
    assert search.data.metrics["best_valid_loss"] == pytest.approx(min(losses), abs=1e-6)


EVERY = 10
LONGER = ["training.num_steps=100", f"training.validate_every_steps={EVERY}", "training.log_rows=true"]
"""A validation takes half a second, its report to Tune: there is time for a trial to be lost in its middle."""


def test_a_lost_node_and_ctrl_c_cost_no_more_than_the_steps_since_the_last_checkpoints(
    environment: dict[str, str], cluster: Any, tmp_path: Path
) -> None:
    """The trials' drivers are on the node that is lost when one of them is in its middle; another takes its place. In
    the end the best settings are trained anew, for all steps."""
    cluster.start_head(tmp_path, 1, f"--memory={DRIVER_MEMORY_BYTES // 2}")  # no room for any trial's driver
    cluster.add_node(tmp_path, num_cpus=1)
    file, output = tmp_path / "own.yaml", tmp_path / "said.txt"
    file.write_text(yaml.safe_dump(SPACE, sort_keys=False))
    words = [*WORDS, *LONGER, f"tuning.space={file}", f"cluster.address=127.0.0.1:{cluster.gcs_port}"]
    command = [sys.executable, str(CHECKOUT / "jobs" / "tune.py"), *words]
    home = Path(environment["HOME"]) / ".rejoinder"

    with open(output, "w") as out:
        first = subprocess.Popen(
            command, env=cluster.environment, stdout=out, stderr=out, cwd=tmp_path, start_new_session=True
        )
    wait_for(lambda: any(has_made(home, trial, 2 * EVERY) for trial in range(2)), first, output)
    os.killpg(cluster._nodes[1].pid, signal.SIGKILL)
    cluster.add_node(tmp_path, num_cpus=1)
    wait_for(lambda: any(has_made(home, trial, EVERY, since=EVERY) for trial in range(2)), first, output)
    os.killpg(first.pid, signal.SIGINT)
    assert first.wait(timeout=120) == 130, output.read_text()
    *_, last = output.read_text().splitlines()
    assert re.search(r"stopped by Ctrl-C: \d of 2 trials have ended .* the same command goes on from there", last)
    assert "Traceback" not in output.read_text()
    assert "Ctrl-C: ending the trials, whose last checkpoints are kept; once more ends at once" in output.read_text()
    assert re.search(r"trial \d was lost \(.*\); it goes on from its last checkpoint", output.read_text())
    ended = {event["number"] for event in events(home) if event["event"] == "end"}
    num_events = len(events(home))
    made = [steps_made(home, trial) for trial in range(2)]
    assert max(map(len, made)) > 1
    for earlier, later in (pair for starts in made for pair in pairwise(starts)):
        assert earlier[-1] - EVERY < later[0] <= earlier[-1] + 1

    done = subprocess.run(
        [*command, "--train-best"], env=cluster.environment, cwd=tmp_path, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert ended.isdisjoint(event["number"] for event in events(home)[num_events:] if event["event"] == "begin")
    ends = {event["number"]: event for event in events(home) if event["event"] == "end"}
    assert [(ends[number]["state"], ends[number]["reason"]) for number in range(2)] == [("finished", "")] * 2
    for trial in range(2):
        points = [event["step"] for event in events(home) if event["event"] == "point" and event["number"] == trial]
        assert points == sorted(set(points))
        assert points[-1] == 100
    assert "alias 'candidate'" in done.stdout


def steps_made(home: Path, trial: int) -> list[list[int]]:
    """Of each worker of a trial, in order, the steps that it has made."""
    files = sorted(home.glob(f"tuning/*/trial-{trial:04d}/rows/*.jsonl"))
    lines = [[line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")] for file in files]
    return [[json.loads(line)["step"] for line in of] for of in lines if of]


def has_made(home: Path, trial: int, num_steps: int, since: int = 0) -> bool:
    """Whether a trial's worker that began after step `since` has made so many steps."""
    return any(len(steps) >= num_steps and steps[0] > since for steps in steps_made(home, trial))


def events(home: Path) -> list[dict[str, Any]]:
    """The lines of the only search's history that are whole."""
    found = []
    for file in home.glob("tuning/*/trials.jsonl"):
        for line in file.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[Any], output: Path) -> None:
    """Fails when the process ends first."""
    deadline = time.monotonic() + 500
    while not happened():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.1)
