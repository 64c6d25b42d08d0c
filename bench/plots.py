"""Figures in, SVGs out: bars of ours against theirs, lines over a size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from bench.framework import number

OURS, THEIRS = "#b5592a", "#9aa3ad"
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "rejoinder",  # the same figures give the same file
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def bars(
    file: Path, title: str, unit: str, values: Mapping[str, float], ours: Sequence[str], log: bool = False
) -> None:
    """A bar for each name, those in `ours` in our colour."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 0.7 + 0.45 * len(values)), layout="constrained")
        names = list(values)[::-1]
        drawn = axes.barh(names, [values[name] for name in names], color=[OURS if n in ours else THEIRS for n in names])
        axes.bar_label(
            drawn,
            [f"{values[name]:,.3g}" if values[name] < 1000 else f"{values[name]:,.0f}" for name in names],
            padding=4,
        )
        axes.margins(x=0.15)
        if log:
            axes.set_xscale("log")
        axes.set_title(title, loc="left")
        axes.set_xlabel(unit)
        _save(figure, file)


def lines(
    file: Path, across: str, panels: Sequence[tuple[str, str, Mapping[str, Mapping[float, float]]]],
    log: bool = True, width: float = 4.6,
) -> None:  # fmt: skip
    """Panels side by side: (title, unit, {line: {size: value}}); over a logarithmic size and from 0, or as it fits."""
    with plt.rc_context(_STYLE):
        figure, all_axes = plt.subplots(
            1, len(panels), figsize=(width * len(panels), 3.4), layout="constrained", squeeze=False
        )
        for axes, (title, unit, drawn) in zip(all_axes[0], panels, strict=True):
            for name, points in drawn.items():
                axes.plot(list(points), list(points.values()), marker="o", label=name)
            if log:
                sizes = sorted({size for points in drawn.values() for size in points})
                axes.set_xscale("log")
                axes.set_xticks(sizes, [number(size) for size in sizes])
                axes.minorticks_off()
                axes.set_ylim(bottom=0)
            axes.set_title(title, loc="left")
            axes.set_xlabel(across)
            axes.set_ylabel(unit)
            if len(drawn) > 1:
                axes.legend(frameon=False, **({} if log else {"loc": "center left", "bbox_to_anchor": (1, 0.5)}))
        _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
