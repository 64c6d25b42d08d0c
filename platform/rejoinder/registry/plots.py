"""Histories of metrics in, figures of a run's losses, learning rate and gradient norm out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot: it keeps figures and settings for the whole process
from matplotlib.ticker import MaxNLocator

History = Sequence[tuple[int, float]]
"""(step, value), by step."""
PLOTS: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "loss": ("Loss", "nats per reply token", {"train_loss": "training", "valid_loss": "validation"}),
    "learning_rate": ("Learning rate", "", {"train_learning_rate": "learning rate"}),
    "gradient_norm": ("Gradient norm, before it is cut", "L2", {"train_gradient_norm": "gradient norm"}),
}
"""Name to title, unit and {metric: what it is called}."""
_COLOURS = ("#9aa3ad", "#b5592a")
_STYLE: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}


def metrics_drawn() -> list[str]:
    """The metrics whose histories `draw` takes."""
    return [metric for _, _, metrics in PLOTS.values() for metric in metrics]


def draw(histories: Mapping[str, History]) -> dict[str, Figure]:
    """A figure for each plot that there are points of, by the plot's name."""
    figures = {}
    for name, (title, unit, metrics) in PLOTS.items():
        curves = {called: _finite(histories.get(metric, ())) for metric, called in metrics.items()}
        if any(curves.values()):
            figures[name] = _curves(title, unit, {called: points for called, points in curves.items() if points})
    return figures


def _curves(title: str, unit: str, curves: Mapping[str, History]) -> Figure:
    with rc_context(_STYLE):
        figure = Figure(figsize=(7.5, 4), dpi=120, layout="constrained")
        axes = figure.subplots()
        colours = _COLOURS if len(curves) > 1 else _COLOURS[1:]
        for (called, points), colour in zip(curves.items(), colours, strict=False):
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) <= 50 else ""
            axes.plot(steps, values, color=colour, marker=marker, markersize=3.5, linewidth=1.5, label=called)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _choose_scale(axes, title, [value for points in curves.values() for _, value in points])
        if len(curves) > 1:
            axes.legend(frameon=False)
    return figure


def _choose_scale(axes: Axes, title: str, values: Sequence[float]) -> None:
    """From 0 for what is compared with 0; logarithmic where a few points would press the others flat."""
    ordered = sorted(values)
    median = ordered[len(ordered) // 2]
    if ordered[0] > 0 and ordered[-1] > 20 * median:
        axes.set_yscale("log")
    elif title != "Loss":
        axes.set_ylim(bottom=0)


def _finite(history: History) -> History:
    return [(step, value) for step, value in history if math.isfinite(value)]
