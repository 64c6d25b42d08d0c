"""Evaluation by Ray tasks: the figures of one process, with intervals, slices and samples, the same each time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import ray
import sacrebleu
import torch

from rejoinder import checkpoints
from rejoinder.dialogue import Responder
from rejoinder.errors import CheckpointError, EvaluationError, RecipeError
from rejoinder.evaluation import FIGURES, Evaluation, PerExchange, compare, evaluate, measure_loss
from rejoinder.evaluation.answers import answers, context_of
from rejoinder.evaluation.evaluate import _Source
from rejoinder.evaluation.self_chat import self_chat
from rejoinder.evaluation.speed import measure_speed
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet
from rejoinder.storage import Folder

QUICK = [
    "evaluation.max_replies=40", "evaluation.num_resamples=100", "evaluation.num_timed_replies=4",
    "evaluation.behaviour=[]", "evaluation.num_self_chats=0", "evaluation.num_attention_maps=0",
]  # fmt: skip


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """An untrained model's checkpoint."""
    return make_checkpoint()


@pytest.mark.usefixtures("ray_cluster")
def test_tasks_measure_what_one_process_measures(
    make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path], prepared_set: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(*QUICK)
    checkpoint = make_checkpoint(0, recipe)
    evaluation, per_exchange = evaluate(recipe, checkpoint, prepared_set, "test")
    trained, test_set = checkpoints.load(checkpoint), ShardSet(prepared_set, "test")

    alone = measure_loss(trained.model, test_set, 500).metrics("test")
    assert evaluation.num_exchanges == len(test_set)
    assert {name: evaluation.metrics[name] for name in alone} == pytest.approx(alone, rel=1e-6)

    replied = per_exchange.replied_M.tolist()
    assert evaluation.num_replies == len(replied) == 40
    replies = answers(recipe, trained, test_set, replied)
    people = [test_set.tokenizer().to_text(ids.tolist()) for ids in test_set.rows(np.array(replied)).reply_ids]
    assert evaluation.metrics["test_bleu"] == pytest.approx(sacrebleu.corpus_bleu(replies, [people]).score)
    assert evaluation.metrics["test_chrf"] == pytest.approx(sacrebleu.corpus_chrf(replies, [people]).score)
    assert sum(evaluation.lengths["model"]) == sum(evaluation.lengths["human"]) == 40
    assert len(evaluation.samples) == 5
    assert {sample.model_reply for sample in evaluation.samples} <= set(replies)

    assert set(evaluation.figures) == {name for name in FIGURES if not name.startswith("embedding")}
    assert set(evaluation.human) == {name for name, figure in FIGURES.items() if figure.is_alone}
    for name, of in evaluation.figures.items():
        assert FIGURES[name].low <= of.low <= of.value <= of.high <= FIGURES[name].high, name
    assert set(evaluation.speed) <= {name.removeprefix("test_") for name in evaluation.metrics}
    assert evaluation.speed["tokens_per_s_batched"].value > 0

    for kind in {of.kind for of in evaluation.slices}:
        slices = [of for of in evaluation.slices if of.kind == kind]
        assert sum(of.num_exchanges for of in slices) == len(test_set)
        assert sum(of.num_replies for of in slices) == 40
    key = "of this"
    text = evaluation.to_json(key)
    assert Evaluation.from_json(text, key).to_json(key) == text  # type: ignore[union-attr]
    assert Evaluation.from_json(text, "of another") is None

    per_exchange.save(tmp_path / "kept.npz")
    assert compare(PerExchange.load(tmp_path / "kept.npz"), per_exchange, "bleu", num_resamples=100) == (0, 0, 0, 1)


def test_figures_that_are_no_numbers_are_read_as_none_of_them() -> None:
    evaluation = Evaluation("test", 3, {"test_perplexity": math.inf, "test_loss": 800.0}, [])
    found = Evaluation.from_json(evaluation.to_json("of this"), "of this")
    assert found is not None
    assert math.isnan(found.metrics["test_perplexity"])
    assert f"{found.metrics['test_loss']:.1f}" == "800.0"


@pytest.mark.usefixtures("ray_cluster")
def test_a_task_that_was_given_no_gpu_takes_none(recipe: Recipe, checkpoint: Path, prepared_set: Path) -> None:
    """Ray hides the GPUs of its machine from nobody who asked for none."""
    source = _Source(recipe, Folder(checkpoint), Folder(prepared_set), "test")

    @ray.remote(max_calls=1)
    def device() -> str:
        torch.cuda.is_available = lambda: True
        trained, _ = source.open()
        return next(trained.model.parameters()).device.type

    assert ray.get(device.remote()) == "cpu"


