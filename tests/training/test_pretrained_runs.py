"""A run that begins with pretrained weights: it has them, trains what it should, and goes on without the directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rejoinder import checkpoints
from rejoinder.recipe import Recipe
from rejoinder.text import NUM_CONTROL_IDS

transformers = pytest.importorskip("transformers", reason="the extra [pretrained] is not installed")


@pytest.mark.parametrize("rank", [0, 2])
def test_a_run_begins_with_the_weights_and_goes_on_without_the_directory(
    rank: int, make_recipe: Callable[..., Recipe], run_here: Callable[..., Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=304, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformers.utils.logging.disable_progress_bar()
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    shared_VD = load_file(tmp_path / "t5" / "model.safetensors")["shared.weight"]
    words = [
        "model.name=pretrained", f"model.path={tmp_path / 't5'}", f"model.lora_rank={rank}",
        "text.tokenizer.name=hugging_face", f"text.tokenizer.path={tmp_path / 't5'}", "training.learning_rate=1e-6",
    ]  # fmt: skip
    short, long = make_recipe(*words, "training.num_steps=2"), make_recipe(*words, "training.num_steps=4")

    first = run_here(short).store.last()
    model = checkpoints.load(first).model
    rows_VD = model.get_submodule("embedding").get_parameter("weight").detach()[NUM_CONTROL_IDS:]
    torch.testing.assert_close(rows_VD, shared_VD, atol=1e-5, rtol=0)
    assert torch.equal(rows_VD, shared_VD) == bool(rank)  # LoRA leaves them alone
    sizes = [(first / name).stat().st_size for name in (checkpoints.OPTIMIZER, checkpoints.WEIGHTS)]
    assert sizes[0] < 0.5 * sizes[1] if rank else sizes[0] > 1.5 * sizes[1]

    shutil.rmtree(tmp_path / "t5")
    last = run_here(long).store.last()
    assert checkpoints.load(last).progress.step == 4
