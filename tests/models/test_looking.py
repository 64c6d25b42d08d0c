"""Where a decoder looked: shares of the context's tokens, as they were when the model read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rejoinder.batches import collate
from rejoinder.models import Seq2Seq
from rejoinder.text import END_ID

BuildSmall = Callable[..., Seq2Seq]
CONTEXTS = [[20, 21, 22, 23, 24, 25, 26], [30], [31, 32, 33]]
REPLIES = [[20, 21, END_ID], [22, 23, 24, 25, END_ID], [END_ID]]
LOOKING: list[tuple[str, dict[str, Any]]] = [
    ("transformer", {"num_heads": 4}),
    ("transformer", {"num_heads": 2, "positions": "learned", "norm_position": "post"}),
    ("gru_attention", {}),
    ("convolutional", {}),
    *(("recurrent", {"attention": kind}) for kind in ("dot", "general", "concat", "multi_head")),
    ("recurrent", {"attention": "general", "input_feeding": True}),
]


@pytest.mark.parametrize(("name", "settings"), LOOKING)
def test_weights_are_shares_of_the_contexts_tokens(
    name: str, settings: dict[str, Any], build_small: BuildSmall
) -> None:
    model = build_small(name, **settings).train()  # what is dropped while training must not show
    together = model.looked_at(collate(CONTEXTS, REPLIES))
    assert together is not None
    assert together.shape == (3, 5, 7)
    assert model.training
    for row, (context, reply) in enumerate(zip(CONTEXTS, REPLIES, strict=True)):
        weights_TS = together[row, : len(reply)]
        torch.testing.assert_close(weights_TS.sum(1), torch.ones(len(reply)))
        assert (weights_TS >= 0).all()
        assert not weights_TS[:, len(context) :].any()
        alone = model.looked_at(collate([context], [reply]))
        assert alone is not None
        torch.testing.assert_close(weights_TS[:, : len(context)], alone[0], atol=1e-5, rtol=1e-4)
    assert together[0, 0].std() > 1e-4  # it does look somewhere


def test_what_a_transformer_read_is_the_values_by_these_weights(build_small: BuildSmall) -> None:
    """Fused attention never shows its weights: they are computed anew, and must give what it gave."""
    model, batch = build_small("transformer", num_heads=1, num_decoder_layers=1), collate(CONTEXTS, REPLIES)
    attention, heard = model.decoder_layers[0].cross_attention, list[Tensor]()
    attention.out.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    attention.key_value.register_forward_hook(lambda _, given, made: heard.append(made))
    weights_BTS = model.looked_at(batch)
    assert weights_BTS is not None
    key_values_BSD, read_BTD = heard
    values_BSD = key_values_BSD.chunk(2, dim=-1)[1]
    torch.testing.assert_close(read_BTD, weights_BTS @ values_BSD, atol=1e-5, rtol=1e-4)


def test_listening_ends_with_the_look(build_small: BuildSmall) -> None:
    model = build_small("gru_attention")
    model.looked_at(collate(CONTEXTS, REPLIES))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("name", "settings"), [("hierarchical", {}), ("recurrent", {"attention": "none"})])
def test_who_does_not_look_back_says_so(name: str, settings: dict[str, Any], build_small: BuildSmall) -> None:
    model = build_small(name, **settings)
    assert model.looked_at(collate(CONTEXTS, REPLIES)) is None
    assert not model.tells_where_it_looks
