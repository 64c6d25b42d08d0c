"""Jobs as programs, in a home of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


def environment_of(home: Path) -> dict[str, str]:
    """Of a user who has this new home."""
    home.mkdir()
    dropped = ("RAY_", "MLFLOW_", "REJOINDER_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}


def runner(environment: dict[str, str], directory: Path) -> RunJob:
    """Runs jobs as programs in this environment and directory."""

    def run(job: str, *words: str, text_in: str = "", timeout_s: float = 500) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(CHECKOUT / "jobs" / f"{job}.py"), *words], cwd=directory, env=environment,
            input=text_in, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    return run
