"""Hidden matrices move by Muon, all other weights by AdamW, and both are one optimizer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import TrainingSection

RATE = 0.1


class Model(nn.Module):
    """An embedding, a hidden matrix with its bias, and a convolution's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear = nn.Embedding(5, 6), nn.Linear(6, 4)
        self.kernels = nn.Parameter(torch.randn(4, 4, 3))


def model_with_gradients() -> Model:
    torch.manual_seed(0)
    model = Model()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


def moved(optimizer: str, **settings: float) -> dict[str, Tensor]:
    """What one step adds to each weight."""
    model = model_with_gradients()
    before = copy.deepcopy(model.state_dict())
    chosen = {"name": optimizer, "weight_decay": 0.0, **settings}
    build_optimizer(model, TrainingSection(optimizer=chosen, learning_rate=RATE)).step()
    return {name: after - before[name] for name, after in model.state_dict().items()}


def test_a_hidden_matrix_moves_by_torchs_own_muon() -> None:
    model = model_with_gradients()
    weight = model.linear.weight
    before = weight.detach().clone()
    torch.optim.Muon([weight], lr=RATE, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
    assert torch.equal(moved("muon")["linear.weight"], weight.detach() - before)


def test_the_other_weights_move_as_with_adamw() -> None:
    by_muon, by_adamw = moved("muon"), moved("adamw")
    for name in ("embedding.weight", "linear.bias", "kernels"):
        assert torch.equal(by_muon[name], by_adamw[name]), name


def test_one_rate_serves_both_parts() -> None:
    """An orthogonal update of root mean square 0.2 times the rate, within the slack of five Newton-Schulz steps;
    AdamW's first update is the rate itself."""
    after = moved("muon")
    assert 0.1 * RATE < after["linear.weight"].square().mean().sqrt() < 0.3 * RATE
    assert torch.allclose(after["linear.bias"].abs(), torch.tensor(RATE))


def test_it_follows_a_rate_that_is_set_after_its_state_was_restored() -> None:
    """Restoring makes new groups; the parts must look at those."""
    model = model_with_gradients()
    optimizer = build_optimizer(model, TrainingSection(optimizer="muon", learning_rate=RATE))
    optimizer.load_state_dict(optimizer.state_dict())
    before = copy.deepcopy(model.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_an_output_layer_of_its_own_is_not_hidden() -> None:
    model = model_with_gradients()
    model.output = nn.Linear(6, 4)
    optimizer = build_optimizer(model, TrainingSection(optimizer="muon", learning_rate=RATE))
    hidden, rest, _ = (list(map(id, group["params"])) for group in optimizer.param_groups)
    assert hidden == [id(model.linear.weight)]
    assert id(model.output.weight) in rest
