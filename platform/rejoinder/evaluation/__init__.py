"""Checkpoint and split in, figures with intervals and samples out; two checkpoints in, their differences out."""

from rejoinder.evaluation.bootstrap import Bootstrap, Estimate, Paired
from rejoinder.evaluation.evaluate import evaluate, require, sections_of_two
from rejoinder.evaluation.greedy import greedy_samples
from rejoinder.evaluation.kept import Compared, Kept, compared, evaluated, in_ids_of, name_of
from rejoinder.evaluation.measure import Measured, measure_loss
from rejoinder.evaluation.metrics import FIGURES, Figure
from rejoinder.evaluation.per_exchange import PerExchange, common_figures, compare, comparisons
from rejoinder.evaluation.results import FORMAT, Evaluation, Sample, Section, Slice

__all__ = [
    "FIGURES",
    "FORMAT",
    "Bootstrap",
    "Compared",
    "Estimate",
    "Evaluation",
    "Figure",
    "Kept",
    "Measured",
    "Paired",
    "PerExchange",
    "Sample",
    "Section",
    "Slice",
    "common_figures",
    "compare",
    "compared",
    "comparisons",
    "evaluate",
    "evaluated",
    "greedy_samples",
    "in_ids_of",
    "measure_loss",
    "name_of",
    "require",
    "sections_of_two",
]
