"""Which version answers whom: in shares, and the same ones always."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from rejoinder.errors import RecipeError
from rejoinder.recipe import Recipe
from serve.service import Service
from serve.traffic import asker_of, is_shadowed, name_for
from tests.serve.helpers import HELLO, client_of

ASKERS = [f"session {number}" for number in range(4_000)]
MakeRecipe = Callable[..., Recipe]


def chosen(make_recipe: MakeRecipe, *words: str) -> dict[str, str]:
    """Of each asker, who answers."""
    serving = make_recipe(*words).serving
    return {asker: name_for(asker, serving) for asker in ASKERS}


def test_a_canary_has_its_share_and_a_larger_one_keeps_whom_it_had(make_recipe: MakeRecipe) -> None:
    assert set(chosen(make_recipe).values()) == {"champion"}
    small, large, everybody = (
        {asker for asker, name in of.items() if name == "next"}
        for of in (
            chosen(make_recipe, "serving.canary.to=next", f"serving.canary.percent={percent}")
            for percent in (5, 20, 100)
        )
    )
    assert abs(len(small) / len(ASKERS) - 0.05) < 0.015
    assert abs(len(large) / len(ASKERS) - 0.20) < 0.03
    assert small < large < everybody == set(ASKERS)


def test_ab_weights_are_kept_and_do_not_depend_on_the_canary(make_recipe: MakeRecipe) -> None:
    words = "serving.ab_test={champion: 1, a: 2, b: 1}", "serving.max_loaded=4"
    found = chosen(make_recipe, *words)
    shares = {name: number / len(ASKERS) for name, number in Counter(found.values()).items()}
    assert shares == pytest.approx({"champion": 0.25, "a": 0.5, "b": 0.25}, abs=0.03)
    with_canary = chosen(make_recipe, *words, "serving.canary.to=c", "serving.canary.percent=10")
    assert all(name in ("c", found[asker]) for asker, name in with_canary.items())


def test_a_choice_sticks_to_the_session_else_to_the_user_of_a_key_else_to_nobody() -> None:
    assert asker_of("s", "key", "anna", "reply") == asker_of("s", "other", None, "other")
    assert asker_of(None, "key", "anna", "reply") == asker_of(None, "key", "anna", "other")
    assert len({asker_of(None, key, user, "r") for key in "ab" for user in ("anna", "ben")}) == 4
    assert asker_of(None, "key", None, "reply") != asker_of(None, "key", None, "other")


def test_a_shadow_is_asked_a_share_of_the_questions(make_recipe: MakeRecipe) -> None:
    serving, without = make_recipe("serving.shadow.to=next", "serving.shadow.percent=25").serving, make_recipe().serving
    share = sum(is_shadowed(asker, serving) for asker in ASKERS) / len(ASKERS)
    assert abs(share - 0.25) < 0.03
    assert not any(is_shadowed(asker, without) for asker in ASKERS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["serving.canary.to=champion"], "is serving.alias"),
        (["serving.shadow.to=champion"], "is serving.alias"),
        (["serving.ab_test={a: 1, b: 1}"], "no weight of 'champion'"),
        (["serving.ab_test={champion: 0}"], "all weights are 0"),
        (["serving.ab_test={champion: 1, a: 1}", "serving.canary.to=b", "serving.max_loaded=2"], "raise it to 3"),
        (["serving.also_loaded=[a]", "serving.max_loaded=1"], r"no room for one of serving.also_loaded \(a\)"),
        (["serving.also_loaded=[a,b]", "serving.canary.to=a", "serving.max_loaded=2"], r"\(b\); raise it to 3"),
        (["serving.canary.to=no/name"], "serving.canary.to"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(make_recipe: MakeRecipe, words: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        make_recipe(*words)


def test_a_canary_answers_its_sessions_and_keeps_them(
    publish: Callable[..., int], point: Callable[[str, int], None], start: Callable[..., Service]
) -> None:
    publish("champion")
    publish("next")
    service = start("serving.canary.to=next", "serving.canary.percent=50")
    client = client_of(service)

    def say(**more: object) -> tuple[str, str]:
        answer = client.post("/v1/chat/completions", json=HELLO | {"max_tokens": 2, **more})
        assert answer.status_code == 200, answer.text
        return answer.json().get("session_id"), answer.headers["x-model-version"]

    began = dict(say(session_id="new") for _ in range(16))
    assert set(began.values()) == {"models:/chat/1", "models:/chat/2"}
    assert dict(say(session_id=session) for session in began) == began
    (_, version), *others = [say(user="anna") for _ in range(4)]
    assert {other for _, other in others} == {version}
    # A stream's header says who answers, too.
    for session, version in list(began.items())[:3]:
        body = HELLO | {"session_id": session, "stream": True, "max_tokens": 2}
        assert client.post("/v1/chat/completions", json=body).headers["x-model-version"] == version
    text = client.get("/metrics").text
    for version in ("models:/chat/1", "models:/chat/2"):
        labels = f'replica="{service.metrics.replica}",version="{version}"'
        assert f"rejoinder_time_to_first_token_seconds_count{{{labels}}}" in text
    # Promoted, it is everybody's at once; and an alias that was taken away is nobody's canary.
    point("champion", 2)
    service.following.look()  # type: ignore[union-attr]
    assert {say(session_id="new")[1] for _ in range(8)} == {"models:/chat/2"}
