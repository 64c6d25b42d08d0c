"""How long from `python jobs/train.py` to the first step, and from a worker's kill to the next one?"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.framework import Figure, Result
from bench.setting import Setting
from rejoinder.cluster import CHECKOUT

STEPS_BEFORE_THE_KILL = 6
PATIENCE_S = 300.0
MARK = "REJOINDER_BENCH_RUN"
T = TypeVar("T")


def measure(setting: Setting) -> Result:
    """Seconds, one round: with nothing prepared, from the command on; its parts by the lines that it prints."""
    words = [
        "tiny" if setting.tiny else "demo", "training.num_steps=2000", "training.log_every_steps=1",
        f"training.checkpoint_every_steps={STEPS_BEFORE_THE_KILL - 1}", "training.validate_every_steps=1000",
    ]  # fmt: skip
    with running(setting, words) as run:
        begun = run.begun
        prepares, trains = run.line_at("Prepare:"), run.line_at("Train:")
        first = run.steps(1)[0]
        run.steps(STEPS_BEFORE_THE_KILL)
        killed = run.kill_a_worker()
        restarts = run.line_at("restart", since=killed)
        again = run.steps(1, since=restarts)[0]
    start = {
        "interpreter, imports and Ray": prepares - begun,
        "preparing the corpus": trains - prepares,
        "MLflow, workers, model and the first step": first - trains,
    }
    restart = {
        "until the loss is noticed": restarts - killed,
        "new workers, the checkpoint and the next step": again - restarts,
    }
    return Result(
        [
            Figure("command to first step", "s", [first - begun]),
            *(Figure(f"of it: {part}", "s", [seconds]) for part, seconds in start.items()),
            Figure("kill of a worker to the next step", "s", [again - killed]),
            *(Figure(f"of it: {part}", "s", [seconds]) for part, seconds in restart.items()),
        ],
        {"recipe": words[0], "start_s": start, "restart_s": restart},
    )


@dataclass
class Run:
    """A `jobs/train.py` that goes on while it is looked at."""

    process: subprocess.Popen[str]
    home: Path
    mark: str
    begun: float
    lines: list[tuple[float, str]] = field(default_factory=list)
    """What it printed, each line with the time it came at."""

    def line_at(self, words: str, since: float = 0.0) -> float:
        """When a line with these words came."""
        return self._wait(lambda: next((at for at, line in self.lines if words in line and at >= since), None), words)

    def steps(self, num_steps: int, since: float = 0.0) -> list[float]:
        """When so many steps after `since` were made: by the clock of the process that made them."""
        return self._wait(lambda: made if len(made := self._made(since)) >= num_steps else None, f"{num_steps} steps")

    def kill_a_worker(self) -> float:
        """Ends one of the processes that train, by SIGKILL; when."""
        workers = [pid for pid, words in processes(self.mark) if words.startswith("ray::") and "Worker" in words]
        if not workers:
            raise RuntimeError(f"no training worker was found among {processes(self.mark)}")
        os.kill(workers[-1], signal.SIGKILL)
        return time.time()

    def _made(self, since: float) -> list[float]:
        file = self.home / "mlflow" / "mlflow.db"
        if not file.exists():
            return []
        asked = "SELECT timestamp FROM metrics WHERE key = 'train_loss' ORDER BY timestamp"
        try:
            store = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)
            found = [milliseconds / 1000 for (milliseconds,) in store.execute(asked)]
            store.close()
        except sqlite3.OperationalError:  # its tables are being made
            return []
        return [at for at in found if at >= since]

    def _wait(self, look: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if (found := look()) is not None:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        said = "\n".join(line for _, line in self.lines[-25:])
        raise RuntimeError(f"jobs/train.py: waited in vain for {what}:\n{said}")


@contextmanager
def running(setting: Setting, words: list[str]) -> Iterator[Run]:
    """Starts the job in an empty home; at the end it is stopped as Ctrl-C stops it."""
    home, mark = setting.folder / "job", uuid.uuid4().hex
    environment = setting.environment(REJOINDER_HOME=str(home), PYTHONUNBUFFERED="1", **{MARK: mark})
    begun = time.time()
    process = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "jobs" / "train.py"), *words], env=environment, cwd=setting.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    run = Run(process, home, mark, begun)
    reader = threading.Thread(target=_read, args=(run,), daemon=True)
    reader.start()
    try:
        yield run
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        for pid, _ in processes(mark):  # what a killed driver left behind
            os.kill(pid, signal.SIGKILL)
        reader.join(10)


def _read(run: Run) -> None:
    assert run.process.stdout is not None
    for line in run.process.stdout:
        run.lines.append((time.time(), line.rstrip()))


def processes(mark: str) -> list[tuple[int, str]]:
    """(pid, command line) of those that carry this mark in their environment, as all that a job starts does."""
    found = []
    for directory in Path("/proc").iterdir():
        try:
            if directory.name.isdigit() and f"{MARK}={mark}".encode() in (directory / "environ").read_bytes():
                words = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(directory.name), words.strip()))
        except OSError:  # it has just ended, or is another user's
            continue
    return found
