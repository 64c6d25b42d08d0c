"""Conversations of models with each other, and the circles in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder import checkpoints
from rejoinder.checkpoints import Trained
from rejoinder.corpora import Turn
from rejoinder.dialogue import Responder
from rejoinder.errors import EvaluationError
from rejoinder.evaluation.self_chat import Conversation, SelfChat, looked_through, self_chat
from rejoinder.recipe import Recipe


@pytest.fixture
def two(make_checkpoint: Callable[..., Path]) -> tuple[Trained, Trained]:
    """Two untrained models."""
    return checkpoints.load(make_checkpoint(0)), checkpoints.load(make_checkpoint(1))


def test_they_reply_by_turns_to_all_that_was_said(two: tuple[Trained, Trained], recipe: Recipe) -> None:
    recipe = recipe.model_copy(update={"decoding": recipe.decoding.model_copy(update={"temperature": 0.0})})
    chat = self_chat(recipe, *two, openings=["hi", "bye"], num_conversations=3, num_turns=3)
    assert sorted(talk.turns[0] for talk in chat.conversations[:2]) == ["bye", "hi"]  # both before any twice
    for talk in chat.conversations:
        assert len(talk.turns) == 4
        for place in range(3):
            responder = Responder(two[place % 2], fallback_reply=recipe.serving.fallback_reply)
            responder.engine.start()
            speakers = ("first", "second")
            said = [Turn(speakers[(at + 1) % 2], turn) for at, turn in enumerate(talk.turns[: place + 1])]
            context = responder.context(said, speakers[place % 2])
            decoding = responder.decoding(**recipe.decoding.model_dump())
            assert responder.reply(context, decoding).text == talk.turns[place + 1]
            responder.engine.stop()


def test_one_seed_is_one_conversation_also_where_words_are_drawn(
    two: tuple[Trained, Trained], make_recipe: Callable[..., Recipe]
) -> None:
    recipe, other = make_recipe("decoding.temperature=1"), make_recipe("decoding.temperature=1", "training.seed=5")
    chat = self_chat(recipe, two[0], num_conversations=4, num_turns=2)
    assert chat == self_chat(recipe, two[0], num_conversations=4, num_turns=2)
    assert chat != self_chat(other, two[0], num_conversations=4, num_turns=2)
    assert len({talk.turns[1:] for talk in chat.conversations}) == 4


@pytest.mark.parametrize(
    ("turns", "repeated_at", "circle_at"),
    [
        (["a", "b", "c", "d"], None, None),
        (["a", "b", "a", "d"], 2, None),  # of the same speaker, the opening's too
        (["a", "b", "b", "a"], None, None),  # of the other one
        (["a", "Yes, I do!", "c", "yes i do"], 3, None),  # by the words
        (["a", "no no no", "c", "no no no"], 3, 1),
        (["no no no", "b"], None, None),  # the opening is nobody's
    ],
)
def test_loops_are_turns_said_before_and_words_in_a_circle(
    turns: list[str], repeated_at: int | None, circle_at: int | None
) -> None:
    assert looked_through(turns) == Conversation(tuple(turns), repeated_at, circle_at)


def test_measures_are_of_the_replies() -> None:
    chat = SelfChat((looked_through(["x y z", "a b", "c", "a b"]), looked_through(["x", "d d d", "", "e f"])))
    assert chat.metrics == pytest.approx(
        {
            "self_chat_loops": 1.0, "self_chat_repeated_turns": 0.5, "self_chat_circles": 0.5,
            "self_chat_turns_before_loop": (2 + 0) / 2, "self_chat_distinct_1": 6 / 10, "self_chat_distinct_2": 3 / 5,
            "self_chat_words_per_turn": 10 / 6, "self_chat_empty_turns": 1 / 6,
        }
    )  # fmt: skip


def test_the_section_marks_loops_and_escapes_what_was_said() -> None:
    talks = tuple(looked_through(["<b>hi</b>", "a", f"{number}", "a"]) for number in range(6))
    title, html = SelfChat(talks, ("A&B", "other")).section()
    assert title == "Talking to each other"
    assert SelfChat(talks, ("one", "one")).section()[0] == "Talking to itself"
    assert html.count("<span class=tag>loop</span>") == 6
    assert "&lt;b&gt;hi&lt;/b&gt;" in html
    assert "<b>hi" not in html
    assert "A&amp;B with other" in html


@pytest.mark.parametrize(("num_conversations", "num_turns"), [(0, 3), (3, 0)])
def test_nothing_to_say_is_refused(
    two: tuple[Trained, Trained], recipe: Recipe, num_conversations: int, num_turns: int
) -> None:
    with pytest.raises(EvaluationError, match="at least one of each is needed"):
        self_chat(recipe, two[0], num_conversations=num_conversations, num_turns=num_turns)
