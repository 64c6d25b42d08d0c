"""What every filter's settings have."""

from __future__ import annotations

from typing import Literal

from rejoinder.recipe import PluginSettings


class FilterSettings(PluginSettings):
    """The class `Settings` of a filter's file inherits from this."""

    what: Literal["reply", "conversation"] = "reply"
    """What a refused turn leaves out. reply: it is not learnt as a reply, and stays as context of those after it.
    conversation: one such turn leaves out the whole conversation."""
