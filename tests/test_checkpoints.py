"""One directory holds all that is needed to go on or to reply, and damage never passes for whole."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.optim import Optimizer

from rejoinder import checkpoints
from rejoinder.batches import Batch, Position, collate
from rejoinder.checkpoints import CheckpointStore, Progress
from rejoinder.errors import CheckpointError, StorageError
from rejoinder.loss import loss_sum
from rejoinder.models import Seq2Seq, build_model
from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import Recipe
from rejoinder.text import Tokenizer

FILES = {
    "weights.safetensors",
    "optimizer.safetensors",
    "tokenizer.json",
    "recipe.yaml",
    "progress.json",
    "manifest.json",
}
BATCH = collate([[4, 20, 21], [3, 30]], [[40, 41, 2], [42, 2]])
PROGRESS = Progress(250, Position(3, 17), "0123456789abcdef", {"valid_loss": 2.5, "valid_perplexity": 12.2})


def train(model: Seq2Seq, optimizer: Optimizer, num_steps: int, batch: Batch = BATCH) -> None:
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss_sum(model(batch), batch.reply_ids_BT[~batch.reply_is_pad_BT]).backward()
        optimizer.step()


def fresh(recipe: Recipe, seed: int = 0) -> tuple[Seq2Seq, Optimizer]:
    torch.manual_seed(seed)
    model = build_model(recipe, 320)
    return model, build_optimizer(model, recipe.training)


def assert_equal_weights(one: Seq2Seq, other: Seq2Seq) -> None:
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


Save = Callable[..., Path]


@pytest.fixture
def save(recipe: Recipe, tokenizer: Tokenizer, tmp_path: Path) -> Save:
    """`save(step, valid_loss)`: a checkpoint of a model of three steps in the test's store."""
    model, optimizer = fresh(recipe)
    train(model, optimizer, 3)

    def save(step: int = 250, valid_loss: float | None = None) -> Path:
        directory = CheckpointStore(tmp_path / "run").path(step)
        metrics = {} if valid_loss is None else {"valid_loss": valid_loss}
        progress = Progress(step, Position(0, step), "0123456789abcdef", metrics)
        checkpoints.save(directory, model, optimizer, tokenizer.to_json(), recipe, progress)
        return directory

    return save


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "run")


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


def test_a_new_run_has_no_checkpoints(store: CheckpointStore) -> None:
    assert (store.last(), store.best()) == (None, None)


def test_what_stands_beside_checkpoints_is_none(save: Save, store: CheckpointStore) -> None:
    save(1)
    for name in ("step_00000001-evaluation-test.html", "step_00000001-evaluation-test-0a1b.npz", "step_00000002.json"):
        (store.directory / name).write_text("")
    assert store.last() == store.path(1)
    store.prune()
    assert len(list(store.directory.iterdir())) == 4


def test_the_last_one_is_the_newest(save: Save, store: CheckpointStore) -> None:
    save(9), save(100_000_000), save(20)
    assert store.last() == store.path(100_000_000)


def test_a_damaged_last_one_is_passed_over_and_said(
    save: Save, store: CheckpointStore, caplog: pytest.LogCaptureFixture
) -> None:
    save(1), flip_a_bit(save(2) / "weights.safetensors")
    with caplog.at_level(logging.WARNING):
        assert store.last() == store.path(1)
    assert f"{store.path(2)}/weights.safetensors: damaged" in caplog.text
    assert "passing over" in caplog.text


def test_a_half_written_one_is_no_checkpoint(save: Save, store: CheckpointStore) -> None:
    save(1), save(2, valid_loss=0.1).rename(store.directory / "step_00000002.partial")
    assert (store.last(), store.best()) == (store.path(1), None)


def test_the_best_one_has_the_lowest_validation_loss(save: Save, store: CheckpointStore) -> None:
    save(1, 3.0), save(2, 1.5), save(3, 2.0), save(4)  # the last one was not validated
    assert store.best() == store.path(2)


def test_a_damaged_best_one_gives_way_to_the_next_best(save: Save, store: CheckpointStore) -> None:
    save(1, 3.0), flip_a_bit(save(2, 1.5) / "weights.safetensors"), save(3, 2.0)
    assert store.best() == store.path(3)


def test_pruning_keeps_the_last_two_and_the_best(save: Save, store: CheckpointStore) -> None:
    for step, valid_loss in enumerate((3.0, 1.5, 2.0, 2.5, 2.6), start=1):
        save(step, valid_loss)
    store.prune()
    assert sorted(path.name for path in store.directory.iterdir()) == [f"step_{step:08d}" for step in (2, 4, 5)]


def test_clearing_leaves_none(save: Save, store: CheckpointStore) -> None:
    save(1)
    store.clear()
    assert store.last() is None
