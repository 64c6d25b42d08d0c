"""Replies are made as the request says, else as `serving.decoding` does, else as the version's own recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder import checkpoints
from rejoinder.errors import RecipeError, ServingError
from rejoinder.recipe import Recipe
from rejoinder.storage import sha256_of
from serve import app
from serve.deployment import require_decoding
from serve.service import Service
from serve.words import require_words_of_serving
from tests.serve.helpers import HELLO, client_of

Publish = Callable[..., int]
Start = Callable[..., Service]
CHAT = "/v1/chat/completions"
GREEDY = "serving.decoding.temperature=0"


def ask(service: Service, **more: object) -> str:
    """What it says."""
    answer = client_of(service).post(CHAT, json=HELLO | more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_it_changes_what_a_request_does_not_say_for_every_version_by_whichever_name(
    publish: Publish, start: Start
) -> None:
    publish("champion")
    publish("candidate")
    own = start("serving.also_loaded=[candidate]")
    greedy = start("serving.also_loaded=[candidate]", GREEDY)
    for model in ("chat", "chat@champion", "chat@candidate"):
        drawn = {ask(own, model=model, seed=seed) for seed in range(4)}
        assert len(drawn) > 1
        assert {ask(greedy, model=model, seed=seed) for seed in range(4)} == {ask(own, model=model, temperature=0)}
        assert {ask(greedy, model=model, seed=seed, temperature=0.7) for seed in range(4)} == drawn


def test_a_shadow_and_the_readiness_prompts_are_asked_with_it(publish: Publish, start: Start) -> None:
    publish("champion")
    publish("next")
    service = start(GREEDY, "serving.decoding.min_reply_tokens=7", "serving.shadow.to=next")
    assert [replica.version.number for replica, _ in service.versions.held()] == [1, 2]
    for replica, _ in service.versions.held():
        decoding = replica.responder.decoding(num_logprobs=None)  # as serve.shadow and `require_answers` ask
        assert (decoding.temperature, decoding.min_reply_tokens, decoding.top_k) == (0.0, 7, 40)
        assert replica.responder.engine.statistics().num_tokens >= 7 * len(service.serving.readiness_prompts)


def test_the_canary_prompt_stays_short(publish: Publish, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("champion")
    monkeypatch.setattr("serve.replica.CANARY_EVERY_S", 0.0)
    service = start("serving.decoding={min_reply_tokens: 5, num_beams: 2, temperature: 0}")
    assert client_of(service).get("/readyz").status_code == 200


def test_what_contradicts_the_models_own_settings_is_said_once_and_in_one_line(
    publish: Publish, start: Start, make_recipe: Callable[..., Recipe]
) -> None:
    publish("champion")
    words = "serving.decoding.num_beams=4", "serving.decoding.min_reply_tokens=500"
    with pytest.raises(ServingError) as when_loaded:
        start(*words)
    with pytest.raises(ServingError) as at_deploy:
        require_decoding(make_recipe(*words))
    said = str(at_deploy.value)
    assert said == str(when_loaded.value)
    assert "\n" not in said  # Serve shows the last line of what a replica says
    assert said.startswith("models:/chat/1 with serving.decoding over its own: ")
    assert "serving.decoding.num_beams = 4 with serving.decoding.temperature = 0.7" in said
    assert "serving.decoding.min_reply_tokens = 500 must be below text.max_reply_tokens = 20" in said
    require_decoding(make_recipe(words[0], GREEDY))


def test_more_beams_than_slots_are_refused_before_anybody_asks(
    publish: Publish, make_recipe: Callable[..., Recipe]
) -> None:
    publish("champion")
    words = GREEDY, "serving.decoding.num_beams=5"
    require_decoding(make_recipe(*words, "serving.num_slots=5"))
    with pytest.raises(ServingError, match=r"a reply takes 5 slots, and there are serving\.num_slots = 4"):
        require_decoding(make_recipe(*words, "serving.num_slots=4"))


def test_a_candidate_that_cannot_reply_so_is_refused_too_and_one_that_is_not_there_is_not(
    publish: Publish, make_recipe: Callable[..., Recipe]
) -> None:
    def of_beams(folder: Path) -> None:
        rewrite(folder, ("  temperature: 0.7", "  temperature: 0"), ("  num_beams: 1", "  num_beams: 2"))

    publish("champion")
    publish("candidate", change=of_beams)
    drawing = "serving.decoding.temperature=0.5"
    require_decoding(make_recipe(drawing, "serving.canary.to=nobody"))
    with pytest.raises(ServingError, match=r"models:/chat/2 with .*num_beams = 2 with .*\.temperature = 0\.5"):
        require_decoding(make_recipe(drawing, "serving.canary.to=candidate"))


def rewrite(folder: Path, *changes: tuple[str, str]) -> None:
    """Other settings in a checkpoint's recipe, and a manifest that vouches for them."""
    recipe, manifest = folder / checkpoints.RECIPE, folder / checkpoints.MANIFEST
    before, text = sha256_of(recipe), recipe.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    recipe.write_text(text)
    manifest.write_text(manifest.read_text().replace(before, sha256_of(recipe)))


@pytest.mark.parametrize("word", ["decoding.temperature=0", " decoding.stop=['a=b']", "decoding={top_k: 1}"])
def test_a_word_that_would_change_nothing_is_refused_with_the_one_that_does(word: str) -> None:
    with pytest.raises(RecipeError) as refused:
        require_words_of_serving(["serving.port=9", word])
    assert str(refused.value).endswith(f"write serving.{word.strip()}")
    with pytest.raises(RecipeError, match="would change nothing"):
        app.recipe_of(app.Arguments(recipe="tiny", words=[word]))


def test_a_files_own_section_is_no_word(tmp_path: Path, make_recipe: Callable[..., Recipe]) -> None:
    file = tmp_path / "decoding.yaml"
    file.write_text(make_recipe("decoding.temperature=0.1").to_yaml())
    require_words_of_serving([str(file), "decoding.yaml", GREEDY])
    assert app.recipe_of(app.Arguments(recipe=str(file), words=[GREEDY])).serving.decoding == {"temperature": 0.0}
