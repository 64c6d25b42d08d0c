"""A prepared set in, a page to look at out: what is in it, what was left out, and what the model will see.

One self-contained HTML file, and the same figures as JSON, beside the manifest. Written when the set is made. The parts
that pages are made of are here for other pages too.
"""

from __future__ import annotations

import json
from pathlib import Path

from rejoinder.shards.report.drawing import histogram
from rejoinder.shards.report.figures import measure
from rejoinder.shards.report.markup import (
    Bar,
    Html,
    bullets,
    figure,
    file_text,
    folded,
    identifier,
    number,
    percent,
    said,
    section,
    table,
    text,
    tiles,
)
from rejoinder.shards.report.page import render
from rejoinder.shards.report.style import CSS
from rejoinder.storage import write_text_whole

PAGE, FIGURES = "report.html", "report.json"

__all__ = [
    "CSS",
    "FIGURES",
    "PAGE",
    "Bar",
    "Html",
    "bullets",
    "figure",
    "file_text",
    "folded",
    "histogram",
    "identifier",
    "measure",
    "number",
    "percent",
    "render",
    "said",
    "section",
    "table",
    "text",
    "tiles",
    "write_report",
]


def write_report(directory: Path) -> None:
    """Writes report.html and report.json of the set in this directory, whose manifest stands."""
    figures = measure(directory)
    # What people said may hold half an emoji, which UTF-8 has no bytes for.
    for name, content in ((FIGURES, json.dumps(figures, indent=1, ensure_ascii=False)), (PAGE, render(figures))):
        write_text_whole(directory / name, content.encode("utf-8", errors="replace").decode())
