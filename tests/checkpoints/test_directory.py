"""One directory holds all that is needed to go on or to reply, and damage never passes for whole."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from rejoinder import checkpoints
from rejoinder.batches import Position
from rejoinder.checkpoints import CheckpointStore, Progress
from rejoinder.errors import CheckpointError, StorageError
from rejoinder.recipe import Recipe
from rejoinder.text import Tokenizer
from tests.checkpoints.conftest import BATCH, Save, assert_equal_weights, flip_a_bit, fresh, train

FILES = {
    "weights.safetensors",
    "optimizer.safetensors",
    "tokenizer.json",
    "recipe.yaml",
    "progress.json",
    "manifest.json",
}
PROGRESS = Progress(250, Position(3, 17), "0123456789abcdef", {"valid_loss": 2.5, "valid_perplexity": 12.2})


def test_what_is_loaded_replies_as_what_was_saved(recipe: Recipe, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model, optimizer = fresh(recipe)
    train(model, optimizer, 3)
    checkpoints.save(tmp_path / "made", model, optimizer, tokenizer.to_json(), recipe, PROGRESS)
    trained = checkpoints.load(tmp_path / "made")
    assert_equal_weights(trained.model, model)
    assert torch.equal(trained.model(BATCH), model.eval()(BATCH))
    assert not trained.model.training
    assert trained.tokenizer.sha256 == tokenizer.sha256
    assert trained.recipe == recipe
    assert trained.progress == PROGRESS


@pytest.mark.parametrize("model", ["gru_attention", "transformer"])
def test_training_goes_on_exactly_where_it_was(
    make_recipe: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path, model: str
) -> None:
    recipe = make_recipe(f"model={{name: {model}, width: 16}}")
    straight, optimizer = fresh(recipe)
    train(straight, optimizer, 3)
    checkpoints.save(tmp_path / "made", straight, optimizer, tokenizer.to_json(), recipe, PROGRESS)
    train(straight, optimizer, 3)

    resumed, optimizer = fresh(recipe, seed=1)
    checkpoints.load_weights(tmp_path / "made", resumed)
    checkpoints.load_optimizer(tmp_path / "made", optimizer)
    train(resumed, optimizer, 3)
    assert_equal_weights(resumed, straight)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_metrics_that_are_not_finite_are_read_as_they_were_measured(
    recipe: Recipe, tokenizer: Tokenizer, tmp_path: Path, value: float
) -> None:
    model, optimizer = fresh(recipe)
    progress = Progress(250, Position(3, 17), "0123456789abcdef", {"valid_perplexity": value}, [value, 2.5])
    checkpoints.save(tmp_path / "made", model, optimizer, tokenizer.to_json(), recipe, progress)
    found = checkpoints.read_progress(tmp_path / "made")
    assert repr(found) == repr(progress)  # nan is not equal to itself


def test_a_checkpoint_before_the_first_step_can_be_loaded(recipe: Recipe, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The optimizer has no state yet."""
    model, optimizer = fresh(recipe)
    checkpoints.save(tmp_path / "made", model, optimizer, tokenizer.to_json(), recipe, PROGRESS)
    loaded, optimizer_of_it = fresh(recipe, seed=1)
    checkpoints.load_weights(tmp_path / "made", loaded)
    checkpoints.load_optimizer(tmp_path / "made", optimizer_of_it)
    train(model, optimizer, 1)
    train(loaded, optimizer_of_it, 1)
    assert_equal_weights(loaded, model)


def test_the_recipe_inside_is_valid_input_to_every_job(save: Save, recipe: Recipe) -> None:
    from rejoinder.recipe import load_recipe

    assert load_recipe(save() / "recipe.yaml") == recipe


def test_an_older_recipe_that_narrows_draws_beside_beams_can_still_be_read(save: Save) -> None:
    checkpoint = save()
    tree = yaml.safe_load((checkpoint / "recipe.yaml").read_text())
    tree["decoding"] |= {"num_beams": 4, "temperature": 0.0, "top_p": 0.5}
    (checkpoint / "recipe.yaml").write_text(yaml.safe_dump(tree))
    (checkpoint / "manifest.json").unlink()
    checkpoints.write_manifest(checkpoint)
    decoding = checkpoints.load(checkpoint).recipe.decoding
    assert (decoding.num_beams, decoding.top_p) == (4, 1.0)


def test_there_are_the_known_files_and_none_of_them_is_a_pickle(save: Save) -> None:
    files = list(save().iterdir())
    assert {file.name for file in files} == FILES
    for file in files:
        assert not file.read_bytes().startswith((b"\x80", b"PK"))  # pickle; torch.save's zip of pickles


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_a_damaged_or_missing_file_is_named(save: Save, name: str) -> None:
    file = save() / name
    flip_a_bit(file)
    for state in ("damaged", "missing"):
        with pytest.raises(CheckpointError, match=f"^{file}: {state}; take another checkpoint"):
            checkpoints.load(file.parent)
        file.unlink(missing_ok=True)


@pytest.mark.parametrize("content", [None, b"", b'{"format": 1, "fil', b"[]", b'{"files": {}}', b"\xff"])
def test_without_its_manifest_it_is_no_checkpoint(save: Save, content: bytes | None) -> None:
    directory = save()
    (directory / "manifest.json").unlink() if content is None else (directory / "manifest.json").write_bytes(content)
    with pytest.raises(
        CheckpointError, match=rf"^{directory}: not a whole checkpoint, its manifest\.json cannot be read"
    ):
        checkpoints.load(directory)


def test_another_format_is_refused_not_guessed_at(save: Save) -> None:
    manifest = save() / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match="checkpoint format 2, this version reads 1"):
        checkpoints.load(manifest.parent)


@pytest.mark.parametrize("words", [["model.width=18"], ["model={name: transformer, width: 16}"]])
def test_weights_of_another_architecture_are_refused_in_a_sentence(
    save: Save, make_recipe: Callable[..., Recipe], words: list[str]
) -> None:
    directory = save()
    other, _ = fresh(make_recipe(*words))
    with pytest.raises(CheckpointError) as refusal:
        checkpoints.load_weights(directory, other)
    assert str(refusal.value).startswith(f"{directory}: its weights are not those of this recipe's model (")
    assert "\n" not in str(refusal.value)


def test_a_full_disk_leaves_nothing(make_recipe: Callable[..., Recipe], tokenizer: Tokenizer, small_disk: Path) -> None:
    recipe = make_recipe("model.width=64", "storage.retry_s=0")
    model, optimizer = fresh(recipe)
    directory = CheckpointStore(small_disk).path(1)
    with pytest.raises(StorageError, match=rf"^{re.escape(str(directory))}: no space left on the disk; "):
        checkpoints.save(directory, model, optimizer, tokenizer.to_json(), recipe, PROGRESS)
    assert list(small_disk.iterdir()) == []


def test_what_is_exported_replies_but_cannot_go_on_training(save: Save, tmp_path: Path) -> None:
    checkpoints.export(save(), tmp_path / "exported")
    assert {file.name for file in (tmp_path / "exported").iterdir()} == FILES - {"optimizer.safetensors"}
    exported, whole = checkpoints.load(tmp_path / "exported"), checkpoints.load(save())
    assert_equal_weights(exported.model, whole.model)
    assert exported.sha256 != whole.sha256


def test_a_damaged_checkpoint_is_not_exported(save: Save, tmp_path: Path) -> None:
    checkpoint = save()
    flip_a_bit(checkpoint / "weights.safetensors")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.export(checkpoint, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
