"""Recipe and space in, the best recipe out: Ray Tune over training runs."""

from tuning.search import Found, search
from tuning.stages import tune_stage

__all__ = ["Found", "search", "tune_stage"]
