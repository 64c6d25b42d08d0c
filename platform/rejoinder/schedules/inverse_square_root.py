"""The rate falls with the root of the step, quickly at first and then ever more slowly (Vaswani et al. 2017).

Theirs is sqrt(warm-up steps / step) of the peak. As a function of progress that is 1 / sqrt(1 + progress (1/f² - 1)),
where f = sqrt(warm-up steps / all steps) is what is left at the last step.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["inverse_square_root"] = "inverse_square_root"
    final_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The last step's rate as a share of the peak. sqrt(warmup_steps / num_steps) makes it exactly theirs: 0.2 for
    their 4,000 of 100,000."""


def factor(settings: Settings, progress: float) -> float:
    """From 1 to `final_fraction`."""
    return float((1 + progress * (settings.final_fraction**-2 - 1)) ** -0.5)
