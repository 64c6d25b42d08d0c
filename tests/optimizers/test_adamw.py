"""Which weights decay."""

from __future__ import annotations

import torch
from torch import nn

from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import TrainingSection


class Model(nn.Module):
    """One weight of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear, self.norm = nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4)
        for parameter in self.parameters():
            nn.init.ones_(parameter)


def test_matrices_decay_but_biases_norms_and_embeddings_do_not() -> None:
    model = Model()
    settings = TrainingSection(optimizer={"name": "adamw", "weight_decay": 0.5}, learning_rate=0.1)
    optimizer = build_optimizer(model, settings)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = {name: parameter.detach().flatten()[0].item() for name, parameter in model.named_parameters()}
    assert after.pop("linear.weight") == torch.tensor(1 - 0.1 * 0.5).item()
    assert set(after.values()) == {1.0}
    assert set(after) == {"embedding.weight", "linear.bias", "norm.weight", "norm.bias"}


def test_the_recipes_betas_are_used() -> None:
    settings = TrainingSection(optimizer={"name": "adamw", "beta1": 0.5, "beta2": 0.75})
    assert build_optimizer(Model(), settings).defaults["betas"] == (0.5, 0.75)
