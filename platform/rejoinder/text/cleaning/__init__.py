"""A turn's raw text in, the text that is learnt and answered out: the same for training and for serving.

A step is a file of this folder with a class `Settings` and a function

    clean(settings, text) -> str

A recipe names the steps it wants in `text.cleaning`; they run in its order, and white space is put right at the end.
"""

from __future__ import annotations

from rejoinder import catalog
from rejoinder.recipe import PluginSettings

ROOM = "rejoinder.text.cleaning"


def clean(text: str, steps: tuple[PluginSettings, ...] = ()) -> str:
    """The text after all steps. Whatever they are, white space runs become one blank, ends are stripped, and lone
    surrogates, which are no characters, are replaced."""
    text = well_formed(text)
    for step in steps:
        text = catalog.pick(ROOM, step.name).clean(step, text)
    return " ".join(text.split())


def well_formed(text: str) -> str:
    """The text with a question mark for each lone surrogate."""
    return text if text.isascii() else text.encode("utf-8", errors="replace").decode("utf-8")
