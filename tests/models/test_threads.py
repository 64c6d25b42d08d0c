"""Helpers of a thread that has computed: given back, and there again when they are needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rejoinder.models.threads import openmp_libraries

COUNTS = """
import os, time, torch
from rejoinder.models import give_back_helpers

def num_threads(wanted):
    deadline = time.monotonic() + 30  # one that has ended stands there a moment longer
    while (found := len(os.listdir("/proc/self/task"))) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return found

torch.set_num_threads(3)
numbers = torch.ones(1 << 20).add_(1)
computing = len(os.listdir("/proc/self/task"))
give_back_helpers()
print(computing, num_threads(computing - 2))
give_back_helpers()  # there are none: nothing happens
numbers.add_(1)
print(num_threads(computing))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_helpers_end_when_they_are_given_back_and_begin_anew_when_needed() -> None:
    places = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "platform")}
    done = subprocess.run([sys.executable, "-c", COUNTS], capture_output=True, text=True, check=True, env=places)
    computing, given_back, again = map(int, done.stdout.split())
    assert given_back == computing - 2
    assert again == computing


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are named otherwise")
def test_the_libraries_are_those_of_openmp_alone() -> None:
    names = [Path(file).name for file in openmp_libraries()]
    assert names
    assert all(name.startswith(("libgomp", "libomp", "libiomp")) for name in names)
