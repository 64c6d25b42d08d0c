"""Small talk from a seed."""

from __future__ import annotations

from rejoinder.corpora.made_up import Settings, read


def test_a_seed_always_makes_the_same_conversations() -> None:
    assert list(read(Settings(num_conversations=20, seed=1))) == list(read(Settings(num_conversations=20, seed=1)))


def test_another_seed_makes_others() -> None:
    one, other = (list(read(Settings(num_conversations=20, seed=seed))) for seed in (1, 2))
    assert {talk.id for talk in one}.isdisjoint(talk.id for talk in other)
    assert [talk.turns for talk in one] != [talk.turns for talk in other]


def test_more_conversations_leave_the_first_ones_as_they_are() -> None:
    assert list(read(Settings(num_conversations=20)))[:5] == list(read(Settings(num_conversations=5)))


def test_the_right_answer_needs_the_context() -> None:
    """A name that is asked back was said before, and is not the same in every conversation."""
    answers = set()
    for talk in read(Settings(num_conversations=50)):
        name = talk.turns[1].text.removeprefix("Hi, I am ").removesuffix(".")
        answers.add(name)
        assert all(name in turn.text for turn in talk.turns if turn.text.startswith(("So you are", "Yes, I am")))
    assert len(answers) > 3
