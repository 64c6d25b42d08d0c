"""Every cell with every attention."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from pydantic import ValidationError

from rejoinder.batches import collate
from rejoinder.models import Seq2Seq
from rejoinder.models.recurrent import Settings

CONTEXTS = [[20], [21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32], [33, 34, 35]]
LOOKING_BACK = [("none", False), *product(["dot", "general", "concat", "multi_head"], [False, True])]
BuildSmall = Callable[..., Seq2Seq]
Check = Callable[[Seq2Seq, list[list[int]]], None]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("attention", "input_feeding"), LOOKING_BACK)
def test_every_cell_with_every_attention_steps_as_it_learns(
    cell: str, attention: str, input_feeding: bool, build_small: BuildSmall, assert_steps_are_forward: Check
) -> None:
    model = build_small("recurrent", cell=cell, attention=attention, input_feeding=input_feeding, num_heads=2)
    assert_steps_are_forward(model, CONTEXTS)
    state = model.start(torch.tensor([[20]]), torch.tensor([[False]]))
    assert ("cell_BLD" in state) == (cell == "lstm")
    assert ("keys_BSD" in state) == (attention != "none")
    assert ("attended_BD" in state) == input_feeding


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_one_direction_several_layers_and_another_hidden_width(
    cell: str, build_small: BuildSmall, assert_steps_are_forward: Check
) -> None:
    model = build_small(
        "recurrent", cell=cell, bidirectional=False, hidden_width=12, num_encoder_layers=2, num_decoder_layers=3
    )
    assert_steps_are_forward(model, CONTEXTS)
    _, state = model.step(torch.tensor([1]), model.start(torch.tensor([[20]]), torch.tensor([[False]])))
    assert state["hidden_BLD"].shape == (1, 3, 12)


@pytest.mark.parametrize(("attention", "input_feeding"), LOOKING_BACK)
def test_every_weight_learns(attention: str, input_feeding: bool, build_small: BuildSmall) -> None:
    model = build_small("recurrent", attention=attention, input_feeding=input_feeding).train()
    model(collate(CONTEXTS, [[20, 21, 2], [22, 2], [2]])).square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_a_gru_with_general_attention_is_gru_attention(
    build_small: BuildSmall, logits_of: Callable[..., object]
) -> None:
    ours, other = build_small("recurrent", cell="gru", attention="general"), build_small("gru_attention", dropout=0.5)
    renamed = {name.replace("key.", "attention.key."): weight for name, weight in other.state_dict().items()}
    ours.load_state_dict(renamed)
    torch.testing.assert_close(logits_of(ours, CONTEXTS), logits_of(other, CONTEXTS))


def test_input_feeding_feeds_what_was_attended_to(build_small: BuildSmall) -> None:
    """The second step's logits change with the state's attended_BD alone."""
    model = build_small("recurrent", input_feeding=True)
    _, state = model.step(torch.tensor([1]), model.start(torch.tensor([[20, 21]]), torch.tensor([[False, False]])))
    with_it, _ = model.step(torch.tensor([22]), dict(state))
    without, _ = model.step(torch.tensor([22]), state | {"attended_BD": torch.zeros_like(state["attended_BD"])})
    assert (with_it - without).abs().max() > 0.01


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"width": 15}, "width = 15 must be even; try 16, or bidirectional = false"),
        ({"attention": "multi_head", "width": 16, "num_heads": 5}, "num_heads = 5 must divide width = 16; try 4"),
        (
            {"attention": "dot", "hidden_width": 8},
            "hidden_width = 8 must be width = 256 for dot attention; try general",
        ),
        ({"attention": "none", "input_feeding": True}, "nothing to feed with attention = none; try general"),
        ({"cell": "sru"}, "'rnn', 'gru' or 'lstm'"),
        ({"activation": "relu"}, "activation = relu is for cell = rnn, not lstm; leave it at tanh"),
        ({"attention": "none", "attention_dropout": 0.1}, "nothing to drop with attention = none; try general"),
        ({"variational_dropout": True, "input_feeding": True}, "needs all tokens at once, .* give up either"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Settings(**settings)


@pytest.mark.parametrize(("input_feeding", "calls"), [(False, 1), (True, 8)])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_reply_is_learnt_from_in_one_call_unless_steps_feed_each_other(
    cell: str, input_feeding: bool, calls: int, build_small: BuildSmall, logits_of: Callable[..., object]
) -> None:
    model = build_small("recurrent", cell=cell, input_feeding=input_feeding)
    made: list[object] = []
    model.get_submodule("decoder").register_forward_hook(lambda *_: made.append(None))
    logits_of(model, CONTEXTS)  # the longest reply has 8 tokens
    assert len(made) == calls


def test_a_plain_cell_of_relu_steps_as_it_learns_and_is_another_than_tanh(
    build_small: BuildSmall, logits_of: Callable[..., list[torch.Tensor]], assert_steps_are_forward: Check
) -> None:
    relu, tanh = (build_small("recurrent", cell="rnn", activation=activation) for activation in ("relu", "tanh"))
    assert_steps_are_forward(relu, CONTEXTS)
    assert (logits_of(relu, CONTEXTS)[0] - logits_of(tanh, CONTEXTS)[0]).abs().max() > 0.01


@pytest.mark.parametrize("name", ["recurrent", "gru_attention", "hierarchical"])
def test_variational_dropout_is_one_mask_a_row_wherever_tokens_are_dropped(name: str, build_small: BuildSmall) -> None:
    layers = {"num_encoder_layers": 2, "num_decoder_layers": 2}
    model = build_small(name, dropout=0.5, variational_dropout=True, **layers).train()
    for part in ("embedding_dropout", "dropout", "decoder.dropout"):
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        hook = model.get_submodule(part).register_forward_hook(
            lambda _module, inputs, output, seen=seen: seen.append((inputs[0], output))
        )
        model(collate(CONTEXTS[1:2], [[20, 21, 22, 23, 2]]))
        hook.remove()
        assert seen, part
        for before_BTD, after_BTD in seen:
            assert torch.equal(after_BTD == 0, (after_BTD == 0)[:, :1].expand_as(after_BTD)), part
            assert (after_BTD != before_BTD).any(), part


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_layers_with_variational_dropout_step_as_they_learn(
    cell: str, build_small: BuildSmall, assert_steps_are_forward: Check
) -> None:
    layers = {"num_encoder_layers": 2, "num_decoder_layers": 3}
    assert_steps_are_forward(
        build_small("recurrent", cell=cell, variational_dropout=True, dropout=0.5, **layers), CONTEXTS
    )


def test_an_odd_width_is_fine_in_one_direction() -> None:
    assert Settings(width=15, bidirectional=False).width == 15
