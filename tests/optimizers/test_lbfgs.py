"""L-BFGS: a curved valley in few steps, decay that its line search knows of, and a state of tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from rejoinder.optimizers import build_optimizer, needs_closure
from rejoinder.recipe import TrainingSection

Loss = Callable[[], Tensor]


class Valley(nn.Module):
    """Rosenbrock's: its lowest place is (1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([-1.5, 2.0]))

    def forward(self) -> Tensor:
        x, y = self.place
        height: Tensor = (1 - x) ** 2 + 100 * (y - x**2) ** 2
        return height


def made(model: nn.Module, **settings: object) -> Optimizer:
    return build_optimizer(model, TrainingSection(optimizer={"name": "lbfgs", **settings}, learning_rate=1.0))


def steps(optimizer: Optimizer, loss: Loss, number: int) -> int:
    """The number of times that the loss was measured."""
    measured = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        now = loss()
        now.backward()  # type: ignore[no-untyped-call]
        measured.append(now.item())
        return now

    for _ in range(number):
        optimizer.step(closure)  # type: ignore[arg-type]
    return len(measured)


def test_it_asks_for_a_closure_and_the_others_do_not() -> None:
    assert needs_closure(TrainingSection(optimizer="lbfgs"))
    assert not needs_closure(TrainingSection(optimizer="adamw"))


def test_a_curved_valley_is_crossed_in_a_few_steps() -> None:
    model = Valley()
    num_measured = steps(made(model), model, 5)
    torch.testing.assert_close(model.place, torch.ones(2), atol=1e-3, rtol=0)
    assert num_measured > 5


def test_iterations_are_those_of_one_step() -> None:
    """Without a line search: one at the beginning and one before each further direction."""
    model = nn.Linear(3, 2)
    inputs = torch.randn(4, 3)
    optimizer = made(model, iterations=4, line_search="none")
    assert steps(optimizer, lambda: model(inputs).exp().sum(), 1) == 4


def test_weight_decay_is_part_of_the_loss() -> None:
    """The minimum of |w - 3|^2 + 1/2 |w|^2 is at w = 2."""
    model = nn.Linear(2, 2, bias=False)
    steps(made(model, weight_decay=1.0), lambda: (model.weight - 3).square().sum(), 3)
    torch.testing.assert_close(model.weight, torch.full((2, 2), 2.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("line_search", ["none", "strong_wolfe"])
@pytest.mark.parametrize("done", [0, 1, 3])
def test_its_state_goes_through_safetensors_to_the_last_bit(line_search: str, done: int) -> None:
    model = Valley()
    optimizer = made(model, history=3, iterations=2, line_search=line_search)
    for group in optimizer.param_groups:
        group["lr"] = 0.001 if line_search == "none" else 1.0
    steps(optimizer, model, done)
    state = optimizer.state_dict()
    tensors = {key: tensor for each in state["state"].values() for key, tensor in each.items()}
    assert all(isinstance(tensor, Tensor) for tensor in tensors.values())
    kept = load(save({key: tensor.contiguous() for key, tensor in tensors.items()}))
    other = copy.deepcopy(model)
    restored = made(other, history=3, iterations=2, line_search=line_search)
    restored.load_state_dict({"state": {0: kept} if kept else {}, "param_groups": state["param_groups"]})
    steps(optimizer, model, 4)
    steps(restored, other, 4)
    assert torch.equal(model.place, other.place)


def test_a_rate_of_0_stays_where_it_is() -> None:
    """The last step of most schedules."""
    model = Valley()
    optimizer = made(model)
    steps(optimizer, model, 1)
    before = model.place.detach().clone()
    optimizer.param_groups[0]["lr"] = 0.0
    assert steps(optimizer, model, 2) == 2
    assert torch.equal(model.place, before)


def test_frozen_weights_neither_move_nor_decay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    before, inputs = copy.deepcopy(model.state_dict()), torch.randn(4, 2)
    steps(made(model, weight_decay=0.1), lambda: model(inputs).square().sum(), 1)
    after = model.state_dict()
    assert [name for name in after if not torch.equal(after[name], before[name])] == ["1.weight", "1.bias"]
