"""A cleaned turn in, whether it is refused out: what should not be learnt. For preparing only, never for serving.

A filter is a file of this folder with a class `Settings(FilterSettings)` and a function

    refuses(settings, text) -> bool

A recipe names the filters it wants in `text.filters`, and of each what it leaves out: the reply or the conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rejoinder import catalog
from rejoinder.recipe import PluginSettings
from rejoinder.text.filters.base import FilterSettings

if TYPE_CHECKING:
    from rejoinder.text.changes import CleaningReport

ROOM = "rejoinder.text.filters"

__all__ = ["ROOM", "FilterSettings", "refused_by"]


def refused_by(
    text: str, filters: tuple[PluginSettings, ...], report: CleaningReport | None = None
) -> FilterSettings | None:
    """The first filter that refuses this turn, those that leave out the conversation before those that leave out the
    reply; counted in the report. None when all let it through, and for an empty turn, which is neither learnt nor read
    anyway."""
    refusing = None
    for one in filters if text else ():
        assert isinstance(one, FilterSettings)
        if (refusing is None or one.what == "conversation") and catalog.pick(ROOM, one.name).refuses(one, text):
            refusing = one
            if one.what == "conversation":
                break
    if refusing is not None and report is not None:
        report.refused(text, refusing)
    return refusing
