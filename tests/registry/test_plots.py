"""Which curves are drawn, and that a few wild points do not hide the others."""

from __future__ import annotations

import math

from rejoinder.registry import plots

FALLING = [(step, 5.0 / step) for step in range(1, 20)]


def test_there_is_a_figure_for_what_there_are_points_of() -> None:
    assert plots.draw({}) == {}
    assert plots.draw({"train_loss": [(1, math.nan)]}) == {}
    assert plots.draw({"train_loss": FALLING, "other": FALLING}).keys() == {"loss"}
    assert plots.draw(dict.fromkeys(plots.metrics_drawn(), FALLING)).keys() == set(plots.PLOTS)


def test_training_and_validation_are_told_apart() -> None:
    (axes,) = plots.draw({"train_loss": FALLING, "valid_loss": [(10, 1.0), (19, math.inf)]})["loss"].axes
    drawn = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert drawn == {"training": list(range(1, 20)), "validation": [10]}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]


def test_a_peak_does_not_press_the_other_points_flat() -> None:
    calm, wild = ([(step, 1.0) for step in range(1, 20)] + [(20, peak)] for peak in (2.0, 400.0))
    assert plots.draw({"train_gradient_norm": calm})["gradient_norm"].axes[0].get_yscale() == "linear"
    assert plots.draw({"train_gradient_norm": wild})["gradient_norm"].axes[0].get_yscale() == "log"
