"""What the stages do with a recipe beyond calling their rooms."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder.decoding import Decoding
from rejoinder.dialogue import Reply, Responder
from rejoinder.engine import Finish
from rejoinder.errors import RecipeError
from rejoinder.recipe import Recipe
from rejoinder.shards import build
from rejoinder.stages import chat_in_terminal, prepare_stage


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("place", ["{}", "file://{}"])
def test_the_report_of_a_set_whose_maker_was_killed_before_it_is_made_by_the_next_job(
    make_recipe: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    monkeypatch.setenv("REJOINDER_CACHE", str(tmp_path / "cache"))
    tracking = f"registry.tracking_uri=sqlite:///{tmp_path}/mlflow.db"
    recipe = make_recipe(f"storage.uri={place.format(tmp_path / 'home')}", tracking)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "write_report", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_stage(recipe)
    monkeypatch.setenv("REJOINDER_CACHE", str(tmp_path / "cache of another machine"))
    prepared = prepare_stage(recipe)
    assert prepared.reused
    assert {"report.html", "report.json"} <= prepared.folder.sizes().keys()
    (link,) = re.findall("look at it: file://(.*)", capsys.readouterr().out)
    assert "<html" in Path(link).read_text()


def test_a_chat_is_decoded_as_the_command_line_says_not_as_the_checkpoint_does(
    make_recipe: Callable[..., Recipe],
    make_checkpoint: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[Decoding] = []

    def reply(self: Responder, context: list[int], decoding: Decoding) -> Reply:
        asked.append(decoding)
        return Reply("Fine!", len(context), 1, Finish.END)

    lines = iter(["Hello!", ""])
    monkeypatch.setattr(builtins, "input", lambda prompt: next(lines))
    monkeypatch.setattr(Responder, "reply", reply)
    checkpoint = make_checkpoint(0, make_recipe("decoding.temperature=1.5", "decoding.top_k=7"))
    chat_in_terminal(make_recipe("decoding.temperature=0", "decoding.min_p=0.2"), str(checkpoint))
    (decoding,) = asked
    assert (decoding.temperature, decoding.min_p, decoding.top_k) == (0.0, 0.2, 40)
    assert decoding.max_reply_tokens == 20
    assert "model:  Fine!" in capsys.readouterr().out


def test_a_chat_keeps_to_the_recipes_limits(
    make_recipe: Callable[..., Recipe],
    make_checkpoint: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = iter(["a" * 11, "Hello!", ""])
    monkeypatch.setattr(builtins, "input", lambda prompt: next(lines))
    limits = ["serving.max_turn_characters=10", "serving.max_reply_tokens=3", "decoding.min_reply_tokens=3"]
    chat_in_terminal(make_recipe(*limits, "decoding.num_logprobs=0"), str(make_checkpoint()))
    _, too_long, reply, *tokens = capsys.readouterr().out.splitlines()
    assert too_long == "11 characters; the limit is serving.max_turn_characters = 10"
    assert reply.startswith("model:  ")
    assert len(tokens) == 3


def test_a_chat_with_a_model_that_cannot_reply_so_is_refused_in_the_recipes_words(
    make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path]
) -> None:
    blind = make_checkpoint(0, make_recipe("model={name: recurrent, width: 16, attention: none}"))
    wanted = make_recipe("decoding.temperature=0", "decoding.num_beams=2", "decoding.coverage_penalty=0.2")
    with pytest.raises(RecipeError, match=r"decoding\.coverage_penalty = 0\.2 with model\.attention = none: such a "):
        chat_in_terminal(wanted, str(blind))
