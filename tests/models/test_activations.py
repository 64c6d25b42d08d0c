"""Nonlinearities by their names, and the feed-forward network with and without a gate."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rejoinder.models.activations import ACTIVATIONS, Activation, FeedForward

INPUTS = torch.linspace(-3, 3, 13)


def test_the_recipe_may_name_every_activation_there_is() -> None:
    assert set(get_args(Activation)) == set(ACTIVATIONS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", INPUTS.clamp(min=0)),
        ("leaky_relu", torch.where(INPUTS > 0, INPUTS, 0.01 * INPUTS)),
        ("prelu", torch.where(INPUTS > 0, INPUTS, 0.25 * INPUTS)),
        ("gelu", F.gelu(INPUTS)),
        ("silu", INPUTS * torch.sigmoid(INPUTS)),
        ("tanh", torch.tanh(INPUTS)),
    ],
)
def test_each_is_its_papers_formula(name: str, expected: Tensor) -> None:
    torch.testing.assert_close(ACTIVATIONS[name]()(INPUTS).detach(), expected, atol=1e-3, rtol=0)  # gelu: its tanh form


def test_a_slope_that_is_learnt_has_a_gradient() -> None:
    prelu = ACTIVATIONS["prelu"]()
    prelu(INPUTS).sum().backward()
    (slope,) = prelu.parameters()
    assert slope.grad is not None
    assert slope.grad.item() == pytest.approx(INPUTS.clamp(max=0).sum().item())


def test_swiglu_is_a_gate_times_a_value() -> None:
    torch.manual_seed(0)
    network, hidden_ND = FeedForward(4, 6, "swiglu"), torch.randn(3, 4)
    gate_ND, value_ND = F.linear(hidden_ND, network.up.weight, network.up.bias).chunk(2, dim=-1)
    assert gate_ND.shape == (3, 6)
    expected_ND = network.down(gate_ND * torch.sigmoid(gate_ND) * value_ND)
    torch.testing.assert_close(network(hidden_ND), expected_ND)


def test_dropout_is_between_the_two_layers() -> None:
    torch.manual_seed(0)
    network, seen = FeedForward(4, 200, "tanh", dropout=0.5), []
    network.down.register_forward_hook(lambda _module, inputs, _outputs: seen.append(inputs[0]))
    network(torch.randn(3, 4))
    assert 0.4 < (seen[0] == 0).float().mean() < 0.6
    network.eval()(torch.randn(3, 4))
    assert not (seen[1] == 0).any()
