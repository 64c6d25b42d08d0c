"""Many requests in, token streams out: batching at every step. No Ray, no text."""

from rejoinder.engine.engine import Engine, EngineFull, Finish, Statistics

__all__ = ["Engine", "EngineFull", "Finish", "Statistics"]
