"""What many tests need: recipes that stay inside the test's own directory, and a prepared set without Ray."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rejoinder.recipe import Recipe, override, validate

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests share two cores; results must not depend on how many threads a sum was divided among."""
    import torch

    torch.set_num_threads(1)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """The plain values of a small recipe whose storage is the test's own directory."""
    return {
        "name": "test",
        "data": {"corpora": [{"name": "made_up", "num_conversations": 40}], "valid_fraction": 0.2, "test_fraction": 0.2},
        "text": {"vocabulary_size": 320, "max_context_tokens": 48, "max_reply_tokens": 20},
        "model": {"name": "gru_attention", "width": 16},
        "training": {"num_steps": 4, "batch_tokens": 512, "warmup_steps": 1},
        "evaluation": {"batch_tokens": 512},
        "storage": {"uri": str(tmp_path / "home")},
        "cluster": {"address": "local", "num_cpus": 4},
        "registry": {"tracking_uri": None},
    }


@pytest.fixture
def make_recipe(tree: dict[str, Any]) -> Callable[..., Recipe]:
    """`make_recipe("model.width=8", ...)`: the small recipe with some settings changed."""
    return lambda *words: validate(override(tree, words))


@pytest.fixture
def recipe(make_recipe: Callable[..., Recipe]) -> Recipe:
    """The small recipe."""
    return make_recipe()
