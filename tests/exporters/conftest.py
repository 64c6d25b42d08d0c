"""Small Transformers as they come out of a checkpoint, and what they say by themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rejoinder.batches import Position, pad
from rejoinder.checkpoints import Progress, Trained
from rejoinder.models import build_model
from rejoinder.recipe import Recipe
from rejoinder.text import END_ID, NUM_CONTROL_IDS, PAD_ID, START_ID, Tokenizer

CONTEXTS = [[4, 20, 30], [3, 40, 41, 4, 50, 51, 52, 53], [4, 60], [*range(17, 65)]]
MakeTrained = Callable[..., Trained]
Rows = list[list[int]]


@pytest.fixture
def make_trained(make_recipe: Callable[..., Recipe], tokenizer: Tokenizer) -> MakeTrained:
    """`make_trained(positions="learned")`: with weights larger than fresh ones, so that replies differ and end."""

    def make(**settings: object) -> Trained:
        wanted = {"name": "transformer", "width": 16, "num_heads": 2, "feedforward_width": 32, **settings}
        given = ", ".join(f"{key}: {value}" for key, value in wanted.items() if value is not None)
        recipe = make_recipe(f"model={{{given}}}")
        torch.manual_seed(0)
        model = build_model(recipe, tokenizer.num_ids).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.2 * torch.randn_like(weight)
        return Trained(model, tokenizer, recipe, Progress(1, Position(), "0"), "0")

    return make


class Replies:
    """What our own model says, token after token."""

    contexts: Rows = CONTEXTS
    max_reply_tokens = 12

    @torch.inference_mode()
    def greedy(self, trained: Trained) -> Rows:
        context_ids_BS = pad(self.contexts)
        state = trained.model.start(context_ids_BS, context_ids_BS == PAD_ID)
        ids_B, said = torch.full((len(self.contexts),), START_ID), []
        for _ in range(self.max_reply_tokens):
            logits_BV, state = trained.model.step(ids_B, state)
            logits_BV[:, [id for id in range(NUM_CONTROL_IDS) if id != END_ID]] = -torch.inf
            ids_B = logits_BV.argmax(1)
            said.append(ids_B)
        return [self.to_end(row) for row in torch.stack(said, dim=1).tolist()]

    def to_end(self, ids: list[int]) -> list[int]:
        """What stands before the end token."""
        return ids[: ids.index(END_ID)] if END_ID in ids else ids


@pytest.fixture
def replies() -> Replies:
    """The contexts that the tests of exporters share, and our own replies to them."""
    return Replies()
