"""The page of a search: whole in itself, harmless, and it says what happened."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from yaml import safe_load

from rejoinder.recipe import Recipe
from tuning.importance import importance
from tuning.report import PAGE, render, write_report
from tuning.search import Search

Make = Callable[..., Any]
LINES = {
    "training.learning_rate": {"loguniform": [1e-4, 1]},
    "training.schedule.name": {"choice": ["cosine", "linear", "constant"]},
    "training.schedule.final_fraction": {"uniform": [0, 0.3], "when": {"training.schedule.name": ["cosine", "linear"]}},
    "training.seed": {"int": [0, 99]},
}


def falls(sample: dict[str, Any], step: int) -> float:
    if sample["training.seed"] % 10 == 3:
        raise ValueError("a <b>bold</b> reason")
    return (math.log10(sample["training.learning_rate"]) + 2) ** 2 + 10 / step


@pytest.fixture
def search(make_space: Make, make_search: Make, play: Make) -> Search:
    """One of 20 trials, some of which were stopped and some of which failed."""
    made: Search = make_search(make_space(LINES, "tuning.num_trials=20", "tuning.grace_steps=10"))
    play(made, falls)
    return made


def page_of(search: Search) -> str:
    return render(search.recipe, search.space, search.objectives, search.history)


class Reads(HTMLParser):
    """Notes what a browser would load, and what it would be told to run."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            str(value) for name, value in attrs if name in ("src", "href") and not str(value).startswith("#")
        ]


def test_it_loads_nothing_runs_nothing_and_believes_no_reason(search: Search) -> None:
    write_report(search)
    page = search.history.folder.path(PAGE).read_text()
    reads = Reads()
    reads.feed(page)
    assert reads.loads == []
    assert "script" not in reads.tags
    assert "a &lt;b&gt;bold&lt;/b&gt; reason" in page


def test_it_shows_every_trial_and_the_best_recipe(search: Search) -> None:
    page, best = page_of(search), search.history.best(search.objectives)
    assert best is not None
    assert f"in trial {best.number}, the best of 20" in page
    for trial in search.history.trials:
        assert f"trial {trial.number}" in page
    yaml = re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert yaml is not None
    copied = Recipe.model_validate(safe_load(unescape(yaml[1])))  # as somebody copies it
    assert copied.training.learning_rate == best.sample["training.learning_rate"]
    assert page.count('class="trial ') >= 20


def test_the_setting_that_decided_is_found_out(search: Search) -> None:
    found = importance(search.space, search.objectives, search.history.trials)
    assert found is not None
    shares = list(found.shares)
    assert shares[0] == "training.learning_rate"
    assert set(shares) <= set(LINES)
    assert found.at_step == 10  # what all of them had reached
    few = [trial for trial in search.history.trials if trial.points][:3]
    assert importance(search.space, search.objectives, few) is None


def test_a_search_without_a_result_has_a_page_too(make_space: Make, make_search: Make, play: Make) -> None:
    def fails(sample: dict[str, Any], step: int) -> float:
        raise ValueError("out of memory")

    made = make_search(make_space(LINES, "tuning.num_trials=2"))
    play(made, fails)
    page = page_of(made)
    assert "None of 2 trials came to a result" in page
    assert "out of memory" in page


def test_a_phone_has_drawings_of_its_own_that_are_as_wide_as_it_is(search: Search) -> None:
    drawings = re.findall(r"<div class=phone><svg .*?</svg></div>", page_of(search))
    assert len(drawings) == 2
    for drawing in drawings:
        assert 'viewBox="0 0 340 ' in drawing
        corners = [corner.split(",") for points in re.findall(r' points="(.*?)"', drawing) for corner in points.split()]
        assert corners
        assert all(0 <= float(x) <= 340 for x, _ in corners)
        size = re.search(r'viewBox="0 0 340 (\d+)"', drawing)
        assert size is not None
        assert all(0 <= float(y) <= int(size[1]) for _, y in corners)


def test_a_search_of_decoding_settings_speaks_of_replies(make_space: Make, make_search: Make) -> None:
    made = make_search(make_space({"decoding.repetition_penalty": {"choice": [1, 1.2]}}, "tuning.search=grid"))
    for number in range(2):
        made.next_config(f"{number}")
        for step in (10, 20):
            made.goes_on(f"{number}", {"step": step, "chrf": 10.0 + number})
    page = page_of(made)
    assert "<code>python jobs/chat.py</code>" in page
    assert "chrf by replies" in page
    assert "<b>40</b><span>replies</span>" in page
    assert "tokens" not in page.partition("</header>")[0]


def test_several_objectives_show_their_front(make_space: Make, make_search: Make, play: Make) -> None:
    words = ("tuning.objectives=[valid_loss, num_parameters]", "tuning.search=grid", "tuning.scheduler=none")
    made = make_search(make_space({"model.width": {"choice": [8, 16, 32]}}, *words))
    play(made, lambda sample, step: 1.0 / sample["model.width"])
    page = page_of(made)
    assert "id=front" in page
    assert page.count("dot finished front") == 3
