"""The report of an evaluation: true, self-contained, and harmless whatever people and models have said."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from rejoinder.evaluation import FIGURES, Bootstrap, Estimate, Evaluation, Paired, Sample, Section, Slice
from rejoinder.evaluation.metrics import Answers, statistics
from rejoinder.evaluation.report import Measurement, render, render_comparison
from rejoinder.evaluation.report.drawing import Row, forest, lengths, shown, signed
from rejoinder.recipe import EvaluationSection

SCRIPT = "\"'><script>alert(1)</script>"
VOID = {"meta", "br", "wbr", "img"}


class Page(HTMLParser):
    """What is in it, and whether every tag that is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.links, self.texts = list[str](), list[str](), list[str](), list[str]()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def evaluation(model: list[str], split: str = "test") -> Evaluation:
    """As an evaluation of some replies would have come out."""
    human = ["hello there", "i like cats", SCRIPT, "fine"]
    of = statistics(EvaluationSection().metrics, Answers(human, model))
    bootstrap = Bootstrap(np.arange(4), 100)
    figures = {name: bootstrap.estimate(counted, FIGURES[name].of) for name, counted in of.items()}
    figures = {
        "bits_per_byte": Estimate(1.738, 1.7, 1.8),
        "perplexity": Estimate(math.inf, math.nan, math.nan),
    } | figures
    return Evaluation(
        split, 7_351, {}, [Sample(f"hi\n{SCRIPT}", human[2], model[2])], 4, figures,
        {name: of for name, of in figures.items() if FIGURES[name].is_alone},
        [Slice("speaker", SCRIPT, 4_000, 2, figures), Slice("speaker", "bob", 3_351, 2, figures)],
        {"first_token_ms_median": Estimate(4.2, 3.9, 5.0)}, {"bleu": f"nrefs:1|{SCRIPT}"},
        {"human": [0, 1, 2, 1], "model": [1, 0, 0, 0, 3]}, [(SCRIPT, 3), ("half an emoji \ud83d", 1)],
        [Section(SCRIPT, "<p id=mine>what others add</p>")],
    )  # fmt: skip


MODEL = ["hello", "i like dogs , a lot", SCRIPT, ""]


def test_it_shows_figures_intervals_people_slices_samples_and_what_others_add() -> None:
    page = render(Measurement("chat 3", evaluation(MODEL)), {"evaluation": {"num_resamples": 100}})
    text = " ".join(Page(page).texts)
    for expected in ("1.738 bits per byte", "between 1.700 and 1.800", "7,351", "replies to 4", "BLEU", "4.200", "bob",
                     "nrefs:1", "what others add", "num_resamples", "people", "half an emoji"):  # fmt: skip
        assert expected in text or expected in page, expected
    assert page.count("<svg") >= 6
    assert "<p id=mine>" in page
    assert "nan" not in text.lower().split()


def test_two_models_stand_side_by_side_with_their_differences() -> None:
    first, second = Measurement("new", evaluation(MODEL)), Measurement("old", evaluation(["hello"] * 4))
    differences = {
        "bits_per_byte": Paired(-0.011, -0.0117, -0.0103, 0.001),
        "bleu": Paired(0.18, -0.03, 0.32, 0.09),
        "generic": Paired(0.02, 0.01, 0.03, 0.002),
        "empty": Paired(math.nan, math.nan, math.nan, math.nan),
    }
    page = render_comparison(first, second, differences, {}, [Section("Self-chat", "<p>hm</p>")])
    text = " ".join(Page(page).texts)
    assert "new is better by 0.011 bits per byte" in re.sub(r"\s+", " ", text)
    assert "<span class='better'>−0.011</span>" in page
    assert "<span class='worse'>+0.020</span>" in page
    assert "<span class=''>+0.18</span>" in page
    assert "Self-chat" in text
    level = render_comparison(first, second, differences | {"bits_per_byte": Paired(0.0, -0.1, 0.1, 0.9)}, {})
    assert "No difference in bits per byte is seen" in level


@pytest.mark.parametrize("two", [False, True])
def test_it_loads_nothing_runs_nothing_and_leaves_no_tag_open(two: bool) -> None:
    one = Measurement(SCRIPT, evaluation(MODEL))
    settings = {"name": SCRIPT}
    html = render(one, settings)
    if two:
        html = render_comparison(one, one, {"bits_per_byte": Paired(0, 0, 0, 1.0)}, settings)
    page = Page(html)
    assert "script" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\(|@import|https?://", html)
    assert [tag for tag in page.open if tag not in ("td", "th", "tr", "li")] == []
    html.encode()  # half an emoji is none any more


def test_an_evaluation_without_replies_or_slices_has_a_page_too() -> None:
    bare = Evaluation("test", 3, {}, [], figures={"bits_per_byte": Estimate(2.0, math.nan, math.nan)})
    text = " ".join(Page(render(Measurement("x", bare), {})).texts)
    assert "2.000 bits per byte" in text
    assert "Nothing to show." in text


def test_drawings_bear_what_is_not_there() -> None:
    nothing = Estimate(math.nan, math.nan, math.nan)
    assert "–" in forest("BLEU", nothing, [("speaker", [Row("ann", 0, nothing)])])
    assert "circle" in forest("BLEU", Estimate(0.0, 0.0, 0.0), [("speaker", [Row("ann", 1, Estimate(0.0, 0.0, 0.0))])])
    assert "Nothing to show." in lengths([], [("model", [])])
    tail = lengths([0, *[9] * 10, *[0] * 200, 1], [("model", [0] * 5 + [3])])
    assert "10 or more" in tail or "11 or more" in tail


def test_numbers_are_as_long_as_they_need_to_be() -> None:
    assert [shown(value) for value in (0, 0.00045, 1.7381, 79.44, 1234.5, math.nan)] == [
        "0.000", "0.0004", "1.738", "79.4", "1,234", "–",
    ]  # fmt: skip
    assert signed(-0.0112, 0.0117) == "−0.011"
    assert signed(12.34, 15) == "+12"
    assert signed(0.0, 0.0) == "+0.00"
