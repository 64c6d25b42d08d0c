"""Points of a training in, batches in an MLflow run out, by a thread of its own; a file keeps what is not delivered.

The training thread only hands over. Every point is written to the file first, so that neither a store that is away
nor a killed worker loses it: whoever opens the file next, a restarted worker or the driver at the end, delivers it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rejoinder.registry.recorder import Recorder

MAX_KEPT_BYTES = 64 * 2**20
"""What may wait for the store: months of a training's points at the usual setting."""
_MAX_PAUSE_S = 60.0
Entry = dict[str, Any]
"""`{"ms", "step", "metrics"}` or `{"ms", "step", "samples"}`; as JSON, a line of the file."""
log = logging.getLogger(__name__)


class Kept:
    """The entries of one run that the store does not have yet: in memory, and as lines of a file."""

    def __init__(self, file: Path) -> None:
        """Takes up what another process left in the file."""
        self.file = file
        self.lines: list[str] = []
        self.num_refused = 0
        self._num_bytes = 0
        self._has_file = True
        self.lines, is_torn = self._read()
        self._num_bytes = sum(map(len, self.lines))
        if is_torn:
            self._write("w", self.lines)

    def add(self, entries: Iterable[Entry]) -> None:
        """Keeps entries, up to `MAX_KEPT_BYTES` in all; counts those that are too many."""
        lines = [json.dumps(entry) for entry in entries]
        while lines and self._num_bytes + sum(map(len, lines)) > MAX_KEPT_BYTES:
            lines.pop()
            self.num_refused += 1
            if self.num_refused == 1:
                log.warning("%s is full; points are lost until MLflow answers", self.file)
        self._num_bytes += sum(map(len, lines))
        self.lines += lines
        self._write("a", lines)

    def entries(self) -> list[Entry]:
        """All of them, oldest first."""
        return [json.loads(line) for line in self.lines]

    def replace(self, entries: Iterable[Entry]) -> None:
        """Keeps these instead."""
        self.lines = [json.dumps(entry) for entry in entries]
        self._num_bytes = sum(map(len, self.lines))
        self._write("w", self.lines)

    def release(self) -> None:
        """The file belongs to somebody else from now on: it is not written to any more."""
        self._has_file = False

    def _read(self) -> tuple[list[str], bool]:
        try:
            text = self.file.read_text(encoding="utf-8")
        except OSError:
            return [], False
        whole, _, torn = text.rpartition("\n")  # a process that was killed may have left half a line
        return whole.splitlines(), bool(torn)

    def _write(self, mode: str, lines: list[str]) -> None:
        """Without a sync: what was written survives this process, which is what ends."""
        if not self._has_file or (mode == "a" and not lines):
            return
        try:
            if lines:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with open(self.file, mode, encoding="utf-8") as out:
                    out.write("".join(line + "\n" for line in lines))
            else:
                self.file.unlink(missing_ok=True)
        except OSError as error:
            self._has_file = False
            log.warning("%s cannot be written (%s); points for MLflow wait in memory only", self.file, error)


class Delivery:
    """Delivers to one MLflow run every few seconds."""

    def __init__(
        self, recorder: Recorder, file: Path, *, interval_s: float = 5.0,
        sample: Callable[[], Entry] | None = None, sample_interval_s: float = 10.0,
    ) -> None:  # fmt: skip
        """`sample` is called every `sample_interval_s` seconds, for entries of its own; what it gives first is left
        out, because a load is that since the last time."""
        self._recorder, self._file, self._interval_s = recorder, file, interval_s
        self._sample, self._sample_interval_s = sample, sample_interval_s
        self._new: deque[Entry] = deque()
        self._wake, self._closing, self._is_away = threading.Event(), False, False
        self._kept: Kept | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Hands over an entry: microseconds, whatever the store does."""
        self._new.append(entry)
        self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Delivers what is there. What the store does not take within the time stays in the file."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive() and self._kept is not None:
            self._kept.release()

    def _run(self) -> None:
        kept = self._kept = Kept(self._file)
        pause_s = self._interval_s
        if self._sample:
            self._sample()
        due_s, sample_due_s = time.monotonic() + pause_s, time.monotonic() + self._sample_interval_s
        while True:
            self._wake.wait(max(0.0, min(due_s, sample_due_s) - time.monotonic()))
            self._wake.clear()
            is_last = self._closing
            if self._sample and (is_last or time.monotonic() >= sample_due_s):
                self._new.append(self._sample())
                sample_due_s = time.monotonic() + self._sample_interval_s
            kept.add(self._new.popleft() for _ in range(len(self._new)))
            if is_last or time.monotonic() >= due_s:
                pause_s = self._interval_s if self._deliver(kept) else min(2 * pause_s, _MAX_PAUSE_S)
                due_s = time.monotonic() + pause_s
            if is_last:
                return

    def _deliver(self, kept: Kept) -> bool:
        """Whether all was. The beginning and the end of an outage are said, once each."""
        error = hand_over(kept, self._recorder)
        if error is None and self._is_away:
            log.warning("MLflow at %s answers again and has all points", self._recorder.uri)
        elif error is not None and not self._is_away:
            log.warning(
                "MLflow at %s does not take points (%s); training goes on, they wait in %s of %s",
                self._recorder.uri, in_short(error), self._file, socket.gethostname(),
            )  # fmt: skip
        self._is_away = error is not None
        return error is None


def hand_over(kept: Kept, recorder: Recorder) -> Exception | None:
    """All that is kept to the store; what it did not take is kept on, and why is returned."""
    if not kept.lines:
        return None
    left, error = recorder.record(kept.entries())
    kept.replace(left)
    return error


def in_short(error: Exception) -> str:
    """What the system says at the bottom of an error, such as `Connection refused`; else its first line."""
    if found := re.search(r"\[Errno -?\d+\] ([\w ]+)", str(error)):
        return found[1]
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def waiting_file(directory: Path, run_id: str) -> Path:
    """Where the entries of a run wait."""
    return directory / "undelivered" / f"{os.path.basename(run_id)}.jsonl"
