"""FSDP makes the updates of DDP, and either goes on from the other's checkpoints: two processes by torchrun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder import checkpoints
from rejoinder.recipe import Recipe

MakeRecipe = Callable[..., Recipe]
WORDS = ["training.log_every_steps=1", "training.num_steps=6", "training.checkpoint_every_steps=3"]


@pytest.fixture
def losses_of(make_recipe: MakeRecipe, prepared_set: Path, tmp_path: Path) -> Callable[..., list[float]]:
    """`losses_of(name, word, ...)`: what two processes log at each step that is left of the run of this name."""

    def run(name: str, *words: str) -> list[float]:
        recipe_file, out = tmp_path / "recipe.yaml", tmp_path / "losses.json"
        recipe_file.write_text(make_recipe(*WORDS, *words).to_yaml())
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
        done = subprocess.run(
            [*command, "rejoinder.training", str(recipe_file), str(prepared_set), str(tmp_path / name), str(out)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"},
            timeout=150,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        losses: list[float] = json.loads(out.read_text())
        return losses

    return run


@pytest.mark.slow
@pytest.mark.parametrize("model", ["transformer", "gru_attention"])
def test_fsdp_makes_the_updates_of_ddp_and_goes_on_where_it_stopped(
    losses_of: Callable[..., list[float]], tmp_path: Path, model: str
) -> None:
    words = [f"model={{name: {model}, width: 16}}", "training.max_microbatch_tokens=150"]
    whole = losses_of("ddp", *words)
    divided = losses_of("fsdp", *words, "training.parallel=fsdp")
    assert len(whole) == 6
    assert divided == pytest.approx(whole, abs=1e-4)

    plain = checkpoints.load(tmp_path / "fsdp" / "step_00000006")
    assert plain.progress.metrics["valid_loss"] == pytest.approx(
        checkpoints.load(tmp_path / "ddp" / "step_00000006").progress.metrics["valid_loss"], abs=1e-4
    )
    shutil.rmtree(tmp_path / "fsdp" / "step_00000006")
    for way in ("ddp", "fsdp"):
        shutil.copytree(tmp_path / "fsdp", tmp_path / f"then_{way}")
        assert losses_of(f"then_{way}", *words, f"training.parallel={way}") == pytest.approx(divided[3:], abs=1e-4)


@pytest.mark.slow
def test_compiled_steps_make_the_same_updates(losses_of: Callable[..., list[float]]) -> None:
    layers = "num_encoder_layers: 1, num_decoder_layers: 1"
    words = [f"model={{name: transformer, width: 16, {layers}}}", "training.num_steps=4"]
    plain = losses_of("plain", *words)
    assert losses_of("compiled", *words, "training.compile=true") == pytest.approx(plain, abs=1e-4)
