"""Replies in, what is counted of each out; sums of that in, figures out. One metric is one file of this folder.

A metric is a file with a class `Settings(PluginSettings)`, a table and a function

    FIGURES: dict[str, Figure]                            name to what it means and how it follows from sums
    statistics(settings, answers) -> dict[str, Statistics]   the same names; a row, or a bag, for each exchange

and, where they apply, `signature(settings) -> str`, what others need to get the same figure, by default the settings;
`problems(settings)`, sentences about what is missing on this machine; and `OF_LOSS = True`: it needs no replies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

from rejoinder import catalog
from rejoinder.evaluation.bootstrap import Statistics
from rejoinder.evaluation.metrics.base import Answers, Figure
from rejoinder.recipe import PluginSettings

ROOM = "rejoinder.evaluation.metrics"

__all__ = ["FIGURES", "ROOM", "Answers", "Figure", "figures_of", "problems", "signatures", "statistics", "with_loss"]

FIGURES: dict[str, Figure] = {
    name: figure for plugin in catalog.names(ROOM) for name, figure in catalog.pick(ROOM, plugin).FIGURES.items()
}
"""Every figure that any metric gives."""


def statistics(metrics: Sequence[PluginSettings], answers: Answers) -> dict[str, Statistics]:
    """What these metrics count of each exchange, by the name of the figure."""
    found: dict[str, Statistics] = {}
    for settings in metrics:
        found |= _module(settings).statistics(settings, answers)
    return found


def with_loss(metrics: Sequence[PluginSettings]) -> tuple[list[PluginSettings], list[PluginSettings]]:
    """The metrics of the loss, which are always measured; and those that need replies."""
    of_loss = [name for name in catalog.names(ROOM) if hasattr(catalog.pick(ROOM, name), "OF_LOSS")]
    return [catalog.pick(ROOM, name).Settings() for name in of_loss], [of for of in metrics if of.name not in of_loss]


def signatures(metrics: Sequence[PluginSettings]) -> dict[str, str]:
    """What others need to get the same figures, by the name of the metric; of most, their settings."""
    found = {}
    for settings in metrics:
        module, own = _module(settings), settings.model_dump(mode="json", exclude={"name"})
        if hasattr(module, "signature"):
            found[settings.name] = module.signature(settings)
        elif own:
            found[settings.name] = ", ".join(f"{name}: {value}" for name, value in own.items())
    return found


def figures_of(settings: PluginSettings) -> dict[str, Figure]:
    """The figures that a metric gives."""
    found: dict[str, Figure] = _module(settings).FIGURES
    return found


def problems(metrics: Sequence[PluginSettings]) -> Iterator[str]:
    """Why these metrics cannot be computed here, as sentences."""
    names = [settings.name for settings in metrics]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"evaluation.metrics: {name} stands there twice; leave one out"
    for settings in metrics:
        module = _module(settings)
        if hasattr(module, "problems"):
            yield from (f"evaluation.metrics: {settings.name}: {problem}" for problem in module.problems(settings))


def _module(settings: PluginSettings) -> ModuleType:
    return catalog.pick(ROOM, settings.name)
