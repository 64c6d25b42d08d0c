"""The memory of every process of a command, also of those whose parent is gone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.processes import run_watched

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from Linux's /proc"
)

PROGRAM = """
import subprocess, sys
subprocess.Popen([sys.executable, "{child}"], start_new_session=True).wait()
print("done")
"""
CHILD = """
import time
held = bytearray(80_000_000)
time.sleep(0.4)
"""


def test_the_peak_of_a_daemon_is_seen(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / "parent.py").write_text(PROGRAM.format(child=tmp_path / "child.py"))
    command = [sys.executable, str(tmp_path / "parent.py")]
    watched = run_watched(command, dict(os.environ), tmp_path, every_s=0.05)
    assert (watched.status, watched.output) == (0, "done\n")
    assert watched.peak_rss_mb["child.py"] > 80
    assert watched.peak_rss_mb["parent.py"] < 60
    assert watched.peak_total_pss_mb > watched.peak_pss_mb["child.py"] > 80
