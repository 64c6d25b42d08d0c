"""What a figure is, when it is short, and what the page and the table say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.framework import (
    HEAD,
    Figure,
    Floor,
    interleaved,
    judge,
    markdown_table,
    number,
    read_floors,
    shown_in,
    text_table,
)


def verdicts(figure: Figure, with_peers: bool = True, **floor: float) -> list[str]:
    return [line.verdict for line in judge([figure], {figure.name: Floor(**floor)}, with_peers)]


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    """The second round found the machine three times slower: for both, so it changes nothing."""
    assert Figure("speed", "MB/s", ours=[30, 10, 32], theirs=[15, 5, 15]).ratio == 2
    assert Figure("time", "s", ours=[1, 3, 1], theirs=[2, 6, 9], less_is_better=True).ratio == 2
    assert Figure("alone", "s", ours=[1]).ratio is None


def test_a_round_that_only_one_of_them_ran_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        _ = Figure("speed", "MB/s", ours=[1, 2], theirs=[1]).ratio


def test_a_figure_below_its_floor_is_short_and_at_it_ok() -> None:
    twice = Figure("speed", "MB/s", ours=[20], theirs=[10])
    assert verdicts(twice, ratio=2) == ["ok"]
    assert verdicts(twice, ratio=2.01) == ["SHORT"]
    assert verdicts(Figure("time", "ms", ours=[49, 50, 80]), at_most=50) == ["ok"]
    assert verdicts(Figure("time", "ms", ours=[49, 51, 80]), at_most=50) == ["SHORT"]


def test_a_ratio_that_was_not_measured_is_short_unless_the_peers_were_left_out() -> None:
    alone = Figure("speed", "MB/s", ours=[20])
    assert verdicts(alone, ratio=2) == ["SHORT"]
    assert verdicts(alone, with_peers=False, ratio=2) == ["-"]
    assert verdicts(Figure("time", "ms", ours=[60]), with_peers=False, at_most=50) == ["SHORT"]


def test_a_figure_without_a_floor_is_shown_and_not_judged() -> None:
    assert [line.verdict for line in judge([Figure("speed", "MB/s", ours=[1])], {})] == ["-"]


def test_a_floor_whose_figure_nobody_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="padding"):
        judge([], {"padding": Floor(at_most=3)})


@pytest.mark.parametrize("floor", [{}, {"ratio": 2.0, "at_most": 3.0}])
def test_a_floor_is_of_one_kind(floor: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either"):
        Floor(**floor)


def test_the_floors_are_the_promised_ones_or_higher() -> None:
    """Never lowered to pass."""
    found = {name: floor for question in ("prepare", "reading", "padding", "opening", "scale")
             for name, floor in read_floors(f"data.{question}").items()}  # fmt: skip
    ratios = {name: floor.ratio for name, floor in found.items() if floor.ratio is not None}
    limits = {name: floor.at_most for name, floor in found.items() if floor.at_most is not None}
    promised_ratios = {
        "prepare against tokenizers.encode_batch": 0.8,
        "prepare against datasets.map": 2,
        "batches against Ray Data": 20,
        "batches against a DataLoader": 20,
    }
    promised_limits = {
        "padding at 4,096 tokens": 3,
        "open and seek, slowest position": 50,
        "slowest position by fastest": 1.5,
        "largest process": 1500,
        "time per exchange, largest by smaller corpus": 1.25,
        "memory of the largest process, largest by smallest corpus": 1.5,
    }
    assert all(ratios[name] >= floor for name, floor in promised_ratios.items())
    assert all(limits[name] <= floor for name, floor in promised_limits.items())


def test_a_question_without_floors_has_none(tmp_path: Path) -> None:
    file = tmp_path / "floors.yaml"
    file.write_text("data.reading: {speed: {ratio: 2}}\n")
    assert read_floors("data.reading", file) == {"speed": Floor(ratio=2)}
    assert read_floors("data.padding", file) == {}


def test_contenders_take_turns_and_none_always_runs_first() -> None:
    order: list[str] = []

    def contender(name: str) -> int:
        order.append(name)
        return len(order)

    answers = interleaved({name: lambda name=name: contender(name) for name in "abc"}, rounds=3)
    assert "".join(order) == "abcbcacab"
    assert answers == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.031415, "0.0314"), (3.14159, "3.14"), (31_415.9, "31,400"), (999.4, "999")]
)
def test_a_number_shows_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_line_is_name_ours_theirs_ratio_floor_verdict() -> None:
    figure = Figure("speed", "MB/s", ours=[20, 22, 24], theirs=[10, 11, 12])
    (line,) = judge([figure], {"speed": Floor(ratio=3)})
    assert line.cells() == ["speed", "22 MB/s", "11 MB/s", "2x", ">= 3x", "SHORT"]
    assert text_table([HEAD, line.cells()])[1] == "speed   22 MB/s  11 MB/s  2x     >= 3x  SHORT"
    assert markdown_table([HEAD, line.cells()]).splitlines()[2] == "| speed | 22 MB/s | 11 MB/s | 2x | >= 3x | SHORT |"
    assert line.plain()["rounds"] == {"ours": [20, 22, 24], "theirs": [10, 11, 12]}


def test_a_page_shows_the_newest_table_in_its_place() -> None:
    page = "before\n<!-- bench data -->\nold\n<!-- end of bench data -->\nafter\n"
    shown = shown_in(page, "data", "| new |\n")
    assert shown == "before\n<!-- bench data -->\n\n| new |\n\n<!-- end of bench data -->\nafter\n"
    assert shown_in(shown, "data", "| new |\n") == shown
    with pytest.raises(ValueError, match="no place"):
        shown_in(page, "training", "")
