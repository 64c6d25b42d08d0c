"""A search in, a page to look at out: learning curves, settings side by side, what mattered, what it cost.

One self-contained HTML file beside the search's history. Written when the search ends, and when it is interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuning.report.page import render

if TYPE_CHECKING:
    from tuning.search import Search

PAGE = "report.html"

__all__ = ["PAGE", "render", "write_report"]


def write_report(search: Search) -> None:
    """Writes report.html into the search's folder."""
    page = render(search.recipe, search.space, search.objectives, search.history)
    search.history.folder.write_text(PAGE, page.encode("utf-8", errors="replace").decode())
