"""Behavioural tests of a real model: its own replies and likelihoods, rates with intervals, a part of the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rejoinder import catalog, checkpoints
from rejoinder.batches import collate
from rejoinder.checkpoints import Trained
from rejoinder.corpora import Turn
from rejoinder.dialogue import Responder
from rejoinder.evaluation.behaviour import ROOM, BehaviourResult, Case, Failure, Family, behaviour, wilson
from rejoinder.evaluation.behaviour.asking import ask, nats_per_token, reply_ids
from rejoinder.evaluation.behaviour.base import has_any, has_circle
from rejoinder.loss import loss_sum
from rejoinder.text import END_ID


@pytest.fixture
def trained(make_checkpoint: Callable[..., Path]) -> Trained:
    """An untrained model."""
    return checkpoints.load(make_checkpoint())


def test_answers_are_what_the_model_says_and_how_likely_it_is(trained: Trained) -> None:
    plain, given = Case((("hi",), ("Hi!",))), Case((("hi",), ("a", "b", "hi")), ("Fine.", "No."))
    said, compared = ask(trained, [plain, given])
    responder = Responder(trained, fallback_reply="")
    responder.engine.start()
    context = responder.context([Turn("user", "Hi!")], "assistant")
    assert said.said[1] == responder.reply(context, responder.decoding(temperature=0.0)).text
    responder.engine.stop()
    assert compared.said == ()
    rows = [(context, reply_ids(trained, said.said[0]))]
    assert said.nats[1] == pytest.approx(nats_per_token(trained, rows), abs=1e-5)
    three = responder.context([Turn("user", "a"), Turn("assistant", "b"), Turn("user", "hi")], "assistant")
    assert compared.nats[1][1] == pytest.approx(
        nats_per_token(trained, [(three, reply_ids(trained, "No."))])[0], abs=1e-5
    )


def test_a_likelihood_is_the_loss_of_the_reply(trained: Trained) -> None:
    rows = [([20, 21], [30, 31, END_ID]), ([22], [40, END_ID])] * 20  # more than a batch
    for (context, reply), nats in zip(rows, nats_per_token(trained, rows), strict=True):
        batch = collate([context], [reply])
        with torch.inference_mode():
            assert nats == pytest.approx(
                loss_sum(trained.model(batch), batch.reply_ids_BT[0]).item() / len(reply), abs=1e-4
            )


def test_a_reply_that_is_too_long_is_cut_to_what_the_model_writes(trained: Trained) -> None:
    ids = reply_ids(trained, "Qvxjzw " * 50)
    assert len(ids) == trained.model.max_reply_tokens
    assert ids[-1] == END_ID


def test_all_families_run_on_any_model_and_twice_the_same(trained: Trained) -> None:
    families = [catalog.pick(ROOM, name).Settings(num_cases=3) for name in catalog.names(ROOM)]
    result = behaviour(trained, families, seed=1)
    assert [family.name for family in result.families] == catalog.names(ROOM)
    assert all(family.num_cases == 3 for family in result.families)
    assert set(result.metrics) == {f"behaviour_{name}" for name in catalog.names(ROOM)}
    assert all(0 <= rate <= 1 for rate in result.metrics.values())
    assert result == behaviour(trained, families, seed=1)


def test_a_rate_counts_what_passed_and_its_interval_holds_it() -> None:
    failure = Failure((("hi",),), "x", "says x")
    family = Family("greetings", "minimum functionality", "A greeting is returned.", 20, (failure,) * 5)
    assert family.pass_rate == 0.75
    assert family.interval == pytest.approx((0.5313, 0.8881), abs=1e-3)  # as R's prop.test without correction
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 10)[1] == pytest.approx(0.2775, abs=1e-3)


def test_the_section_shows_failures_and_escapes_them() -> None:
    failure = Failure((("<b>hi</b>",), ("b",)), "x", "says “<i>”")
    failed = Family("typos", "invariance", "A claim.", 12, (failure,) * 10)
    title, html = BehaviourResult((failed, Family("names", "minimum functionality", "Another.", 4, ()))).section()
    assert title == "Behaviour"
    assert "&lt;b&gt;hi&lt;/b&gt;" in html
    assert "says “&lt;i&gt;”" in html
    assert "<b>hi" not in html
    assert "2 of 12" in html
    assert "4 of 4" in html
    assert "and 2 more" in html
    assert "names: what did not pass" not in html


@pytest.mark.parametrize(
    ("words", "circles"),
    [("a a a", True), ("a b a b a b", True), ("x a b c a b c a b c y", True), ("a a b b a a", False), ("", False),
     ("a b c d e a b c d e a b c d e", False)],
)  # fmt: skip
def test_a_circle_is_up_to_four_words_three_times_on_end(words: str, circles: bool) -> None:
    assert has_circle(words.split()) == circles


def test_phrases_are_found_as_words() -> None:
    assert has_any("I'm fine, Thanks.", ["im fine"])
    assert has_any("Oh, HI!", ["hi"])
    assert not has_any("this", ["hi"])
