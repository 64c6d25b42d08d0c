"""Norms, positions, activations and depths of the Transformer, each by itself and together."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from rejoinder.batches import collate
from rejoinder.models import Seq2Seq
from rejoinder.models.transformer import Settings, build
from rejoinder.models.transformer_layers import make_norm

CONTEXTS = [[20], [21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32], [33, 34, 35]]
REPLIES = [[20, 21, 2], [22, 2], [2]]
SMALL = {"num_heads": 2, "feedforward_width": 32}
POSITIONS = ["rotary", "learned", "sinusoidal"]
BuildSmall = Callable[..., Seq2Seq]
Check = Callable[[Seq2Seq, list[list[int]]], None]


def fresh(**settings: object) -> Seq2Seq:
    torch.manual_seed(0)
    return build(Settings(**({"width": 16} | SMALL | settings)), 40, 12, 8)


@pytest.mark.parametrize(("positions", "norm", "place"), product(POSITIONS, ["layer", "rms"], ["pre", "post"]))
def test_every_norm_with_every_positions_steps_as_it_learns(
    positions: str, norm: str, place: str, build_small: BuildSmall, assert_steps_are_forward: Check
) -> None:
    model = build_small("transformer", positions=positions, norm=norm, norm_position=place, **SMALL)
    assert_steps_are_forward(model, CONTEXTS)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "prelu", "gelu", "silu", "tanh", "swiglu"])
def test_every_activation_steps_as_it_learns(
    activation: str, build_small: BuildSmall, assert_steps_are_forward: Check
) -> None:
    model = build_small("transformer", activation=activation, **SMALL)
    assert_steps_are_forward(model, CONTEXTS)
    model.train()(collate(CONTEXTS, REPLIES)).square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_order_of_context_and_reply_counts(
    positions: str, build_small: BuildSmall, logits_of: Callable[..., list[Tensor]]
) -> None:
    model = build_small("transformer", positions=positions, **SMALL)
    (one,), (other,) = logits_of(model, [[20, 21, 22]]), logits_of(model, [[22, 21, 20]])
    assert (one - other).abs().max() > 0.01
    said = [model(collate([[20]], [reply]))[-1] for reply in ([30, 31, 32, 33, 2], [31, 30, 32, 33, 2])]
    assert (said[0] - said[1]).abs().max() > 0.001


def test_only_learned_positions_are_weights_one_table_for_each_side() -> None:
    tables = {
        positions: {
            name: tuple(weight.shape)
            for name, weight in fresh(positions=positions).state_dict().items()
            if "positions" in name or "waves" in name or "rotations" in name
        }
        for positions in POSITIONS
    }
    assert tables.pop("learned") == {"context_positions.weight": (12, 16), "reply_positions.weight": (8, 16)}
    assert tables == {"rotary": {}, "sinusoidal": {}}


def test_rms_norm_keeps_the_mean_that_layer_norm_takes_away() -> None:
    hidden_BD = torch.randn(5, 16)
    layer, rms = (make_norm(Settings(width=16, norm=norm)) for norm in ("layer", "rms"))
    torch.testing.assert_close(layer(hidden_BD + 3), layer(hidden_BD), atol=1e-4, rtol=1e-4)
    expected_BD = hidden_BD / hidden_BD.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(rms(hidden_BD), expected_BD, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, nn.LayerNorm) for module in fresh(norm="rms").modules())


def test_post_norm_norms_the_sum_that_goes_on_and_pre_norm_what_a_part_reads() -> None:
    sizes = {}
    for place in ("pre", "post"):
        model, seen = fresh(norm_position=place), []
        second = model.get_submodule("encoder_layers.1")
        second.register_forward_hook(lambda _module, inputs, _outputs, seen=seen: seen.append(inputs[0]))
        with torch.no_grad():
            model.get_parameter("embedding.weight").mul_(10)
        model(collate(CONTEXTS[1:2], REPLIES[:1]))
        sizes[place] = seen[0].square().mean().sqrt().item()
    assert sizes["post"] == pytest.approx(1, abs=0.01)
    assert sizes["pre"] > 5


@pytest.mark.parametrize("place", ["pre", "post"])
def test_what_the_output_layer_reads_is_normed_in_both(place: str) -> None:
    hidden_ND = fresh(norm_position=place).hidden(collate(CONTEXTS, REPLIES))
    torch.testing.assert_close(hidden_ND.square().mean(-1), torch.ones(len(hidden_ND)), atol=1e-3, rtol=1e-3)


def test_a_layer_that_all_rows_pass_by_adds_nothing() -> None:
    """Nearly all of them; and every weight has a gradient nevertheless, for which DDP waits."""
    model = fresh(layer_drop=0.999).train()
    seen: list[tuple[Tensor, Tensor]] = []
    model.get_submodule("decoder_layers.0").register_forward_hook(
        lambda _module, inputs, output: seen.append((inputs[0], output))
    )
    model(collate(CONTEXTS, REPLIES)).sum().backward()
    assert torch.equal(*seen[0])
    assert all(weight.grad is not None for weight in model.parameters())
    model.eval()(collate(CONTEXTS, REPLIES))
    assert not torch.equal(*seen[1])


@pytest.mark.parametrize(("attention_dropout", "expected"), [(None, 0.4), (0.0, 0.0), (0.2, 0.2)])
def test_attention_has_a_dropout_of_its_own_or_that_of_the_rest(
    attention_dropout: float | None, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, real = [], torch.nn.functional.scaled_dot_product_attention

    def spy(*args: Tensor, dropout_p: float = 0.0, **others: object) -> Tensor:
        seen.append(dropout_p)
        return real(*args, dropout_p=dropout_p, **others)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    model = fresh(dropout=0.4, attention_dropout=attention_dropout)
    model.train()(collate(CONTEXTS, REPLIES))
    assert set(seen) == {expected}
    seen.clear()
    model.eval()(collate(CONTEXTS, REPLIES))
    assert set(seen) == {0.0}


def test_heads_of_odd_width_are_for_positions_that_are_not_turned(
    build_small: BuildSmall, assert_steps_are_forward: Check
) -> None:
    with pytest.raises(ValidationError, match="num_heads = 16 must divide width = 16 into heads of even width; try 8"):
        Settings(width=16, num_heads=16)
    assert_steps_are_forward(build_small("transformer", num_heads=16, positions="learned"), CONTEXTS)
