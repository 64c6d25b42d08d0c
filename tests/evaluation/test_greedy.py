"""Replies beside a validation: what the engine says at temperature 0, of the same exchanges each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rejoinder import catalog, checkpoints
from rejoinder.dialogue import Responder
from rejoinder.evaluation import greedy_samples
from rejoinder.models import build_model
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet
from rejoinder.text import Tokenizer

MODELS = [name for name in catalog.names("rejoinder.models") if name != "pretrained"]


@pytest.mark.parametrize("name", MODELS)
def test_they_are_what_the_engine_says_greedily(
    name: str, make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path], prepared_set: Path
) -> None:
    recipe, shards = make_recipe(f"model={{name: {name}, width: 16}}"), ShardSet(prepared_set, "valid")
    trained = checkpoints.load(make_checkpoint(3, recipe))
    samples = greedy_samples(trained.model, shards, trained.tokenizer, 4, seed=0)
    responder = Responder(trained, num_slots=1, max_queued=0)
    responder.engine.start()
    plain = responder.decoding(temperature=0.0, repetition_penalty=1.0, min_reply_tokens=0)
    numbers = np.sort(np.random.default_rng(0).choice(len(shards), size=4, replace=False))
    for sample, number in zip(samples, numbers, strict=True):
        context_ids, reply_ids = (part[0].tolist() for part in shards.rows(np.array([number])))
        assert sample.reply == trained.tokenizer.to_text(reply_ids)
        assert sample.model_reply.strip() == responder.reply(context_ids, plain).text.strip().replace("…", "")
    responder.engine.stop()


def test_nothing_of_the_training_changes(recipe: Recipe, tokenizer: Tokenizer, prepared_set: Path) -> None:
    torch.manual_seed(0)
    model = build_model(recipe, tokenizer.num_ids).train()
    state = torch.get_rng_state()
    first = greedy_samples(model, ShardSet(prepared_set, "valid"), tokenizer, 3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert greedy_samples(model, ShardSet(prepared_set, "valid"), tokenizer, 3, seed=1) == first


def test_more_than_there_are_is_all_and_none_is_none(recipe: Recipe, tokenizer: Tokenizer, prepared_set: Path) -> None:
    model, shards = build_model(recipe, tokenizer.num_ids), ShardSet(prepared_set, "valid")
    assert len(greedy_samples(model, shards, tokenizer, 10**6, seed=0)) == len(shards)
    assert greedy_samples(model, shards, tokenizer, 0, seed=0) == []
