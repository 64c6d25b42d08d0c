"""What every optimizer promises. An optimizer passes by being in the folder."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from rejoinder import catalog
from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import TrainingSection

TARGET = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]])


@pytest.fixture(params=catalog.names("rejoinder.optimizers"))
def training(request: pytest.FixtureRequest) -> TrainingSection:
    return TrainingSection(optimizer=request.param, learning_rate=0.05)


def distance(model: nn.Module) -> Tensor:
    return ((model(torch.eye(3)) - TARGET.T) ** 2).sum()


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    for _ in range(number):
        optimizer.zero_grad()
        distance(model).backward()
        optimizer.step()


def test_it_goes_down_a_quadratic(training: TrainingSection) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    before = distance(model).item()
    steps(model, build_optimizer(model, training), 200)
    assert distance(model).item() < 0.05 * before


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
    steps(model, optimizer, 3)
    other = copy.deepcopy(model)
    restored = build_optimizer(other, training)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer, 3)
    steps(other, restored, 3)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)
