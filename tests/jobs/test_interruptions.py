"""A training that is stopped, whose nodes are lost, announced to go, or come: real processes, really killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # a loaded machine is no failure
CHECKOUT = Path(__file__).resolve().parents[2]
WORDS = [
    "tiny", "data.corpora.0.num_conversations=100", "training.num_steps=100000", "training.log_rows=true",
    "training.checkpoint_every_steps=20", "training.validate_every_steps=100000",
]  # fmt: skip
FEW_STEPS = 25  # more than an epoch of them, and checkpoints on the way


@dataclass
class Training:
    """`jobs/train.py` in a process group of its own, as a terminal starts it."""

    environment: dict[str, str]
    words: list[str]
    output: Path
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begins it, or begins it again."""
        command = [sys.executable, str(CHECKOUT / "jobs" / "train.py"), *WORDS, *self.words]
        with open(self.output, "w") as out:
            self._process = subprocess.Popen(
                command, env=self.environment, stdout=out, stderr=out, start_new_session=True, cwd=self.output.parent
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """What was started last."""
        assert self._process is not None
        return self._process

    @property
    def said(self) -> str:
        """All that it printed."""
        return self.output.read_text()

    @property
    def run(self) -> Path:
        """Where its only run is kept."""
        (run,) = (Path(self.environment["HOME"]) / ".rejoinder" / "runs").glob("*/rows")
        return run.parent

    def until(self, happened: Callable[[], Any], within_s: float = 400) -> None:
        """Waits for something that it does; fails when it ends first."""
        deadline = time.monotonic() + within_s
        while not happened():
            assert self.process.poll() is None, f"the process ended: {self.said}"
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def has_made(self, num_steps: int, num_workers: int, since: int = 0) -> bool:
        """Whether so many workers together have made so many steps since they started, after step `since`."""
        files = [file for file in self._rows(num_workers) if file.name >= f"from_{since + 1:08d}"]
        return any(len(file.read_text().splitlines()) >= num_steps for file in files)

    def has_come_to(self, step: int) -> bool:
        """Whether rank 0 has made this step."""
        lines = [file.read_text().rpartition("\n")[0].splitlines() for file in self._rows("*")]
        return any(made and json.loads(made[-1])["step"] >= step for made in lines)

    def _rows(self, num_workers: int | str) -> Iterator[Path]:
        runs = Path(self.environment["HOME"]) / ".rejoinder" / "runs"
        return runs.glob(f"*/rows/*_rank_0_of_{num_workers}.jsonl")

    def ended(self, within_s: float = 200) -> int:
        """Its exit status."""
        return self.process.wait(timeout=within_s)

    def kept_steps(self) -> list[int]:
        """Of which there are whole checkpoints, in order."""
        manifests = self.run.glob("checkpoints/step_????????/manifest.json")
        return sorted(int(manifest.parent.name.removeprefix("step_")) for manifest in manifests)

    def rows_learnt(self) -> dict[int, tuple[int, list[int]]]:
        """Of each step that counts, its epoch and the rows of all ranks: after going back, the later ones count."""
        starts: dict[tuple[int, int], list[Path]] = {}
        for file in self.run.glob("rows/*.jsonl"):
            first, world = re.fullmatch(r"from_(\d+)_rank_\d+_of_(\d+)", file.stem).groups()  # type: ignore[union-attr]
            starts.setdefault((int(first), int(world)), []).append(file)
        learnt: dict[int, tuple[int, list[int]]] = {}
        for (first, _), files in sorted(starts.items(), key=lambda item: max(file.stat().st_mtime for file in item[1])):
            learnt = {step: made for step, made in learnt.items() if step < first}
            for file in files:
                for line in file.read_text().splitlines():
                    entry = json.loads(line)
                    learnt.setdefault(entry["step"], (entry["epoch"], []))[1].extend(entry["rows"])
        return learnt

    def require_each_exchange_once_an_epoch(self) -> int:
        """Nothing is lost and nothing repeated up to the last checkpoint; how many steps that are."""
        last = self.kept_steps()[-1]
        learnt = {step: made for step, made in self.rows_learnt().items() if step <= last}
        assert sorted(learnt) == list(range(1, last + 1))
        epochs: dict[int, Counter[int]] = {}
        for epoch, rows in learnt.values():
            epochs.setdefault(epoch, Counter()).update(rows)
        assert max(epochs) >= 1, "not a whole epoch was made"
        for epoch, counts in epochs.items():
            assert set(counts.values()) == {1}
            if epoch < max(epochs):
                assert sorted(counts) == list(range(len(counts))) == sorted(epochs[0])
        return last


@pytest.fixture
def training(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Training]]:
    """`training(environment, *words)`; what still runs at the end is killed."""
    made: list[Training] = []

    def make(*words: str, environment: dict[str, str] = environment) -> Training:
        made.append(Training(environment, list(words), tmp_path / "output.txt"))
        return made[-1]

    yield make
    for one in made:
        if one._process is not None and one._process.poll() is None:
            os.killpg(one._process.pid, signal.SIGKILL)


