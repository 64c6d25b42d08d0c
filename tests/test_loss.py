"""Nats, summed."""

from __future__ import annotations

import math

import pytest
import torch

from rejoinder.loss import bits_per_byte, loss_sum, perplexity, repeated_ids, unlikelihood_sum

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])
IDS = torch.tensor([0, 2])


def test_it_is_the_summed_surprise_at_the_right_tokens() -> None:
    first = -math.log(math.exp(2) / (math.exp(2) + 1 + math.exp(-1)))
    assert loss_sum(LOGITS, IDS).item() == pytest.approx(first + math.log(3))


def test_smoothing_expects_some_of_every_token() -> None:
    """0.3 of the mass is spread over all three tokens: 0.8 of it stays on the right one."""
    log_probs = LOGITS.log_softmax(-1)
    expected = -(0.8 * log_probs[0, 0] + 0.1 * log_probs[0, 1] + 0.1 * log_probs[0, 2])
    assert loss_sum(LOGITS[:1], IDS[:1], 0.3).item() == pytest.approx(expected.item())


def test_the_parts_of_a_batch_add_up() -> None:
    parts = loss_sum(LOGITS[:1], IDS[:1]) + loss_sum(LOGITS[1:], IDS[1:])
    assert loss_sum(LOGITS, IDS).item() == pytest.approx(parts.item())


def test_half_precision_logits_are_summed_in_full_precision() -> None:
    logits = torch.zeros(5000, 3, dtype=torch.bfloat16)
    total = loss_sum(logits, torch.zeros(5000, dtype=torch.long))
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(5000 * math.log(3), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_loss_and_gradient_are_torchs(label_smoothing: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits, ids = (20 * torch.randn(50, 30)).to(dtype), torch.randint(0, 30, (50,))
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    found = loss_sum(ours, ids, label_smoothing)
    right = torch.nn.functional.cross_entropy(theirs.float(), ids, reduction="sum", label_smoothing=label_smoothing)
    torch.testing.assert_close(found, right)
    for loss in (found, right):
        (0.25 * loss).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    with torch.no_grad():
        torch.testing.assert_close(loss_sum(logits, ids, label_smoothing), right.detach())


def test_a_token_that_was_thought_impossible_costs_what_it_should() -> None:
    logits = torch.tensor([[0.0, 500.0]], requires_grad=True)
    loss = loss_sum(logits, torch.tensor([0]))
    loss.backward()
    assert loss.item() == 500
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-1.0, 1.0]]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_logits_that_are_no_numbers_make_no_loss(broken: float) -> None:
    assert math.isnan(loss_sum(torch.tensor([[0.0, broken]], requires_grad=True), torch.tensor([0])).item())


def test_no_tokens_cost_nothing() -> None:
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = loss_sum(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None


def test_perplexity_of_an_even_choice_is_its_size() -> None:
    assert perplexity(math.log(40)) == pytest.approx(40)
    assert perplexity(1e6) == math.inf


def test_guessing_bytes_evenly_costs_eight_bits_each() -> None:
    assert bits_per_byte(10 * math.log(256), 10) == pytest.approx(8)


def test_ids_that_were_said_before_are_each_named_once() -> None:
    found = repeated_ids(torch.tensor([[5, 6, 5, 7, 6]]))[0]
    assert [sorted(id for id in row if id >= 0) for row in found.tolist()] == [[], [5], [6], [5, 6], [5, 7]]


def test_unlikelihood_is_minus_the_log_of_not_saying_it() -> None:
    probabilities = LOGITS.softmax(-1)
    expected = -(math.log(1 - probabilities[0, 1]) + math.log(1 - probabilities[0, 2]))
    assert unlikelihood_sum(LOGITS, torch.tensor([[1, -1, 2], [-1, -1, -1]])).item() == pytest.approx(expected)


def test_unlikelihood_of_a_certain_word_is_a_number() -> None:
    assert math.isfinite(unlikelihood_sum(torch.tensor([[100.0, 0.0]]), torch.tensor([[0]])).item())
