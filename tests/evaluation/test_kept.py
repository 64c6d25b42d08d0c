"""An evaluation is made once and found beside its checkpoint; one that is damaged is made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder.corpora import made_up
from rejoinder.evaluation import compared, evaluated, name_of
from rejoinder.recipe import Recipe
from rejoinder.text import train_tokenizer
from rejoinder.text.tokenizers import byte_bpe

QUICK = [
    "evaluation.max_replies=8", "evaluation.num_resamples=100", "evaluation.num_timed_replies=0",
    "evaluation.metrics=[chrf, distinct]", "evaluation.behaviour=[]", "evaluation.num_self_chats=0",
    "evaluation.num_attention_maps=0", "evaluation.num_samples=2",
]  # fmt: skip


@pytest.mark.usefixtures("ray_cluster")
def test_what_was_measured_is_found_and_two_are_compared_from_what_was_kept(
    make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path], prepared_set: Path
) -> None:
    recipe = make_recipe(*QUICK)
    first, second = make_checkpoint(0, recipe), make_checkpoint(1, recipe)
    names = ("new", "old")
    found = compared(recipe, first, second, prepared_set, "test", names)
    assert set(found.differences) == set(evaluated(recipe, first, prepared_set, "test").evaluation.figures)
    page = Path(found.page).read_text(encoding="utf-8")
    assert "new" in page
    assert page.count("<article class=talk>") == 2
    figures = json.loads(Path(found.page).with_suffix(".json").read_text())
    assert figures["chrf"]["difference"] == pytest.approx(found.differences["chrf"].difference)

    kept = evaluated(recipe, first, prepared_set, "test")
    assert kept.reused
    assert compared(recipe, first, second, prepared_set, "test", names).differences == found.differences
    back = compared(recipe, second, first, prepared_set, "test", names).differences
    assert back["bits_per_byte"].difference == -found.differences["bits_per_byte"].difference
    assert [line.split()[0] for line in found.lines()] == ["bits", "chrF", "distinct-2"]

    (counted,) = first.parent.glob("*-evaluation-test-*.npz")
    whole = counted.read_bytes()
    counted.write_bytes(whole[:100])
    again = evaluated(recipe, first, prepared_set, "test")
    assert not again.reused
    assert again.evaluation.to_json("") == kept.evaluation.to_json("")


@pytest.mark.usefixtures("ray_cluster")
def test_a_model_of_another_tokenizer_is_measured_on_the_same_exchanges_in_its_own_tokens(
    make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path], prepared_set: Path
) -> None:
    talk = [[turn.text for turn in of.turns] for of in made_up.read(made_up.Settings(num_conversations=60))]
    other = train_tokenizer(byte_bpe.Settings(), iter(talk), 400)
    recipe = make_recipe(*QUICK)
    of_the_set, of_another = make_checkpoint(0, recipe), make_checkpoint(1, recipe, other)
    own, translated = (evaluated(recipe, of, prepared_set, "test") for of in (of_the_set, of_another))
    assert not own.is_translated
    assert translated.is_translated
    assert evaluated(recipe, of_another, prepared_set, "test").reused
    ours, theirs = own.per_exchange.statistics, translated.per_exchange.statistics
    (bytes_N, other_bytes_N), (tokens_N, other_tokens_N) = (
        [of[name][:, 1] for of in (ours, theirs)] for name in ("bits_per_byte", "loss")
    )  # type: ignore[call-overload]
    assert bytes_N.sum() == other_bytes_N.sum()
    assert tokens_N.sum() != other_tokens_N.sum()
    found = compared(recipe, of_the_set, of_another, prepared_set, "test", ("new", "old")).differences
    assert "bits_per_byte" in found
    assert "chrf" in found
    assert not {"loss", "perplexity"} & found.keys()


def test_a_checkpoint_without_a_name_is_called_by_its_run_and_step() -> None:
    assert name_of(Path("home/runs/demo-12/checkpoints/step_800")) == "demo-12/step_800"
    assert name_of(Path("home/models/ab12")) == "models/ab12"