def test_a_stopped_training_keeps_its_last_step_and_goes_on_from_it(training: Callable[..., Training]) -> None:
    job, step = training(), 0
    # Terminals and batch systems send it to all that the job runs, `ray job stop` to the driver.
    for name, send in (("Ctrl-C", os.killpg), ("SIGTERM", os.killpg), ("SIGTERM", os.kill)):
        job.start()
        job.until(lambda: job.has_come_to(step + FEW_STEPS))  # noqa: B023
        assert not step or f"going on from the checkpoint of step {step:,}" in job.said
        send(job.process.pid, signal.SIGINT if name == "Ctrl-C" else signal.SIGTERM)
        assert job.ended() == 130, job.said
        (kept,) = re.findall(rf"stopped by {name}: step ([\d,]+) of 100,000 is kept in .*; the same command", job.said)
        step = int(kept.replace(",", ""))
        assert step == job.kept_steps()[-1] == max(job.rows_learnt())
        assert "Traceback" not in job.said
        job.words = ["scaling.num_workers=1"]  # two have agreed on a last step: once is enough

    job.start()
    job.until(lambda: job.has_come_to(step + 5))
    os.killpg(job.process.pid, signal.SIGINT)
    time.sleep(0.3)
    os.killpg(job.process.pid, signal.SIGINT)
    assert job.ended() == 130
    assert "stopped at once by the second Ctrl-C" in job.said or "is kept in" in job.said


def test_a_training_lives_through_a_node_that_is_announced_to_go_one_that_comes_and_one_that_is_lost(
    training: Callable[..., Training], cluster: Any, tmp_path: Path
) -> None:
    cluster.start_head(tmp_path, num_cpus=1, takes_jobs=False)
    cluster.add_node(tmp_path, num_cpus=1)
    job = training(
        "scaling.num_workers=[1,4]", "training.checkpoint_every_steps=100000",
        f"cluster.address=127.0.0.1:{cluster.gcs_port}", environment=cluster.environment,
    )  # fmt: skip
    job.start()
    job.until(lambda: job.has_made(FEW_STEPS, num_workers=2))
    before = job.rows_learnt()
    drain_the_other_node(cluster, deadline_s=60)
    job.until(lambda: "a node is going away: training goes on without it" in job.said)
    (saved,) = job.kept_steps()
    assert saved >= max(before)  # not a step was lost
    os.killpg(cluster._nodes[1].pid, signal.SIGKILL)
    job.until(lambda: f"going on from the checkpoint of step {saved:,}" in job.said)
    job.until(lambda: job.has_made(FEW_STEPS, num_workers=1))

    cluster.add_node(tmp_path, num_cpus=1)
    job.until(lambda: "with 2 workers" in job.said)
    assert "there is room for more workers" in job.said
    assert "restart" not in job.said  # neither was a failure
    grown = job.kept_steps()[-1]
    assert grown > saved
    job.until(lambda: job.has_come_to(grown + FEW_STEPS))

    os.killpg(cluster._nodes[2].pid, signal.SIGKILL)
    job.until(lambda: "restart 1 of 3" in job.said)
    job.until(lambda: job.said.count("with 1 worker\n") == 2)
    job.until(lambda: job.has_made(FEW_STEPS, num_workers=1, since=grown))
    assert "restart 2" not in job.said
    os.killpg(job.process.pid, signal.SIGINT)
    assert job.ended() == 130
    job.require_each_exchange_once_an_epoch()


def drain_the_other_node(cluster: Any, deadline_s: int) -> None:
    """Announces, as a cloud does some time before, that the node which is not the head is taken away."""
    code = """
import sys, ray, time
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2
ray.init(address=sys.argv[1], log_to_driver=False)
nodes = [node for node in ray.nodes() if node["Alive"]]
(node,) = [node["NodeID"] for node in nodes if "node:__internal_head__" not in node["Resources"]]
accepted = GcsClient(address=sys.argv[1]).drain_node(
    node, autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"), "spot",
    int((time.time() + float(sys.argv[2])) * 1000),
)
assert accepted[0], accepted
"""
    subprocess.run(
        [sys.executable, "-c", code, f"127.0.0.1:{cluster.gcs_port}", str(deadline_s)],
        env=cluster.environment, check=True, timeout=60,
    )  # fmt: skip
