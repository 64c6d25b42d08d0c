"""Deploying where Serve itself gives up too early."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder.cluster import CHECKOUT
from rejoinder.recipe import Recipe
from tests.real import free_port

_DEPLOY = """
import sys, urllib.request
from rejoinder import cluster
from rejoinder.recipe import load_recipe
from serve import deploy

recipe = load_recipe(sys.argv[1])
with cluster.connect(recipe):
    deployed = deploy(recipe)
    print("ready:", urllib.request.urlopen(f"{deployed.url}/readyz", timeout=60).status)
"""


@pytest.mark.slow
def test_a_proxy_that_serve_thinks_too_slow_is_waited_for(
    make_recipe: Callable[..., Recipe], publish: Callable[..., int], tmp_path: Path
) -> None:
    publish("champion")
    (tmp_path / "recipe.yaml").write_text(make_recipe(f"serving.port={free_port()}").to_yaml())
    # No proxy starts in six tenths of a second: Serve kills the first ones, as it does on a full machine after 15 s.
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT / "platform"), str(CHECKOUT)]),
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "0.2",
    }
    done = subprocess.run(
        [sys.executable, "-c", _DEPLOY, str(tmp_path / "recipe.yaml")],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ready: 200" in done.stdout
