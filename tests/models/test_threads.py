"""Helpers of a thread that has computed: given back, and there again when they are needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNTS = """
import os, torch
from rejoinder.models import give_back_helpers

torch.set_num_threads(3)
numbers = torch.ones(1 << 20)
for what in ("computes", "gave back", "computes"):
    give_back_helpers() if what == "gave back" else numbers.add_(1)
    print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_helpers_end_when_they_are_given_back_and_begin_anew_when_needed() -> None:
    places = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "platform")}
    done = subprocess.run([sys.executable, "-c", COUNTS], capture_output=True, text=True, check=True, env=places)
    computing, given_back, again = map(int, done.stdout.split())
    assert given_back == computing - 2
    assert again == computing
