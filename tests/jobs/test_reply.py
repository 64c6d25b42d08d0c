"""Replies to a file that survive a killed driver; two models that talk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).resolve().parents[2]
NUM_ROWS, ROWS_PER_PIECE = 1200, 50
RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.timeout(500)
def test_a_killed_job_goes_on_and_no_row_is_lost_or_made_twice(
    run_job: RunJob, environment: dict[str, str], tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"id": number, "text": f"I have {number} dogs."}) + "\n" for number in range(NUM_ROWS))
    )
    words = ["tiny", "--of", str(make_checkpoint()), "--input", "in.jsonl", "--output", "out"]
    words += ["--rows-per-piece", str(ROWS_PER_PIECE), "cluster.num_cpus=2"]
    command = [sys.executable, str(CHECKOUT / "jobs" / "reply.py"), *words]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        while len(list((tmp_path / "out" / "_done").glob("*.json"))) < 2:
            assert driver.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    done = {note.stem for note in (tmp_path / "out" / "_done").glob("*.json")}
    files = {name: (tmp_path / "out" / f"part-{name}.jsonl").stat().st_ino for name in done}
    assert 2 <= len(done) < NUM_ROWS // ROWS_PER_PIECE

    again = run_job("reply", *words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "found, made before" in again.stdout
    assert {name: (tmp_path / "out" / f"part-{name}.jsonl").stat().st_ino for name in done} == files
    parts = sorted((tmp_path / "out").glob("part-*.jsonl"))
    rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert [row["row_index"] for row in rows] == [row["id"] for row in rows] == list(range(NUM_ROWS))
    assert all(row["model_reply"] for row in rows)
    assert not list((tmp_path / "out").rglob(".*partial"))


def test_two_models_talk(run_job: RunJob, tmp_path: Path, make_checkpoint: Callable[..., Path]) -> None:
    words = ["tiny", "--of", str(make_checkpoint(0)), "--with-other", str(make_checkpoint(1)), "--conversations", "3"]
    talked = run_job("self_chat", *words, "--turns", "4", "--output", "talks.json")
    assert talked.returncode == 0, talked.stderr
    assert "self_chat_loops" in talked.stdout
    found = json.loads((tmp_path / "talks.json").read_text())
    assert [len(talk["turns"]) for talk in found["conversations"]] == [5, 5, 5]


def test_what_is_missing_is_said(run_job: RunJob) -> None:
    wrong = run_job("reply", "tiny", "--input", "in.jsonl")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: --output DIRECTORY is needed")
