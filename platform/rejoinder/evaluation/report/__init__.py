"""Figures of one checkpoint, or of two side by side, in; a page to look at out: one file that needs no other."""

from rejoinder.evaluation.report.page import Measurement, render, render_comparison

__all__ = ["Measurement", "render", "render_comparison"]
