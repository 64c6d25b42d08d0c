"""What a step minimises: the model's own words fed back, repetition, logits in chunks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rejoinder.batches import Batch, collate
from rejoinder.models import Seq2Seq, build_model
from rejoinder.recipe import Recipe, ScheduledSamplingSection
from rejoinder.text import START_ID
from rejoinder.training.objective import Objective, sampled_share, with_own_words

CURVES = ("linear", "exponential", "inverse_sigmoid")


@pytest.fixture
def model(recipe: Recipe) -> Seq2Seq:
    """The small recipe's, with fresh weights."""
    torch.manual_seed(0)
    return build_model(recipe, 320)


@pytest.fixture
def batch() -> Batch:
    """Three exchanges of different lengths."""
    return collate([[4, 20, 21], [4, 22], [4, 23, 24, 25]], [[30, 31, 30, 2], [32, 2], [33, 34, 2]])


@pytest.mark.parametrize("curve", CURVES)
def test_the_share_of_own_words_rises_from_nothing_to_the_final_one(curve: str) -> None:
    settings = ScheduledSamplingSection(final_share=0.4, start=0.2, curve=curve)  # type: ignore[arg-type]
    shares = [sampled_share(settings, number / 100) for number in range(101)]
    assert shares[:21] == [0.0] * 21
    assert shares[-1] == pytest.approx(0.4)
    assert shares == sorted(shares)


def test_the_curves_differ_as_their_names_say() -> None:
    half = {
        curve: sampled_share(ScheduledSamplingSection(final_share=0.8, start=0, curve=curve), 0.25)  # type: ignore[arg-type]
        for curve in CURVES
    }
    assert half["linear"] == pytest.approx(0.2)
    assert half["inverse_sigmoid"] < half["linear"] < half["exponential"]


def test_the_whole_share_is_what_the_model_would_have_said(model: Seq2Seq, batch: Batch) -> None:
    said = torch.zeros_like(batch.reply_ids_BT)
    said[~batch.reply_is_pad_BT] = model.eval()(batch).argmax(-1)
    fed = with_own_words(model, batch, share=1.0).reply_input_ids_BT
    assert (fed[:, 0] == START_ID).all()
    for row, length in enumerate((4, 2, 3)):
        assert fed[row, 1:length].tolist() == said[row, : length - 1].tolist()
        assert fed[row, length + 1 :].tolist() == batch.reply_input_ids_BT[row, length + 1 :].tolist()


def test_about_the_share_is_replaced(model: Seq2Seq) -> None:
    rows = [[30 + number % 7 for number in range(20)] for _ in range(50)]
    batch = collate([[4, 20]] * 50, rows)
    torch.manual_seed(1)
    fed = with_own_words(model, batch, share=0.3).reply_input_ids_BT
    changed = (fed != batch.reply_input_ids_BT).float().mean().item()
    assert 0.2 < changed < 0.4


def test_chunks_give_the_same_loss_and_gradients(
    make_recipe: Callable[..., Recipe], model: Seq2Seq, batch: Batch
) -> None:
    found = []
    for words in ([], ["training.loss_chunk_tokens=2"]):
        recipe = make_recipe("training.label_smoothing=0.1", "training.unlikelihood=0.5", *words)
        model.zero_grad()
        loss = Objective(model.eval(), recipe.training)(batch)
        (3 * loss).backward()
        found.append((loss.item(), {name: weight.grad.clone() for name, weight in model.named_parameters()}))  # type: ignore[union-attr]
    (whole, whole_grads), (chunked, chunked_grads) = found
    assert chunked == pytest.approx(whole)
    for name, grad in whole_grads.items():
        torch.testing.assert_close(chunked_grads[name], grad, msg=name)


def test_without_gradients_chunks_add_up_too(make_recipe: Callable[..., Recipe], model: Seq2Seq, batch: Batch) -> None:
    with torch.no_grad():
        losses = [
            Objective(model.eval(), make_recipe(*words).training)(batch).item()
            for words in ([], ["training.loss_chunk_tokens=2"])
        ]
    assert losses[0] == pytest.approx(losses[1])


def test_unlikelihood_teaches_not_to_say_things_again(make_recipe: Callable[..., Recipe]) -> None:
    """The right reply repeats a word; with unlikelihood the model does not learn to repeat more than it must."""
    batch = collate([[4, 20]] * 4, [[30, 31, 32, 33, 2]] * 4)
    repeats = {}
    for weight in (0, 20):
        recipe = make_recipe(f"training.unlikelihood={weight}")
        torch.manual_seed(0)
        model = build_model(recipe, 320)
        objective, optimizer = Objective(model, recipe.training), torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(12):
            optimizer.zero_grad()
            objective(batch).backward()
            optimizer.step()
        probabilities = model.eval()(batch).softmax(-1)[:5]
        repeats[weight] = (probabilities[1, 30] + probabilities[2, [30, 31]].sum()).item()
    assert repeats[20] < 0.8 * repeats[0]
