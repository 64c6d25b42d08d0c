"""The mean of the weights: from when on, of what, and that it is lent for use and taken back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rejoinder.errors import RecipeError
from rejoinder.optimizers import averaged_weights, build_optimizer, lent
from rejoinder.recipe import Recipe, TrainingSection


def test_the_mean_is_of_the_weights_after_the_step_it_is_told() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    training = TrainingSection(optimizer={"name": "asgd", "average_after_steps": 2}, learning_rate=0.1)
    optimizer, seen = build_optimizer(model, training), []
    for step in range(1, 7):
        model.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
        seen.append(model.weight.detach().clone())
        assert (averaged_weights(optimizer, training) is None) == (step < 3)
    averaged = averaged_weights(optimizer, training)
    assert averaged is not None
    expected: Tensor = torch.stack(seen[2:]).mean(0)  # of steps 3 to 6
    torch.testing.assert_close(averaged[model.weight], expected)
    with lent(averaged):
        assert torch.equal(model.weight, averaged[model.weight])
    assert torch.equal(model.weight, seen[-1])


def test_other_optimizers_have_none() -> None:
    training = TrainingSection(optimizer="adamw")
    optimizer = build_optimizer(nn.Linear(3, 2), training)
    assert averaged_weights(optimizer, training) is None
    with lent(None):
        pass


def test_one_average_alone_can_be_asked_for(make_recipe: Callable[..., Recipe]) -> None:
    both = ["training.num_steps=10", "training.average_decay=0.9"]
    make_recipe(*both, "training.optimizer=asgd")  # whose own begins behind the last step
    make_recipe("training.num_steps=10", "training.optimizer={name: asgd, average_after_steps: 9}")
    with pytest.raises(RecipeError, match=r"average_decay = 0\.9 with .*average_after_steps = 9: of two averages"):
        make_recipe(*both, "training.optimizer={name: asgd, average_after_steps: 9}")
