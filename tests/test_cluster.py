"""Ray is started where a machine is so full that Ray itself gives up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from rejoinder.cluster import CHECKOUT
from rejoinder.recipe import Recipe

_START = """
import sys
import psutil
import ray
from ray._private import services
from rejoinder import cluster
from rejoinder.recipe import Recipe

get_node, num_asked = services.get_node, 0

def too_slow_at_first(*args):
    global num_asked
    num_asked += 1
    if num_asked == 1:  # where Ray looks for half a minute
        raise Exception("The current node timed out during startup. This could happen because ...")
    return get_node(*args)

services.get_node = too_slow_at_first
with cluster.connect(Recipe.model_validate_json(sys.argv[1])):
    raylets = [child for child in psutil.Process().children() if child.name() == "raylet" and child.is_running()]
    print(num_asked > 1, ray.get(ray.remote(lambda: "answers").remote()), len(raylets))
"""


@pytest.mark.slow
def test_a_ray_that_comes_up_too_slowly_is_started_again_and_nothing_of_the_first_is_left(
    make_recipe: Callable[..., Recipe],
) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT / "platform"), str(CHECKOUT)])}
    done = subprocess.run(
        [sys.executable, "-c", _START, make_recipe().model_dump_json()],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.stdout == "True answers 1\n", done.stderr
