"""What does not go together is refused before training begins."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rejoinder.recipe import TrainingSection


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"nesterov = true needs momentum above 0; try 0\.9"):
        TrainingSection(optimizer={"name": "sgd", "momentum": 0, "nesterov": True})
