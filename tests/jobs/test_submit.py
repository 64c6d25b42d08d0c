"""`ray job submit`, in both forms, on real clusters."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
CHECKOUT = Path(__file__).resolve().parents[2]
QUICK = [
    "tiny", "training.num_steps=20", "data.corpora.0.num_conversations=100", "scaling.num_workers=1",
    "evaluation.behaviour=[]", "evaluation.num_self_chats=0", "evaluation.num_attention_maps=0",
]  # fmt: skip


def test_on_a_head_that_was_started_in_the_checkout(cluster: Any) -> None:
    cluster.start_head(cwd=CHECKOUT, num_cpus=4)
    done = cluster.submit("--", "python", "jobs/train.py", *QUICK, cwd=Path("/"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "models:/tiny-chat/1, alias 'candidate'" in done.stdout
    wrong = cluster.submit("--", "python", "jobs/train.py", "tiny", "scaling.num_workers=9", cwd=Path("/"))
    assert wrong.returncode == 1
    assert "needs 9 CPUs and 0 GPUs, the cluster has 4 CPUs" in wrong.stdout + wrong.stderr


def test_from_elsewhere_on_nodes_that_hold_no_copy_of_the_code(cluster: Any, tmp_path: Path) -> None:
    head, node, copy = tmp_path / "head", tmp_path / "node", tmp_path / "copy"
    for directory in (head, node):
        directory.mkdir()
    copy_checkout(copy)
    cluster.start_head(cwd=head, num_cpus=0)
    cluster.add_node(cwd=node, num_cpus=4)
    (copy / "where.py").write_text(
        "import sys; sys.path.insert(0, 'jobs'); import _checkout\n"
        "import ray\n"
        "from rejoinder import cluster\n"
        "from rejoinder.recipe import load_recipe\n"
        "def where():\n"
        "    import rejoinder, serve, tuning\n"
        "    return [module.__file__ for module in (rejoinder, serve, tuning)]\n"
        "with cluster.connect(load_recipe('jobs/recipes/tiny.yaml')):\n"
        "    print('FOUND', *ray.get(ray.remote(where).remote()))\n"
    )
    found = cluster.submit("--working-dir", ".", "--", "python", "where.py", cwd=copy)
    assert found.returncode == 0, found.stdout + found.stderr
    files = next(line for line in found.stdout.splitlines() if line.startswith("FOUND")).split()[1:]
    assert len(files) == 3
    assert all("runtime_resources/py_modules_files" in file for file in files)
    done = cluster.submit("--working-dir", ".", "--", "python", "jobs/train.py", *QUICK, cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "models:/tiny-chat/1, alias 'candidate'" in done.stdout


def copy_checkout(target: Path) -> None:
    """What git has, and nothing else."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT, capture_output=True, text=True,
        check=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        if (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, target / name)
