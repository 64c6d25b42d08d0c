"""The gate: evidence decides, what is tolerated is tolerated, and every refusal says why."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from rejoinder.errors import RegistryError
from rejoinder.recipe import GateSection
from rejoinder.registry.gate import EVERYTHING, LATENCY, Compared, figures_of, judge, table

KNOWN = {"bits_per_byte": -1, "chrf": 1, "distinct_2": 1, "repetition": -1, "safety": 1, LATENCY: -1}


def lower(figure: str, difference: float, width: float = 0.01, **changes: Any) -> Compared:
    """A figure of which less is better, with an interval around its difference."""
    low, high = difference - width, difference + width
    part = changes.pop("slice", EVERYTHING)
    values = {"num_exchanges": 500, "better": -1, "candidate": 2 + difference, "champion": 2.0, "p": 0.01} | changes
    return Compared(figure, part, difference=difference, low=low, high=high, **values)


BETTER = lower("bits_per_byte", -0.1)


def higher(figure: str, difference: float, width: float = 0.001, **changes: Any) -> Compared:
    """A figure of which more is better."""
    return lower(figure, difference, width, **{"better": 1, "candidate": 1 + difference, "champion": 1.0} | changes)


def alone(figure: str, value: float, better: int) -> Compared:
    """A figure without a champion."""
    return Compared(figure, EVERYTHING, 500, better, value)


def test_the_better_one_is_promoted() -> None:
    verdict = judge(GateSection(), [BETTER, higher("chrf", 3.0), higher("safety", 0.0)])
    assert verdict.promotes
    assert verdict.reason == "better in bits_per_byte, chrf, and nothing speaks against it"


def test_the_worse_one_is_refused_with_the_figures() -> None:
    verdict = judge(GateSection(), [lower("bits_per_byte", 0.1), higher("chrf", -3.0)])
    assert not verdict.promotes
    assert verdict.reason == "bits_per_byte worse by 0.1, tolerated 0; chrf worse by 3, tolerated 1"


def test_one_that_may_be_better_by_chance_is_refused() -> None:
    verdict = judge(GateSection(), [lower("bits_per_byte", -0.01, width=0.02)])
    assert not verdict.promotes
    assert verdict.reason == (
        "bits_per_byte must be better for certain (registry.gate.must_be_better) and is not: -0.01, "
        "95 % interval -0.03 to +0.01"
    )
    assert judge(GateSection(must_be_better=()), verdict_rows(verdict)).promotes


def verdict_rows(verdict: Any) -> list[Compared]:
    """What was judged, to be judged again."""
    return [row.compared for row in verdict.rows]


@pytest.mark.parametrize(("difference", "promotes"), [(-0.9, True), (-1.1, False)])
def test_a_figure_may_be_worse_by_what_is_tolerated(difference: float, promotes: bool) -> None:
    assert judge(GateSection(), [BETTER, higher("chrf", difference)]).promotes is promotes


def test_a_difference_that_may_be_chance_does_not_refuse() -> None:
    assert judge(GateSection(), [BETTER, higher("chrf", -5.0, width=6.0)]).promotes


def test_latency_is_tolerated_as_a_share_of_the_champions() -> None:
    slow = [BETTER, lower(LATENCY, 30.0, 1.0, candidate=130.0, champion=100.0)]
    assert judge(GateSection(tolerated={"latency": 0.5}), slow).promotes
    refused = judge(GateSection(tolerated={"latency": 0.2}), slow)
    assert refused.reason == "latency worse by 0.3, tolerated 0.2"


def test_a_limit_refuses_whoever_the_champion_is() -> None:
    of = higher("safety", 0.2, candidate=0.7, champion=0.5)
    assert judge(GateSection(), [BETTER, of]).reason == "safety 0.7 is below the limit 0.9"


def test_what_is_infinite_is_beyond_any_limit_and_what_was_not_measured_is_beyond_none() -> None:
    gate = GateSection(limits={"perplexity": 50.0})
    of = alone("perplexity", math.inf, -1)
    assert judge(gate, [alone("bits_per_byte", 2.1, -1), of]).reason == "perplexity inf is above the limit 50"
    assert judge(gate, [alone("bits_per_byte", 2.1, -1), alone("perplexity", math.nan, -1)]).promotes


def test_without_a_champion_the_limits_alone_decide() -> None:
    good = [alone("bits_per_byte", 2.1, -1), alone("safety", 0.99, 1), alone("chrf", 12.0, 1)]
    verdict = judge(GateSection(), good)
    assert verdict.promotes
    assert "no champion to be compared with" in verdict.reason
    worse = judge(GateSection(), [alone("bits_per_byte", 8.5, -1), alone("safety", 0.99, 1)])
    assert worse.reason == "bits_per_byte 8.5 is above the limit 8"


def test_a_slice_that_got_much_worse_refuses_though_the_whole_got_better() -> None:
    of_slice = lower("bits_per_byte", 0.2, slice="1 turn")
    assert judge(GateSection(), [BETTER, of_slice]).reason == "bits_per_byte of 1 turn worse by 0.2, tolerated 0.05"
    few = lower("bits_per_byte", 0.2, slice="1 turn", num_exchanges=49)
    assert judge(GateSection(), [BETTER, few]).promotes
    floor = GateSection(slice_limits={"bits_per_byte": 2.1})
    assert judge(floor, [BETTER, of_slice]).reason == "bits_per_byte of 1 turn 2.2 is above the limit 2.1"


def test_what_must_be_better_and_was_not_measured_refuses() -> None:
    verdict = judge(GateSection(), [lower("bits_per_byte", math.nan), higher("chrf", 1.0)])
    assert verdict.reason.startswith("bits_per_byte must be better (registry.gate.must_be_better) and was not measured")


def test_what_was_not_measured_of_one_refuses_nothing() -> None:
    verdict = judge(GateSection(), [BETTER, higher("safety", math.nan, candidate=math.nan)])
    assert verdict.promotes
    assert verdict.rows[1].says == "not measured"


def test_a_misspelt_figure_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(RegistryError, match=r"registry.gate.limits: chrff: did you mean 'chrf'\?"):
        figures_of(GateSection(limits={"chrff": 20.0}), KNOWN)
    off = GateSection(limits={"safety": None}, tolerated={"safety": None})
    without = {figure: better for figure, better in KNOWN.items() if figure != "safety"}
    assert figures_of(off, without) == ["bits_per_byte", "chrf", "distinct_2", "repetition", LATENCY]


@pytest.mark.parametrize("where", ["slice_limits", "slice_tolerated"])
def test_latency_of_a_slice_is_refused_as_nobody_times_it(where: str) -> None:
    with pytest.raises(RegistryError, match=rf"registry.gate.{where}: latency: is timed of the whole split only"):
        figures_of(GateSection(**{where: {LATENCY: 0.5}}), KNOWN)


@pytest.mark.parametrize("where", ["limits", "slice_limits", "tolerated", "slice_tolerated", "must_be_better"])
def test_a_figure_without_a_better_side_is_refused(where: str) -> None:
    figures = ("length",) if where == "must_be_better" else {"length": 3.0}
    match = (
        rf"^registry\.gate\.{where}: length: neither more nor less of it is better, so the gate cannot judge by it; "
    )
    with pytest.raises(RegistryError, match=match):
        figures_of(GateSection(**{where: figures}), KNOWN | {"length": 0})
    assert "length" not in figures_of(GateSection(limits={"length": None}), KNOWN | {"length": 0})


def test_the_evidence_is_plain_json_and_the_table_has_a_line_for_each_row() -> None:
    verdict = judge(GateSection(), [BETTER, higher("chrf", -3.0), higher("safety", math.nan)])
    assert json.loads(json.dumps(verdict.evidence(), allow_nan=False))["rows"][0]["difference"] == -0.1
    lines = table(verdict.rows)
    assert len(lines) == 4
    assert "✗ worse by 3, tolerated 1" in lines[2]
    assert all(len(line) < 130 for line in lines)
