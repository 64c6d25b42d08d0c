"""Checkpoint and split in, metrics and sample exchanges out."""

from rejoinder.evaluation.evaluate import Evaluation, Sample, evaluate
from rejoinder.evaluation.greedy import greedy_samples
from rejoinder.evaluation.measure import Measured, measure_loss

__all__ = ["Evaluation", "Measured", "Sample", "evaluate", "greedy_samples", "measure_loss"]
