"""Recipe and space in, the best recipe out: Ray Tune over training runs, or over decoding settings."""

from tuning.searches import Found, search, search_decoding
from tuning.space import names, read_space, with_sample
from tuning.stages import tune_stage

__all__ = ["Found", "names", "read_space", "search", "search_decoding", "tune_stage", "with_sample"]
