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
from rejoinder.batches import pad
from rejoinder.models import Seq2Seq, build_model
from rejoinder.recipe import Recipe
from rejoinder.text import NUM_CONTROL_IDS, PAD_ID, START_ID

transformers = pytest.importorskip("transformers", reason="the extra [pretrained] is not installed")


def pretrained_words(place: Path) -> list[str]:
    """Makes a T5 of random weights there; what a recipe needs for it."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=304, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformers.utils.logging.disable_progress_bar()
    transformers.T5ForConditionalGeneration(config).save_pretrained(place)
    tokenizer = ["text.tokenizer.name=hugging_face", f"text.tokenizer.path={place}"]
    return ["model.name=pretrained", f"model.path={place}", *tokenizer]


@pytest.mark.parametrize("rank", [0, 2])
def test_a_run_begins_with_the_weights_and_goes_on_without_the_directory(
    rank: int, make_recipe: Callable[..., Recipe], run_here: Callable[..., Any], tmp_path: Path
) -> None:
    words = [*pretrained_words(tmp_path / "t5"), f"model.lora_rank={rank}", "training.learning_rate=1e-6"]
    shared_VD = load_file(tmp_path / "t5" / "model.safetensors")["shared.weight"]
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


def test_what_lora_has_learnt_is_merged_where_a_checkpoint_is_loaded_and_where_it_is_exported(
    make_recipe: Callable[..., Recipe], run_here: Callable[..., Any], tmp_path: Path
) -> None:
    words = [*pretrained_words(tmp_path / "t5"), "model.lora_rank=2", "training.learning_rate=0.1"]
    recipe = make_recipe(*words, "training.num_steps=6", "training.schedule=constant")
    checkpoint = run_here(recipe).store.last()
    loaded = checkpoints.load(checkpoint)
    checkpoints.export(checkpoint, tmp_path / "exported")
    assert not [name for name in load_file(tmp_path / "exported" / checkpoints.WEIGHTS) if "lora_" in name]
    exported = checkpoints.load(tmp_path / "exported")
    assert exported.recipe == loaded.recipe == recipe  # how it was made
    trained = build_model(recipe, loaded.tokenizer.num_ids)
    checkpoints.load_weights(checkpoint, trained)

    contexts = [[20, 30, 40], [50, 60, 70, 18, 19, 20, 21]]
    said = greedy(trained.eval(), contexts)
    assert said == greedy(loaded.model, contexts) == greedy(exported.model, contexts)
    assert len(set(map(tuple, said))) == 2
    ours, theirs = loaded.model.state_dict(), exported.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def greedy(model: Seq2Seq, contexts: list[list[int]]) -> list[list[int]]:
    """The most probable twelve tokens of each reply, step by step."""
    ids_BS = pad(contexts)
    state, last_B, said = model.start(ids_BS, ids_BS == PAD_ID), torch.full((len(contexts),), START_ID), []
    for _ in range(12):
        logits_BV, state = model.step(last_B, state)
        last_B = logits_BV.argmax(-1)
        said.append(last_B)
    return torch.stack(said, dim=1).tolist()
