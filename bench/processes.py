"""A command in, its answer out with the peak memory of every process it started, from /proc (Linux)."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_MARK = "REJOINDER_BENCH_MARK"


@dataclass
class Watched:
    """What a command said and what it took, in megabytes of 10^6 bytes."""

    status: int
    output: str
    peak_rss_mb: dict[str, float] = field(default_factory=dict)
    """Resident memory at the peak of the largest process of each name. Shared pages count in every process."""
    peak_pss_mb: dict[str, float] = field(default_factory=dict)
    """The same with shared pages divided among those who share them: what the process itself costs."""
    peak_total_pss_mb: float = 0.0
    """All processes together, at the worst moment."""


def run_watched(command: Sequence[str], environment: dict[str, str], folder: Path, every_s: float = 0.5) -> Watched:
    """Runs the command to its end and looks at its processes every so often.

    They are known by a mark in their environment, which Ray's daemons and workers inherit; parents may be gone.
    """
    mark = uuid.uuid4().hex
    output = folder / f"output-{mark}"
    watched = Watched(0, "")
    with output.open("wb") as stream:
        child = subprocess.Popen(
            command, env=environment | {_MARK: mark}, cwd=folder, stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            while child.poll() is None:
                _look(mark, watched)
                time.sleep(every_s)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    watched.status, watched.output = child.returncode, output.read_text(encoding="utf-8", errors="replace")
    return watched


def _look(mark: str, watched: Watched) -> None:
    total = 0.0
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            if f"{_MARK}={mark}".encode() not in (directory / "environ").read_bytes():
                continue
            name = _name((directory / "cmdline").read_bytes())
            rss, pss = _memory_mb(directory)
        except (OSError, ValueError):  # it has just ended, or is another user's
            continue
        total += pss
        watched.peak_rss_mb[name] = max(rss, watched.peak_rss_mb.get(name, 0))
        watched.peak_pss_mb[name] = max(pss, watched.peak_pss_mb.get(name, 0))
    watched.peak_total_pss_mb = max(total, watched.peak_total_pss_mb)


def _memory_mb(directory: Path) -> tuple[float, float]:
    sizes = {}
    for line in (directory / "smaps_rollup").read_text().splitlines()[1:]:
        name, kilobytes, *_ = line.split()
        sizes[name] = int(kilobytes) * 1024 / 1e6
    return sizes["Rss:"], sizes["Pss:"]


def _name(command_line: bytes) -> str:
    """`ray::task()` of a Ray worker, else the program with its module or script."""
    words = [word.decode(errors="replace") for word in command_line.split(b"\0") if word]
    if not words:
        raise ValueError("a process without a command line is the kernel's, or is ending")
    if words[0].startswith("ray::"):
        return "ray worker"
    program = os.path.basename(words[0].split()[0])
    if not program.startswith("python"):
        return program
    if "-m" in words:
        return words[words.index("-m") + 1]
    script = next((os.path.basename(word) for word in words[1:] if word.endswith(".py")), "")
    return "ray worker" if script == "default_worker.py" else script or program
