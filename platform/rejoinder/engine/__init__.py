"""Many requests in, token streams out: batching at every step. No Ray, no text."""

from rejoinder.engine.engine import Engine, EngineFull
from rejoinder.engine.request import Finish
from rejoinder.engine.slots import Slots
from rejoinder.engine.statistics import Histogram, Statistics

__all__ = ["Engine", "EngineFull", "Finish", "Histogram", "Slots", "Statistics"]
