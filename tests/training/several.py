"""Several trainings one after the other by the same processes, which are started once:

torchrun --nproc-per-node=2 -m tests.training.several SHARDS RUNS.json

RUNS.json lists {"recipe", "checkpoints", "losses"}; with "of" a training begins as a copy of another one's checkpoints,
the last of them aside.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch.distributed as dist

from rejoinder.training.__main__ import main


def torchrun(shards: Path, runs: Path) -> None:
    """Two processes that make all of them; fails with what they said."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    done = subprocess.run(
        [*command, "tests.training.several", str(shards), str(runs)],
        env=os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # more are processes of their own, which import torch first
        }, timeout=500, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    dist.init_process_group("gloo")
    end = dist.destroy_process_group
    # What each training does for itself: processes that parted cannot meet again at the same place.
    dist.init_process_group = dist.destroy_process_group = lambda *_: None  # type: ignore[assignment]
    for run in json.loads(Path(sys.argv[2]).read_text()):
        if "of" in run and dist.get_rank() == 0:
            shutil.copytree(run["of"], run["checkpoints"])
            shutil.rmtree(max(Path(run["checkpoints"]).glob("step_*")))
        dist.barrier()
        main(run["recipe"], sys.argv[1], run["checkpoints"], run["losses"])
    end()
