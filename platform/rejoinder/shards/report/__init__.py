"""A prepared set in, a page to look at out: what is in it, what was left out, and what the model will see.

One self-contained HTML file, and the same figures as JSON, beside the manifest. Written when the set is made.
"""

from __future__ import annotations

import json
from pathlib import Path

from rejoinder.shards.report.figures import measure
from rejoinder.shards.report.page import render
from rejoinder.storage import write_text_whole

PAGE, FIGURES = "report.html", "report.json"

__all__ = ["FIGURES", "PAGE", "measure", "render", "write_report"]


def write_report(directory: Path) -> None:
    """Writes report.html and report.json of the set in this directory, whose manifest stands."""
    figures = measure(directory)
    # What people said may hold half an emoji, which UTF-8 has no bytes for.
    for name, text in ((FIGURES, json.dumps(figures, indent=1, ensure_ascii=False)), (PAGE, render(figures))):
        write_text_whole(directory / name, text.encode("utf-8", errors="replace").decode())
