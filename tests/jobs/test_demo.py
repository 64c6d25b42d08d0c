"""The corridor as a newcomer walks it: one command, any directory, any interruption."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.jobs.helpers import CHECKOUT, RunJob, environment_of, runner
from tests.real import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # a loaded machine is no failure


class Walked(NamedTuple):
    """A home in which the demo was begun, killed, and begun again."""

    environment: dict[str, str]
    run_job: RunJob
    words: list[str]
    step_when_killed: int
    done: subprocess.CompletedProcess[str]
    """The demo that came to its end."""


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """The demo, whose driver is killed at a checkpoint; then the same once more. Steps in many pieces are the same run,
    and so slow that they are not over before the kill."""
    directory = tmp_path_factory.mktemp("walked")
    environment = environment_of(directory / "home")
    words = ["tiny", f"serving.port={free_port()}", "training.num_steps=100"]
    command = [sys.executable, str(CHECKOUT / "jobs" / "demo.py"), *words]
    command += ["training.max_microbatch_tokens=90", "training.checkpoint_every_steps=5"]
    output = directory / "killed.txt"
    with output.open("w") as out:
        driver = subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=out)
    wait_until(lambda: checkpoints_in(environment), driver, output)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    step, run_job = max(checkpoints_in(environment)), runner(environment, directory)
    return Walked(environment, run_job, words, step, run_job("demo", *words))


def checkpoints_in(environment: dict[str, str]) -> list[int]:
    """The steps of which there are whole checkpoints."""
    found = (Path(environment["HOME"]) / ".rejoinder" / "runs").glob("*/checkpoints/step_????????/manifest.json")
    return [int(manifest.parent.name.removeprefix("step_")) for manifest in found]


def test_a_killed_driver_costs_the_steps_since_the_last_checkpoint(walked: Walked) -> None:
    assert walked.done.returncode == 0, walked.done.stdout + walked.done.stderr
    (step,) = re.findall(r"going on from the checkpoint of step (\d+)", walked.done.stdout)
    assert 0 < walked.step_when_killed <= int(step) < 100  # workers may outlive their driver by a step
    assert max(checkpoints_in(walked.environment)) == 100


def test_the_demo_walks_the_corridor_and_leaves_nothing_running(walked: Walked) -> None:
    for stage in ("Prepare", "Train", "Evaluate", "Register", "Promote", "Deploy", "Ask"):
        assert f"== {stage}" in walked.done.stdout
    assert "model:  " in walked.done.stdout.split("== Ask")[1]
    assert walked.done.stdout.count("found, made before") == 1  # the set, of the one that was killed
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(walked.words[1].partition("=")[2]))) != 0


def test_the_demo_finds_its_own_work_the_next_time(walked: Walked) -> None:
    again = walked.run_job("demo", *walked.words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("found, made before") == 3
    assert "models:/tiny-chat/1" in again.stdout
    assert "models:/tiny-chat/2" not in again.stdout
    assert "model:  " in again.stdout.split("== Ask")[1]


def test_what_was_trained_can_be_talked_to_and_evaluated(walked: Walked) -> None:
    talk = walked.run_job("chat", "tiny", text_in="Hello!\nWhat do you like?\n\n")
    assert talk.returncode == 0, talk.stderr
    assert talk.stdout.count("model:  ") == 2
    little = ["evaluation.behaviour=[]", "evaluation.num_self_chats=0", "evaluation.num_attention_maps=0"]
    measured = walked.run_job("evaluate", "tiny", *little, "--of", "champion", "--split", "valid")
    assert measured.returncode == 0, measured.stderr
    assert "bits per byte" in measured.stdout
    wrong = walked.run_job("chat", "tiny", "--of", "7")
    assert wrong.returncode == 1
    assert "has no version 7; its aliases are: candidate (version 1), champion (version 1)" in wrong.stderr


def test_a_port_in_use_is_named(walked: Walked) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = walked.run_job("deploy", "tiny", f"serving.port={port}")
    assert done.returncode == 1
    assert f"serving.port = {port}: another program listens on 127.0.0.1:{port}" in done.stderr


def test_the_installed_recipes_print_and_run_as_they_print(run_job: RunJob, tmp_path: Path) -> None:
    printed = run_job("train", "tiny", "model.width=32", "--print")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout)["model"]["width"] == 32
    (tmp_path / "mine.yaml").write_text(printed.stdout)
    assert run_job("train", "mine.yaml", "--print").stdout == printed.stdout


JOBS = sorted(file.stem for file in (CHECKOUT / "jobs").glob("[!_]*.py"))
# One program after the other in one process: what they import takes each of them seconds.
EXPLAIN = """
import contextlib, io, json, runpy, sys
folder, *jobs = sys.argv[1:]
sys.path.insert(0, folder)
told = {}
for job in jobs:
    sys.argv, out = [job, "--help"], io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(f"{folder}/{job}.py", run_name="__main__")
    except SystemExit as left:
        told[job] = left.code, out.getvalue()
print(json.dumps(told))
"""


def test_every_job_explains_itself(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXPLAIN, str(CHECKOUT / "jobs"), *JOBS], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert list(told) == JOBS
    for job, (status, text) in told.items():
        assert status == 0, job
        assert text.startswith(f"usage: {job}.py "), text
        assert "training.learning_rate = " in text
    assert len({text for _, text in told.values()}) == len(JOBS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "tiny", "training.lerning_rate=1"], "did you mean 'learning_rate'?"),
        (["train", "tiny", "scaling.num_workers=99"], "needs 99 CPUs and 0 GPUs, this machine has "),
        (["train", "nowhere.yaml"], "nowhere.yaml: there is no such recipe file"),
        (["prepare", "base", "data.corpora.0.path=missing.jsonl"], "missing.jsonl: no such file"),
        (["deploy", "tiny"], "nothing was registered yet: run jobs/train.py first"),
        (["train", "tiny", "cluster.address=127.0.0.1:9"], "cluster.address = 127.0.0.1:9: nobody listens there"),
        (["chat", "tiny", "registry.tracking_uri=http://127.0.0.1:9"], "is MLFLOW_TRACKING_URI right"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence_and_no_traceback(run_job: RunJob, words: list[str], says: str) -> None:
    done = run_job(*words)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr + done.stdout


def wait_until(happened: Callable[[], Any], process: subprocess.Popen[bytes], output: Path) -> None:
    """Waits for something that a process does; fails, with what it said, when it ends first."""
    deadline = time.monotonic() + 400
    while not happened():
        assert process.poll() is None, f"the process ended: {output.read_text()}"
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize("old", ["python3.10", "python3.9", "python3.8"])
def test_an_old_python_is_refused_in_one_sentence(old: str, tmp_path: Path) -> None:
    works = shutil.which(old) and subprocess.run([old, "-c", ""], capture_output=True, check=False).returncode == 0
    if not works:
        pytest.skip(f"{old} is not on this machine")
    job = subprocess.run([old, CHECKOUT / "jobs" / "train.py"], capture_output=True, text=True, check=False)
    assert job.returncode == 1
    assert job.stderr.startswith("error: Rejoinder needs Python 3.11 or newer, this is 3.")
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(CHECKOUT / name, tmp_path)
    made = subprocess.run(["make", "demo", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "error: Rejoinder needs Python 3.11, 3.12 or 3.13" in made.stderr
    assert not (tmp_path / ".venv").exists()
