"""Two models timed by turns: the slower one is found out, and one alone is timed too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rejoinder.evaluation import Sample
from rejoinder.recipe import Recipe
from rejoinder.registry import compare_latency


@pytest.fixture
def samples() -> list[Sample]:
    """Contexts to reply to."""
    return [Sample("Hi!\nHello!", "How are you?", ""), Sample("What is your name?", "Bob.", "")]


def test_a_model_with_many_times_the_work_is_slower(
    make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path], samples: list[Sample]
) -> None:
    words = ("registry.gate.latency_replies=6", "text.max_reply_tokens=8")
    large, small = make_recipe(*words, "model.width=768"), make_recipe(*words, "model.width=8")
    threads = torch.get_num_threads()
    of = compare_latency(small, [make_checkpoint(0, large), make_checkpoint(0, small)], samples)
    assert of.champion is not None
    assert of.candidate > of.champion
    assert of.difference == pytest.approx(of.candidate - of.champion)
    assert of.low <= of.difference <= of.high
    assert of.better == -1
    assert torch.get_num_threads() == threads


def test_one_alone_is_timed_without_a_champion(
    make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path]
) -> None:
    recipe = make_recipe("registry.gate.latency_replies=2")
    of = compare_latency(recipe, [make_checkpoint(0, recipe)], [])
    assert of.champion is None
    assert of.candidate > 0
