"""Measured loss: the same however the work is shared."""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from pathlib import Path

import pytest
import torch

from rejoinder.batches import load
from rejoinder.evaluation import Measured, measure_loss
from rejoinder.models import Seq2Seq, build_model
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet


@pytest.fixture
def valid(prepared_set: Path) -> ShardSet:
    """A split to measure on."""
    return ShardSet(prepared_set, "valid")


@pytest.fixture
def model(recipe: Recipe, valid: ShardSet) -> Seq2Seq:
    """An untrained model."""
    torch.manual_seed(0)
    return build_model(recipe, valid.tokenizer().num_ids)


def test_it_is_the_sum_over_exchanges_taken_one_by_one(model: Seq2Seq, valid: ShardSet) -> None:
    import numpy as np

    expected = 0.0
    with torch.inference_mode():
        for row in range(len(valid)):
            batch = load(valid, np.array([row]))
            log_probs_NV = model.eval()(batch).log_softmax(-1)
            expected -= log_probs_NV.gather(1, batch.reply_ids_BT[0, :, None]).sum().item()
    measured = measure_loss(model, valid, batch_tokens=500)
    assert measured.loss_sum_nats == pytest.approx(expected, rel=1e-5)
    assert measured.num_tokens == valid.manifest.total("valid", "num_reply_tokens")
    assert measured.num_bytes == valid.manifest.total("valid", "num_reply_bytes")


def test_parts_add_up_to_the_whole(model: Seq2Seq, valid: ShardSet) -> None:
    whole = measure_loss(model, valid, batch_tokens=500)
    total = reduce(add, (measure_loss(model, valid, 500, part, 3, max_microbatch_tokens=200) for part in range(3)))
    assert total.loss_sum_nats == pytest.approx(whole.loss_sum_nats, rel=1e-6)
    assert (total.num_tokens, total.num_bytes) == (whole.num_tokens, whole.num_bytes)


def test_metrics_say_nats_perplexity_and_bits() -> None:
    metrics = Measured(loss_sum_nats=200 * math.log(4), num_tokens=200, num_bytes=800).metrics("test")
    assert metrics == pytest.approx({"test_loss": math.log(4), "test_perplexity": 4.0, "test_bits_per_byte": 0.5})


def test_dropout_is_off_while_measuring_and_on_again_after(recipe: Recipe, model: Seq2Seq, valid: ShardSet) -> None:
    model.train()
    assert measure_loss(model, valid, 500) == measure_loss(model, valid, 500)
    assert model.training
