"""The corridor as a newcomer walks it: one command, any directory, any interruption."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).resolve().parents[2]
RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.timeout(500)
def test_the_demo_walks_the_corridor_and_finds_its_own_work_the_second_time(
    run_job: RunJob, environment: dict[str, str], port: int
) -> None:
    first = run_job("demo", "tiny", f"serving.port={port}")
    assert first.returncode == 0, first.stdout + first.stderr
    for stage in ("Prepare", "Train", "Evaluate", "Register", "Promote", "Deploy", "Ask"):
        assert f"== {stage}" in first.stdout
    assert "model:  " in first.stdout.split("== Ask")[1]
    assert "found, made before" not in first.stdout
    assert (Path(environment["HOME"]) / ".rejoinder").is_dir()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0  # nothing that was started is left

    second = run_job("demo", "tiny", f"serving.port={port}")
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count("found, made before") == 3
    assert "models:/tiny-chat/1" in second.stdout
    assert "models:/tiny-chat/2" not in second.stdout


def test_what_was_trained_can_be_talked_to_and_evaluated(run_job: RunJob) -> None:
    trained = run_job("train", "tiny", "training.num_steps=30")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert run_job("promote", "tiny").returncode == 0
    talk = run_job("chat", "tiny", text_in="Hello!\nWhat do you like?\n\n")
    assert talk.returncode == 0, talk.stderr
    assert talk.stdout.count("model:  ") == 2
    measured = run_job("evaluate", "tiny", "--of", "champion", "--split", "valid")
    assert measured.returncode == 0, measured.stderr
    assert "bits per byte" in measured.stdout
    wrong = run_job("evaluate", "tiny", "--of", "7")
    assert wrong.returncode == 1
    assert "has no version 7; its aliases are: candidate (version 1), champion (version 1)" in wrong.stderr


@pytest.mark.timeout(500)
def test_a_killed_driver_costs_the_steps_since_the_last_checkpoint(
    run_job: RunJob, environment: dict[str, str], tmp_path: Path
) -> None:
    words = ["tiny", "training.num_steps=600"]
    command = [sys.executable, str(CHECKOUT / "jobs" / "train.py"), *words]
    driver = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    store = Path(environment["HOME"]) / ".rejoinder" / "runs"
    wait_until(lambda: len(list(store.glob("*/checkpoints/step_*/manifest.json"))) > 0, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    made = max(int(path.name.removeprefix("step_")) for path in store.glob("*/checkpoints/step_????????"))
    assert 0 < made < 600
    again = run_job(*["train", *words])
    assert again.returncode == 0, again.stdout + again.stderr
    assert "going on from the checkpoint of step" in again.stdout
    assert list(store.glob("*/checkpoints/step_00000600/manifest.json"))


def test_the_installed_recipes_print_and_run_as_they_print(run_job: RunJob, tmp_path: Path) -> None:
    printed = run_job("train", "tiny", "model.width=32", "--print")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout)["model"]["width"] == 32
    (tmp_path / "mine.yaml").write_text(printed.stdout)
    assert run_job("train", "mine.yaml", "--print").stdout == printed.stdout


@pytest.mark.parametrize(
    "job",
    [
        "chat", "demo", "deploy", "evaluate", "models", "prepare", "promote", "reply", "self_chat", "train", "tune",
    ],
)  # fmt: skip
def test_every_job_explains_itself(run_job: RunJob, job: str) -> None:
    told = run_job(job, "--help")
    assert told.returncode == 0, told.stderr
    assert "training.learning_rate = " in told.stdout
    assert told.stderr == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "tiny", "training.lerning_rate=1"], "did you mean 'learning_rate'?"),
        (["train", "tiny", "scaling.num_workers=99"], "needs 99 CPUs"),
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


def test_a_port_in_use_is_named(run_job: RunJob, port: int) -> None:
    assert run_job("train", "tiny", "training.num_steps=10").returncode == 0
    assert run_job("promote", "tiny").returncode == 0
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = run_job("deploy", "tiny", f"serving.port={port}")
    assert done.returncode == 1
    assert f"serving.port = {port}: another program listens on 127.0.0.1:{port}" in done.stderr


def wait_until(happened: Callable[[], Any], process: subprocess.Popen[bytes], within_s: float = 120) -> None:
    """Waits for something that a process does; fails when it ends first."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
