"""Which weights decay, whoever makes them do it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rejoinder import catalog
from rejoinder.optimizers import build_optimizer, needs_closure
from rejoinder.optimizers.groups import decay_groups
from rejoinder.recipe import TrainingSection

OPTIMIZERS = catalog.names("rejoinder.optimizers")


class Model(nn.Module):
    """One weight of each kind, all ones."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.linear, self.norm = nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4)
        self.kernels = nn.Parameter(torch.ones(4, 4, 3))
        for parameter in self.parameters():
            nn.init.ones_(parameter)


def after_a_step_without_gradients(optimizer: str, **settings: Any) -> dict[str, float]:
    """The first element of each weight that is no longer 1."""
    model = Model()
    training = TrainingSection(optimizer={"name": optimizer, **settings}, learning_rate=0.1)
    made = build_optimizer(model, training)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step(lambda: torch.zeros(())) if needs_closure(training) else made.step()
    after = {name: weight.detach().flatten()[0].item() for name, weight in model.named_parameters()}
    return {name: value for name, value in after.items() if value != 1}


def test_embeddings_are_known_by_their_kind_whatever_they_are_called() -> None:
    model = Model()
    decaying, left_alone = decay_groups(model, 0.5)
    assert list(map(id, decaying["params"])) == [id(model.kernels), id(model.linear.weight)]
    assert (decaying["weight_decay"], left_alone["weight_decay"]) == (0.5, 0.0)
    assert len(left_alone["params"]) == 4


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_matrices_decay_but_biases_norms_and_embeddings_do_not(optimizer: str) -> None:
    shrunk_anyway = {"fall": 0.0} if optimizer == "asgd" else {}
    after = after_a_step_without_gradients(optimizer, weight_decay=0.5, **shrunk_anyway)
    assert set(after) == {"linear.weight", "kernels"}
    assert all(value < 1 for value in after.values())


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "muon"])
def test_decoupled_decay_is_a_share_of_the_weight(optimizer: str) -> None:
    after = after_a_step_without_gradients(optimizer, weight_decay=0.5)
    assert after["linear.weight"] == pytest.approx(1 - 0.1 * 0.5)
