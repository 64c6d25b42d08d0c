"""The counted way to clean gives what the plain way gives, and reports of parts are the report of the whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rejoinder.recipe import TextSection
from rejoinder.text import CleaningReport, clean, clean_counted, refused_by
from rejoinder.text.changes import NUM_CHARACTERS, NUM_EXAMPLES

SETTINGS = TextSection.model_validate(
    {
        "cleaning": ["html", "mask_urls", "repeated_characters", "unicode_nfkc"],
        "filters": [
            {"name": "length", "min_characters": 2},
            {"name": "length", "max_words": 2, "what": "conversation"},
        ],
    }
)
TURNS = st.lists(st.text(st.characters()) | st.text(st.sampled_from("ab <&;!ﬁ\ud800"), max_size=12), max_size=30)


def report_of(turns: list[str]) -> CleaningReport:
    report = CleaningReport()
    for raw in turns:
        text = clean_counted(raw, SETTINGS.cleaning, report)
        refused_by(text, SETTINGS.filters, report)
    return report


def test_what_each_step_changed_is_counted_and_shown() -> None:
    report = report_of(["a &amp; b, soooooo", "see www.example.org", "fine", "x"])
    assert report.num_turns == 4
    assert {name: (effect.count, effect.examples) for name, effect in report.steps.items()} == {
        "html": (1, [("a &amp; b, soooooo", "a & b, soooooo")]),
        "repeated_characters": (1, [("a & b, soooooo", "a & b, sooo")]),
        "mask_urls": (1, [("see www.example.org", "see [url]")]),
    }
    assert {name: (effect.count, effect.examples) for name, effect in report.filters.items()} == {
        "length (conversation)": (1, [("a & b, sooo", "")]),
        "length (reply)": (1, [("x", "")]),
    }


def test_white_space_is_put_right_and_not_counted() -> None:
    report = CleaningReport()
    assert clean_counted("  a \n b\ud83d", (), report) == clean_counted("  a \n b\ud83d", SETTINGS.cleaning, report)
    assert (report.num_turns, report.steps) == (2, {})
    assert report_of(["<b>\ud83d"]).steps["html"].examples == [("<b>?", " ?")]  # which a file can hold


def test_the_first_few_examples_are_kept_and_all_are_counted() -> None:
    effect = report_of([f"<b>turn {number}" for number in range(100)]).steps["html"]
    assert effect.count == 100
    assert [before for before, _ in effect.examples] == [f"<b>turn {number}" for number in range(NUM_EXAMPLES)]


def test_of_a_long_turn_the_piece_around_the_change_is_shown() -> None:
    (example,) = report_of([f"{'word ' * 100}see www.example.org{' word' * 100}"]).steps["mask_urls"].examples
    before, after = example
    assert "see www.example.org word" in before
    assert "see [url] word" in after
    assert max(len(before), len(after)) <= NUM_CHARACTERS + 2
    assert before[0] == before[-1] == after[0] == after[-1] == "…"


@given(TURNS, st.booleans())
def test_the_counted_way_gives_what_the_plain_way_gives(turns: list[str], with_steps: bool) -> None:
    steps = SETTINGS.cleaning if with_steps else ()
    report = CleaningReport()
    assert [clean_counted(raw, steps, report) for raw in turns] == [clean(raw, steps) for raw in turns]
    assert report.num_turns == len(turns)


@given(TURNS, st.data())
def test_reports_of_parts_merged_in_order_are_the_report_of_the_whole(turns: list[str], data: Any) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(turns)), max_size=4)))
    merged = CleaningReport()
    for start, end in zip([0, *cuts], [*cuts, len(turns)], strict=True):
        merged.merge(report_of(turns[start:end]))
    whole = report_of(turns)
    assert merged == whole
    assert (list(merged.steps), list(merged.filters)) == (list(whole.steps), list(whole.filters))


def test_merging_leaves_the_merged_one_alone() -> None:
    parts = [report_of(["<b>one"]), report_of(["<b>two"])]
    merged = CleaningReport()
    for part in parts:
        merged.merge(part)
    merged.merge(report_of(["<b>three"]))
    assert [part.steps["html"].count for part in parts] == [1, 1]
    assert [len(part.steps["html"].examples) for part in parts] == [1, 1]


def test_a_report_written_as_json_is_read_back() -> None:
    report = report_of(["a &amp; b, soooooo", "see www.example.org", "\ud800", "x"])
    read = CleaningReport(**json.loads(json.dumps(asdict(report))))
    assert read == report
    read.merge(report)
    assert read.steps["html"].count == 2


def test_a_turn_is_counted_under_one_filter_and_only_when_asked() -> None:
    report = CleaningReport()
    assert refused_by("x", SETTINGS.filters) is not None
    both = TextSection.model_validate({"filters": ["letters", {"name": "length", "max_words": 2}]}).filters
    assert refused_by("1 2 3", both, report) is both[0]
    assert refused_by("1 2 a", both, report) is both[0]
    assert refused_by("a b c", both, report) is both[1]
    assert {name: effect.count for name, effect in report.filters.items()} == {
        "letters (reply)": 2,
        "length (reply)": 1,
    }
