"""What is judged: every figure of the gate, on the whole split and on each slice, paired on the same exchanges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rejoinder.errors import EvaluationError, RegistryError
from rejoinder.evaluation import Estimate, Evaluation, PerExchange, Slice
from rejoinder.evaluation.slices import Slicing
from rejoinder.recipe import GateSection
from rejoinder.registry import Contestant, contest, judge

BYTES = 10.0
KINDS = Slicing("corpus", ["one", "two", "none"], np.array([0] * 60 + [1] * 20))


def contestant(bits: float, bits_of_two: float | None = None, prepared: str = "set") -> Contestant:
    """Eighty exchanges, twenty of them of the second corpus, each with so many bits per byte and a little noise."""
    chance = np.random.default_rng(0)
    bits_N = np.array([bits] * 60 + [bits if bits_of_two is None else bits_of_two] * 20) + chance.normal(0, 0.02, 80)
    losses = np.stack([bits_N * math.log(2) * BYTES, np.full(80, 3.0), np.full(80, BYTES)], axis=1)
    statistics: dict[str, Any] = {"bits_per_byte": losses[:, [0, 2]]}
    values = [float(bits_N[part].mean()) for part in (slice(0, 80), slice(0, 60), slice(60, 80))]
    figures = [{"bits_per_byte": Estimate(value, value, value)} for value in values]
    slices = [Slice("corpus", "one", 60, 60, figures[1]), Slice("corpus", "two", 20, 20, figures[2])]
    evaluation = Evaluation("test", 80, {}, [], 80, figures[0], slices=slices)
    numbers = np.arange(80)
    return Contestant(evaluation, PerExchange(prepared, "test", numbers, numbers, statistics, {}, [KINDS]))


@pytest.fixture
def gate() -> GateSection:
    """One that looks at the loss alone."""
    off = dict.fromkeys(("chrf", "distinct_2", "repetition", "safety", "latency"))
    return GateSection(tolerated=off, limits={"safety": None}, num_resamples=200, min_slice_exchanges=10)


def test_the_whole_split_and_each_slice_that_has_exchanges_are_compared(gate: GateSection) -> None:
    rows = contest(gate, contestant(2.0, 2.4), contestant(2.1, 2.1))
    assert [(row.figure, row.slice, row.num_exchanges) for row in rows] == [
        ("bits_per_byte", "all", 80),
        ("bits_per_byte", "one", 60),
        ("bits_per_byte", "two", 20),
    ]
    whole, one, two = rows
    assert whole.difference == pytest.approx(0.0, abs=1e-6)
    assert one.difference == pytest.approx(-0.1)
    assert two.difference == pytest.approx(0.3)
    assert two.candidate == pytest.approx(2.4, abs=0.02)
    assert judge(gate, rows).reason.startswith("bits_per_byte of two worse by 0.3, tolerated 0.05")


def test_without_a_champion_there_are_values_and_no_differences(gate: GateSection) -> None:
    rows = contest(gate, contestant(2.0), None)
    assert all(row.champion is None and math.isnan(row.low) for row in rows)
    assert judge(gate, rows).promotes


def test_a_figure_that_was_not_measured_has_no_value(gate: GateSection) -> None:
    asked = gate.model_copy(update={"tolerated": gate.tolerated | {"chrf": 1.0}})
    (chrf,) = [row for row in contest(asked, contestant(2.0), contestant(2.1)) if row.figure == "chrf"]
    assert math.isnan(chrf.candidate)


def test_weights_that_are_no_numbers_miss_the_limit_though_there_is_no_champion(gate: GateSection) -> None:
    limited = gate.model_copy(update={"limits": {"bits_per_byte": 8.0}})
    assert judge(limited, contest(limited, contestant(2.0), None)).promotes
    verdict = judge(limited, contest(limited, contestant(math.nan), None))
    assert verdict.reason == "bits_per_byte inf is above the limit 8"


def test_other_exchanges_are_not_compared(gate: GateSection) -> None:
    with pytest.raises(EvaluationError, match="only models of the same prepared set can be compared"):
        contest(gate, contestant(2.0), contestant(2.0, prepared="another"))


def test_a_figure_that_nobody_measures_is_refused(gate: GateSection) -> None:
    with pytest.raises(
        RegistryError, match=r"registry.gate.must_be_better: bits_per_bite: did you mean 'bits_per_byte'"
    ):
        contest(gate.model_copy(update={"must_be_better": ("bits_per_bite",)}), contestant(2.0), None)


def test_a_length_is_judged_by_nobody(gate: GateSection) -> None:
    asked = gate.model_copy(update={"limits": {"length": 3.0}})
    with pytest.raises(RegistryError, match=r"registry\.gate\.limits: length: neither more nor less of it is better"):
        contest(asked, contestant(2.0), None)
