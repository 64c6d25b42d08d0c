"""A model that was trained for three steps, and checkpoints of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.optim import Optimizer

from rejoinder import checkpoints
from rejoinder.batches import Batch, Position, collate
from rejoinder.checkpoints import CheckpointStore, Progress
from rejoinder.loss import loss_sum
from rejoinder.models import Seq2Seq, build_model
from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import Recipe
from rejoinder.text import Tokenizer

BATCH = collate([[4, 20, 21], [3, 30]], [[40, 41, 2], [42, 2]])


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
