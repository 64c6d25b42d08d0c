"""Every family of behavioural tests: its cases are the same for a seed, and it can be passed and failed."""

from __future__ import annotations

from types import ModuleType

import pytest

from rejoinder import catalog
from rejoinder.evaluation.behaviour import ROOM, Answers, Case

FAMILIES = catalog.names(ROOM)
KINDS = ("invariance", "direction", "minimum functionality")
GOOD: dict[str, str] = {
    "greetings": "Hello! How are you?", "goodbyes": "Bye, take care!", "names": "Your name is {}, is it not?",
    "questions": "I am not sure, what do you think?",
}  # fmt: skip
BAD: dict[str, str] = {
    "greetings": "This is a film.",
    "goodbyes": "I like cats.",
    "names": "I am Otto.",
    "questions": "the the the the",
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> ModuleType:
    """A family's module."""
    return catalog.pick(ROOM, request.param)


def cases(family: ModuleType, num: int = 20, seed: int = 0) -> list[Case]:
    found: list[Case] = family.cases(family.Settings(num_cases=num), seed)
    return found


def test_it_says_what_it_is(family: ModuleType) -> None:
    assert family.KIND in KINDS
    assert family.CLAIM.endswith(".")


def test_its_cases_follow_from_the_seed(family: ModuleType) -> None:
    assert cases(family) == cases(family)
    assert cases(family, seed=1) != cases(family)
    assert 10 <= len(cases(family)) <= 20
    assert len(cases(family, 3)) == 3
    assert len(cases(family, 10_000)) >= len(cases(family))


def test_each_case_has_what_its_kind_needs(family: ModuleType) -> None:
    for case in cases(family, 10_000):
        assert all(turn.strip() for turns in case.contexts for turn in turns)
        assert len(set(case.contexts)) == len(case.contexts)
        if family.KIND == "minimum functionality":
            assert (len(case.contexts), case.replies) == (1, ())
        else:
            assert len(case.contexts) > 1
        assert bool(case.replies) == (family.KIND == "direction")


@pytest.mark.parametrize("name", [name for name in FAMILIES if catalog.pick(ROOM, name).KIND == "invariance"])
def test_an_invariance_holds_when_the_reply_or_its_likelihood_stays(name: str) -> None:
    family = catalog.pick(ROOM, name)
    settings, (case, *_) = family.Settings(tolerance_nats=0.1), cases(family)
    num_changed = len(case.contexts) - 1
    near, far = ((2.0,),) + ((2.05,),) * num_changed, ((2.0,),) + ((2.2,),) * num_changed
    same, other = ("Yes.",) * (1 + num_changed), ("Yes.", *("No.",) * num_changed)
    assert family.judge(settings, case, Answers(same, far)) is None
    assert family.judge(settings, case, Answers(other, near)) is None
    assert "says “No.”" in family.judge(settings, case, Answers(other, far))
    assert family.judge(settings, case, Answers(other, ((2.0,),) + ((1.8,),) * num_changed)) is not None


@pytest.mark.parametrize("name", [name for name in FAMILIES if catalog.pick(ROOM, name).KIND == "direction"])
def test_a_direction_is_that_of_the_last_reply(name: str) -> None:
    family = catalog.pick(ROOM, name)
    case, *_ = cases(family)
    others = (3.0,) * (len(case.replies) - 1)
    assert family.judge(family.Settings(), case, Answers((), ((*others, 3.0), (*others, 2.9)))) is None
    assert "less likely by 0.10" in family.judge(family.Settings(), case, Answers((), ((*others, 3.0), (*others, 3.1))))
    assert family.judge(family.Settings(), case, Answers((), ((*others, 3.0), (*others, 3.0)))) is not None


def test_negation_compares_what_fitted_before_with_what_fits_after() -> None:
    """A “not” that makes all replies less likely is no failure, if it does so less to the one that fits."""
    family = catalog.pick(ROOM, "negation")
    case, *_ = cases(family)
    assert family.judge(family.Settings(), case, Answers((), ((3.0, 3.0), (4.0, 3.5)))) is None
    assert family.judge(family.Settings(), case, Answers((), ((3.0, 3.0), (3.0, 3.5)))) is not None


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_function_is_there_or_not(name: str) -> None:
    family = catalog.pick(ROOM, name)
    for case in cases(family):
        assert family.judge(family.Settings(), case, Answers((GOOD[name].format(case.note),), ((1.0,),))) is None
        said = family.judge(family.Settings(), case, Answers((BAD[name],), ((1.0,),)))
        assert BAD[name] in said
        assert family.judge(family.Settings(), case, Answers(("",), ((1.0,),))) is not None


def test_a_question_given_back_is_no_answer() -> None:
    family = catalog.pick(ROOM, "questions")
    case, *_ = cases(family)
    again = case.contexts[0][-1].lower().rstrip("?")
    assert "gives the question back" in family.judge(family.Settings(), case, Answers((again,), ((1.0,),)))
