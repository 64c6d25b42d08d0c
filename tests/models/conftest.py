"""What the tests of single models share: small models whose weights are large enough to show what is seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rejoinder import catalog
from rejoinder.batches import collate, pad
from rejoinder.models import Seq2Seq
from rejoinder.text import END_ID, PAD_ID

NUM_IDS, MAX_CONTEXT, MAX_REPLY = 40, 12, 8
REPLIES = [[20, 21, 22, 23, 24, 25, 26, END_ID], [30, 31, END_ID], [END_ID]]

BuildSmall = Callable[..., Seq2Seq]
LogitsOf = Callable[[Seq2Seq, list[list[int]]], list[Tensor]]


@pytest.fixture
def build_small() -> BuildSmall:
    """`build_small("recurrent", cell="rnn")`: in evaluation mode, with weights larger than fresh ones."""

    def build(name: str, **settings: object) -> Seq2Seq:
        plugin = catalog.pick("rejoinder.models", name)
        torch.manual_seed(0)
        model: Seq2Seq = plugin.build(plugin.Settings(width=16, **settings), NUM_IDS, MAX_CONTEXT, MAX_REPLY)
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.2 * torch.randn_like(weight)
        return model.eval()

    return build


@pytest.fixture
def logits_of() -> LogitsOf:
    """`logits_of(model, contexts)`: logits_TV of up to three replies, each said all at once."""

    def logits(model: Seq2Seq, contexts: list[list[int]]) -> list[Tensor]:
        replies = REPLIES[: len(contexts)]
        return list(model(collate(contexts, replies)).detach().split([len(reply) for reply in replies]))

    return logits


@pytest.fixture
def assert_steps_are_forward(logits_of: LogitsOf) -> Callable[[Seq2Seq, list[list[int]]], None]:
    """Step by step is the same as all at once, and each row alone the same as together."""

    def check(model: Seq2Seq, contexts: list[list[int]]) -> None:
        expected = logits_of(model, contexts)
        context_ids_BS = pad(contexts)
        state = model.start(context_ids_BS, context_ids_BS == PAD_ID)
        said_BT = collate(contexts, REPLIES[: len(contexts)]).reply_input_ids_BT
        for place in range(said_BT.shape[1]):
            logits_BV, state = model.step(said_BT[:, place], state)
            for logits_V, expected_TV in zip(logits_BV.detach(), expected, strict=True):
                if place < len(expected_TV):
                    torch.testing.assert_close(logits_V, expected_TV[place], atol=1e-5, rtol=1e-5)
        for context, reply, expected_TV in zip(contexts, REPLIES, expected, strict=False):
            alone_TV = model(collate([context], [reply])).detach()
            torch.testing.assert_close(alone_TV, expected_TV, atol=1e-5, rtol=1e-5)

    return check