def test_a_damaged_checkpoint_is_refused_before_any_task_starts(
    recipe: Recipe, checkpoint: Path, prepared_set: Path
) -> None:
    (checkpoint / checkpoints.WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: damaged"):
        evaluate(recipe, checkpoint, prepared_set, "test")


def test_all_that_is_in_the_way_is_said_at_once(
    make_recipe: Callable[..., Recipe], checkpoint: Path, prepared_set: Path, write_set: Callable[..., Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    recipe = make_recipe(f"evaluation.metrics=[bleu, bleu, {{name: embedding, directory: {tmp_path}/none}}]")
    empty = write_set(tmp_path / "set", {"train": [], "valid": [], "test": []})
    with pytest.raises(EvaluationError) as refused:
        evaluate(recipe, checkpoint, empty, "test")
    first, second, third = str(refused.value).splitlines()
    assert first.startswith("the test split is empty; set data.test_fraction above 0")
    assert second == "evaluation.metrics: bleu stands there twice; leave one out"
    assert "has no config.json and no model.safetensors and no tokenizer.json; give the directory" in third


def test_a_model_that_cannot_reply_so_is_refused_before_any_task_starts(
    make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path], prepared_set: Path
) -> None:
    """The recipe of the job is valid by itself; the model has learnt with another."""
    blind = make_checkpoint(0, make_recipe("model={name: recurrent, width: 16, attention: none}"))
    asked = ["decoding.temperature=0", "decoding.num_beams=2", "decoding.coverage_penalty=0.2"]
    recipe = make_recipe(*asked, "decoding.min_reply_tokens=15")
    with pytest.raises(RecipeError, match=r"decoding\.coverage_penalty = 0\.2 with model\.attention = none: such a "):
        evaluate(recipe, blind, prepared_set, "test")
    terse = make_checkpoint(0, make_recipe("text.max_reply_tokens=12"))
    with pytest.raises(RecipeError, match=r"decoding\.min_reply_tokens = 15 must be below text\.max_reply_tokens = 12"):
        evaluate(recipe, terse, prepared_set, "test")


@pytest.mark.parametrize("asked", [["temperature=1"], ["temperature=0", "num_beams=3"]])
def test_where_several_replies_are_asked_for_the_best_is_measured(
    make_recipe: Callable[..., Recipe], checkpoint: Path, prepared_set: Path, asked: list[str]
) -> None:
    asked = [f"decoding.{word}" for word in [*asked, "num_replies=3", "mmi_weight=0.5", "num_logprobs=1"]]
    recipe, shard_set = make_recipe(*asked, "evaluation.num_slots=2"), ShardSet(prepared_set, "test")
    trained = checkpoints.load(checkpoint)
    responder = Responder(trained, 3, fallback_reply="")
    responder.engine.start()
    best = [
        responder.replies(context_of(shard_set, number), responder.decoding(recipe.decoding, seed=number))[0].text
        for number in (0, 1)
    ]
    responder.engine.stop()
    assert answers(recipe, trained, shard_set, [0, 1]) == best
    assert set(measure_speed(recipe, trained, shard_set, [0])) >= {"tokens_per_s_alone"}
    assert len(self_chat(recipe, trained, num_conversations=2, num_turns=1).conversations) == 2


def test_a_misspelt_metric_and_too_few_resamples_are_refused_with_the_recipe(
    make_recipe: Callable[..., Recipe],
) -> None:
    with pytest.raises(RecipeError) as refused:
        make_recipe("evaluation.metrics=[chrff]", "evaluation.num_resamples=10")
    said = str(refused.value)
    assert "evaluation.metrics.0: no metric is called 'chrff'; did you mean 'chrf'?" in said
    assert "evaluation.num_resamples = 10: must be greater than or equal to 100" in said


def test_settings_of_a_metric_change_the_key_that_results_are_kept_by(make_recipe: Callable[..., Recipe]) -> None:
    words = ["evaluation.metrics=[{name: bleu, tokenize: char}]", "evaluation.max_replies=7", "evaluation.num_slots=3"]
    keys = {make_recipe(*changed).fingerprint("evaluation") for changed in ([], *([word] for word in words))}
    assert len(keys) == 4
