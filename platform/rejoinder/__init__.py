"""Rejoinder: train, tune, register and serve your own sequence-to-sequence chat models on Ray."""

__version__ = "0.1.0"
