"""What every optimizer promises. An optimizer passes by being in the folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rejoinder import catalog, checkpoints
from rejoinder.batches import Position, collate
from rejoinder.checkpoints import Progress
from rejoinder.loss import loss_sum
from rejoinder.models import Seq2Seq, build_model
from rejoinder.optimizers import averaged_weights, build_optimizer, lent, needs_closure
from rejoinder.recipe import Recipe, TrainingSection
from rejoinder.schedules import learning_rate_at
from rejoinder.text import Tokenizer

BATCH = collate([[4, 20, 21], [3, 30]], [[40, 41, 2], [42, 2]])
SMALL = {"iterations": 3}
"""Whichever of these an optimizer's settings have."""
TARGET = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]])


@pytest.fixture(params=catalog.names("rejoinder.optimizers"))
def training(request: pytest.FixtureRequest) -> TrainingSection:
    return TrainingSection(optimizer=request.param, learning_rate=0.05)


def distance(model: nn.Module) -> Tensor:
    return ((model(torch.eye(3)) - TARGET.T) ** 2).sum()


def step_of(optimizer: Optimizer, training: TrainingSection, loss: Callable[[], Tensor]) -> None:
    """One step, with a closure for an optimizer that asks for one."""

    def closure() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        measured = loss()
        measured.backward()  # type: ignore[no-untyped-call]
        return measured

    if needs_closure(training):
        optimizer.step(closure)  # type: ignore[arg-type]
    else:
        closure()
        optimizer.step()


def steps(model: nn.Module, optimizer: Optimizer, number: int, training: TrainingSection) -> None:
    for _ in range(number):
        step_of(optimizer, training, lambda: distance(model))


def test_it_goes_down_a_quadratic_at_a_rate_of_its_own(training: TrainingSection) -> None:
    """What a rate means differs: Adadelta's is a factor of the step that it finds by itself."""
    shares = []
    for rate in (0.05, 0.5, 5.0):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        before = distance(model).item()
        steps(model, build_optimizer(model, training.model_copy(update={"learning_rate": rate})), 200, training)
        shares.append(distance(model).item() / before)
    assert min(shares) < 0.05


def test_it_holds_every_weight_exactly_once(training: TrainingSection) -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2), nn.LayerNorm(2))
    held = [parameter for group in build_optimizer(model, training).param_groups for parameter in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))


def test_all_groups_follow_the_learning_rate(training: TrainingSection) -> None:
    """The loop sets the rate of every group at each step."""
    optimizer = build_optimizer(nn.Linear(3, 2), training)
    assert {group["lr"] for group in optimizer.param_groups} == {0.05}


def test_a_restored_state_goes_on_exactly(training: TrainingSection) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, training)
    steps(model, optimizer, 3, training)
    other = copy.deepcopy(model)
    restored = build_optimizer(other, training)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer, 3, training)
    steps(other, restored, 3, training)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)


def test_averaged_weights_are_of_every_weight_or_of_none_and_only_lent(training: TrainingSection) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, training)
    assert averaged_weights(optimizer, training) is None
    steps(model, optimizer, 3, training)
    averaged, last = averaged_weights(optimizer, training), copy.deepcopy(model.state_dict())
    with lent(averaged):
        if averaged is not None:
            assert set(averaged) == set(model.parameters())
            assert all(torch.equal(weight, mean) for weight, mean in averaged.items())
    assert all(torch.equal(weight, last[name]) for name, weight in model.state_dict().items())


def learn(model: Seq2Seq, optimizer: Optimizer, training: TrainingSection, first: int, last: int) -> None:
    """The training loop's steps, each at its own rate."""
    for step in range(first, last + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, training)
        step_of(optimizer, training, lambda: loss_sum(model(BATCH), BATCH.reply_ids_BT[~BATCH.reply_is_pad_BT]))


@pytest.mark.parametrize("model", ["gru_attention", "transformer"])
def test_three_steps_a_checkpoint_and_three_more_are_six_steps(
    training: TrainingSection, make_recipe: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path, model: str
) -> None:
    """To the last bit, though the checkpoint holds tensors and nothing else of the optimizer."""
    fields = type(training.optimizer).model_fields
    optimizer = {"name": training.optimizer.name} | {key: value for key, value in SMALL.items() if key in fields}
    recipe = make_recipe(
        f"model={{name: {model}, width: 16}}", f"training.optimizer={json.dumps(optimizer)}", "training.num_steps=6",
        "training.warmup_steps=2", "training.learning_rate=0.01",
    )  # fmt: skip

    def fresh(seed: int) -> tuple[Seq2Seq, Optimizer]:
        torch.manual_seed(seed)
        made = build_model(recipe, tokenizer.num_ids).eval()  # without dropout
        return made, build_optimizer(made, recipe.training)

    straight, of_straight = fresh(0)
    learn(straight, of_straight, recipe.training, 1, 3)
    progress = Progress(3, Position(), "0123456789abcdef")
    checkpoints.save(tmp_path / "made", straight, of_straight, tokenizer.to_json(), recipe, progress)
    learn(straight, of_straight, recipe.training, 4, 6)

    resumed, of_resumed = fresh(1)
    checkpoints.load_weights(tmp_path / "made", resumed)
    checkpoints.load_optimizer(tmp_path / "made", of_resumed)
    learn(resumed, of_resumed, recipe.training, 4, 6)
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
