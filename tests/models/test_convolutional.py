"""Windows of the decoder, padding of the encoder, and how far each sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rejoinder.batches import collate
from rejoinder.models import Seq2Seq
from rejoinder.models.convolutional import Settings, build
from rejoinder.text import END_ID

CONTEXTS = [[20], [21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32], [33, 34, 35]]
BuildSmall = Callable[..., Seq2Seq]


@pytest.mark.parametrize(("kernel_size", "layers"), [(3, 1), (3, 3), (5, 2), (7, 1)])
def test_every_kernel_steps_as_it_learns(
    kernel_size: int, layers: int, build_small: BuildSmall, assert_steps_are_forward: Callable[..., None]
) -> None:
    model = build_small("convolutional", kernel_size=kernel_size, num_encoder_layers=layers, num_decoder_layers=layers)
    assert_steps_are_forward(model, CONTEXTS)
    state = model.start(torch.tensor([[20]]), torch.tensor([[False]]))
    windows = {name: tuple(window.shape) for name, window in state.items() if name.startswith("window_")}
    assert windows == {f"window_{layer}_BPD": (1, kernel_size - 1, 16) for layer in range(layers)}


def test_the_decoder_sees_no_future_and_as_far_back_as_its_settings_say(build_small: BuildSmall) -> None:
    model = build_small(
        "convolutional", num_decoder_layers=2
    )  # two layers of kernel 3: the last 4 and the one just said
    reply = [20, 21, 22, 23, 24, 25, 26, END_ID]

    def say(reply: list[int]) -> Tensor:
        logits: Tensor = model(collate([[30, 31]], [reply])).detach()
        return logits

    before = say(reply)
    for place in range(6):
        after = say([*reply[:place], 35, *reply[place + 1 :]])
        changed = (before - after).abs().amax(-1) > 1e-5
        reads_it = range(place + 1, place + 6)
        assert changed.tolist() == [position in reads_it for position in range(len(reply))], place


def test_padding_is_masked_before_each_convolution(build_small: BuildSmall) -> None:
    """Whatever ids stand in padding, behind three layers that would carry them into the last tokens."""
    model = build_small("convolutional", num_encoder_layers=3)
    is_pad_BS = torch.tensor([[False] * 3 + [True] * 3])
    some, others = torch.tensor([[20, 21, 22, 0, 0, 0]]), torch.tensor([[20, 21, 22, 30, 31, 32]])
    one, other = (model.step(torch.tensor([1]), model.start(ids, is_pad_BS))[0] for ids in (some, others))
    assert torch.equal(one, other)


@pytest.mark.parametrize("layers", [1, 4, 12])
def test_activations_neither_grow_nor_vanish_through_many_layers(layers: int) -> None:
    torch.manual_seed(0)
    model = build(Settings(width=64, num_encoder_layers=layers, num_decoder_layers=layers), 200, 40, 30)
    ids = torch.randint(16, 200, (2, 8, 30))
    logits_NV = model(collate(ids[0].tolist(), ids[1].tolist()))
    assert 0.2 < logits_NV.std().item() < 2  # 1, less what a mean over the context takes away


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "prelu", "gelu", "silu", "tanh"])
def test_every_nonlinearity_steps_as_it_learns_and_keeps_activations_in_bounds(
    activation: str, build_small: BuildSmall, assert_steps_are_forward: Callable[..., None]
) -> None:
    assert_steps_are_forward(build_small("convolutional", activation=activation), CONTEXTS)
    torch.manual_seed(0)
    settings = Settings(width=64, num_encoder_layers=12, num_decoder_layers=12, activation=activation)
    ids = torch.randint(16, 200, (2, 8, 30))
    logits_NV = build(settings, 200, 40, 30)(collate(ids[0].tolist(), ids[1].tolist()))
    assert 0.1 < logits_NV.std().item() < 3


def test_a_gate_costs_a_convolution_twice_the_weights() -> None:
    gated, relu = (
        build(Settings(width=16, activation=name), 40, 12, 8).get_parameter("encoder_layers.0.kernel.direction")
        for name in ("glu", "relu")
    )
    assert (gated.shape, relu.shape) == ((32, 48), (16, 48))


def test_weight_normalisation_keeps_directions_apart_from_lengths(build_small: BuildSmall) -> None:
    model = build_small("convolutional")
    contexts, replies = [[20, 21, 22]], [[23, 24, END_ID]]
    before = model(collate(contexts, replies)).detach()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("direction"):
                weight *= 7
    torch.testing.assert_close(model(collate(contexts, replies)).detach(), before, atol=1e-4, rtol=1e-4)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValidationError, match="kernel_size = 4 must be odd; try 5"):
        Settings(kernel_size=4)
