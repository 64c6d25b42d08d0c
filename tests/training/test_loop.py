"""The training loop: the same updates however they are divided, interrupted or repeated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rejoinder import catalog, checkpoints
from rejoinder.errors import CheckpointError, TrainingError
from rejoinder.recipe import Recipe
from rejoinder.training import NoTracker
from rejoinder.training.update import Updater
from tests.training.several import torchrun

MakeRecipe = Callable[..., Recipe]
EVERY_STEP = ("training.log_every_steps=1", "training.num_steps=10", "training.learning_rate=0.01")


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint's model."""
    return load_file(checkpoint / checkpoints.WEIGHTS)


def assert_same_weights(one: Path, other: Path) -> None:
    """Equal to the last bit."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_loss_goes_down(make_recipe: MakeRecipe, run_here: Callable[..., Any]) -> None:
    ran = run_here(make_recipe("training.num_steps=40", "training.log_every_steps=1", "training.learning_rate=0.02"))
    assert ran.steps[-1].loss < ran.steps[0].loss - 1
    assert ran.metrics["valid_loss"] < ran.steps[0].loss - 1


def test_two_workers_make_the_same_updates_as_one(
    make_recipe: MakeRecipe, run_here: Callable[..., Any], prepared_set: Path, tmp_path: Path
) -> None:
    models = [name for name in catalog.names("rejoinder.models") if name != "pretrained"]
    recipes = {name: make_recipe(*EVERY_STEP, f"model={{name: {name}, width: 16}}") for name in models}
    for name, recipe in recipes.items():
        (tmp_path / f"{name}.yaml").write_text(recipe.to_yaml())
    runs = [
        {"recipe": f"{tmp_path}/{name}.yaml", "checkpoints": f"{tmp_path}/two_{name}", "losses": f"{tmp_path}/{name}"}
        for name in models
    ]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    torchrun(prepared_set, tmp_path / "runs.json")
    for name, recipe in recipes.items():
        losses = json.loads((tmp_path / name).read_text())
        assert len(losses) == 10
        assert losses == pytest.approx([step.loss for step in run_here(recipe, name=f"one_{name}").steps], abs=1e-5)


def test_microbatches_make_the_same_updates_as_one_piece(make_recipe: MakeRecipe, run_here: Callable[..., Any]) -> None:
    whole = run_here(make_recipe(*EVERY_STEP), "whole")
    pieces = run_here(make_recipe(*EVERY_STEP, "training.max_microbatch_tokens=100"), "pieces")
    assert [step.loss for step in pieces.steps] == pytest.approx([step.loss for step in whole.steps], abs=1e-5)


def test_the_same_recipe_gives_the_same_weights_bit_for_bit(
    make_recipe: MakeRecipe, run_here: Callable[..., Any]
) -> None:
    recipe = make_recipe("model.dropout=0.2", "training.num_steps=6")
    once, again = run_here(recipe, "once"), run_here(recipe, "again")
    assert_same_weights(once.store.last(), again.store.last())


def test_another_seed_gives_other_weights(make_recipe: MakeRecipe, run_here: Callable[..., Any]) -> None:
    one, other = run_here(make_recipe(), "one"), run_here(make_recipe("training.seed=1"), "other")
    assert not torch.equal(
        weights(one.store.last())["embedding.weight"], weights(other.store.last())["embedding.weight"]
    )


class Killed(Exception):
    """Stands for whatever may end a process."""


class KillsAtStep(NoTracker):
    """Ends the training in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def log(self, metrics: dict[str, float], step: int) -> None:
        if step == self.step:
            raise Killed


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    make_recipe: MakeRecipe, run_here: Callable[..., Any]
) -> None:
    words = ["model.dropout=0.2", "training.num_steps=12", "training.checkpoint_every_steps=5"]
    recipe = make_recipe(*words, "training.log_every_steps=1")
    uninterrupted = run_here(recipe, "uninterrupted")
    with pytest.raises(Killed):
        run_here(recipe, "interrupted", tracker=KillsAtStep(7))
    continued = run_here(recipe, "interrupted")
    assert [step.step for step in continued.steps] == list(range(6, 13))
    assert [step.loss for step in continued.steps] == [step.loss for step in uninterrupted.steps[5:]]
    assert_same_weights(uninterrupted.store.last(), continued.store.last())


def test_a_finished_run_makes_no_further_step(make_recipe: MakeRecipe, run_here: Callable[..., Any]) -> None:
    recipe = make_recipe("training.log_every_steps=1")
    first, second = run_here(recipe), run_here(recipe)
    assert second.steps == []
    assert second.metrics == first.metrics


def test_every_validation_is_reported_and_makes_a_checkpoint(
    make_recipe: MakeRecipe, run_here: Callable[..., Any]
) -> None:
    ran = run_here(make_recipe("training.num_steps=10", "training.validate_every_steps=4"))
    assert [report["step"] for report in ran.reports] == [4, 8, 10]
    assert checkpoints.read_progress(ran.store.path(8)).metrics.keys() == ran.metrics.keys()


def test_a_training_that_diverges_ends_with_what_to_change(
    make_recipe: MakeRecipe, run_here: Callable[..., Any]
) -> None:
    # Weights of 1e38 and more overflow at the next product.
    words = ["training.learning_rate=9", "training.num_steps=500", "training.schedule=constant"]
    recipe = make_recipe(*words, "training.optimizer.weight_decay=30", "model={name: transformer, width: 16}")
    with pytest.raises(
        TrainingError, match=r"step \d+ \(epoch.*the gradient is (nan|inf).*lower training.learning_rate = 9"
    ):
        run_here(recipe)


def poisoned(monkeypatch: pytest.MonkeyPatch, *bad_steps: int) -> None:
    """The gradients of these steps are no numbers."""
    gradients = Updater._gradients

    def made(self: Updater, step: int, *rest: Any) -> torch.Tensor:
        loss = gradients(self, step, *rest)
        if step in bad_steps:
            next(self._model.parameters()).grad.fill_(float("nan"))
        return loss

    monkeypatch.setattr(Updater, "_gradients", made)


def test_a_step_without_a_number_is_skipped_said_and_counted(
    make_recipe: MakeRecipe, run_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    poisoned(monkeypatch, 3, 4)
    tracker = Kept()
    recipe = make_recipe("training.log_every_steps=1", "training.num_steps=8", "training.max_skipped_steps=2")
    ran = run_here(recipe, tracker=tracker)
    assert [step.step for step in ran.steps] == [1, 2, 5, 6, 7, 8]
    assert ran.metrics["valid_loss"] < 10
    assert tracker.points["train_skipped_steps"][-1] == (8, 2.0)
    assert "step 3 (epoch 1, batch 3) is skipped: its gradient is nan" in caplog.text
    with pytest.raises(TrainingError, match=r"step 4 .*for the 2th step in a row"):
        run_here(make_recipe("training.max_skipped_steps=1", "training.num_steps=8"), "strict")


def test_with_fp16_an_overflow_halves_the_scale_and_what_stays_no_number_ends_the_run(
    make_recipe: MakeRecipe, run_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, 3, 4)
    words = ["training.precision=fp16", "scaling.gpus_per_worker=1"]
    words += ["training.log_every_steps=1", "training.max_skipped_steps=0"]
    scales: list[float] = []
    made = Updater.make

    def watched(self: Updater, step: int, *rest: Any, **named: Any) -> Any:
        result = made(self, step, *rest, **named)
        scales.append(self.scaler.get_scale())
        return result

    monkeypatch.setattr(Updater, "make", watched)
    ran = run_here(make_recipe(*words, *AVERAGED))
    # The overflows neither count as harm nor enter the average of the weights.
    assert [step.step for step in ran.steps] == [1, 2, *range(5, 10)]
    assert scales[3] == scales[1] / 4
    assert all(tensor.isfinite().all() for tensor in weights(ran.store.last()).values())
    poisoned(monkeypatch, *range(3, 40))
    with pytest.raises(TrainingError, match=r"the gradient is nan"):
        run_here(make_recipe(*words, "training.num_steps=40"), "never a number")


class Kept(NoTracker):
    """A tracker that keeps what it is told: {metric: [(step, value), ...]}."""

    def __init__(self) -> None:
        self.points: dict[str, list[tuple[int, float]]] = {}

    def log(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.points.setdefault(name, []).append((step, value))


def test_each_parts_gradient_is_recorded(make_recipe: MakeRecipe, run_here: Callable[..., Any]) -> None:
    tracker = Kept()
    run_here(make_recipe("training.log_every_steps=2"), tracker=tracker)
    names = [name for name in tracker.points if name.startswith("gradient_norm/")]
    assert "gradient_norm/output" in names
    assert len(names) > 3
    assert all(value > 0 and step in (2, 4) for name in names for step, value in tracker.points[name])


AVERAGED = ("training.average_decay=0.9", "training.checkpoint_every_steps=3", "training.num_steps=9")


def test_the_average_of_the_weights_is_validated_kept_and_taken_up_again(
    make_recipe: MakeRecipe, run_here: Callable[..., Any]
) -> None:
    plain = run_here(make_recipe("training.num_steps=9"), "plain")
    whole = run_here(make_recipe(*AVERAGED), "whole")
    last = whole.store.last()
    raw = load_file(last / checkpoints.LAST_WEIGHTS)
    assert all(torch.equal(raw[name], tensor) for name, tensor in weights(plain.store.last()).items())
    assert whole.metrics["valid_loss"] != plain.metrics["valid_loss"]
    shutil.rmtree(last)
    assert whole.store.last().name == "step_00000006"
    again = run_here(make_recipe(*AVERAGED), "whole")
    assert_same_weights(again.store.last(), run_here(make_recipe(*AVERAGED), "straight").store.last())
    assert again.metrics == whole.metrics


def test_training_ends_when_it_no_longer_gets_better_and_is_not_taken_up_again(
    make_recipe: MakeRecipe, run_here: Callable[..., Any]
) -> None:
    words = ["training.num_steps=60", "training.validate_every_steps=2", "training.patience=3"]
    recipe = make_recipe(*words, "training.optimizer=sgd", "training.learning_rate=1e-30")
    assert run_here(recipe).reports[-1]["step"] < 60
    again = run_here(recipe)
    assert again.reports == []
    assert checkpoints.read_progress(again.store.last()).is_over


@pytest.mark.parametrize(
    "words",
    [
        ["training.scheduled_sampling={final_share: 0.5, start: 0}"],
        ["training.unlikelihood=1"],
        ["training.loss_chunk_tokens=7"],
        [
            "training.optimizer=lbfgs",
            "training.learning_rate=1",
            "training.schedule=constant",
            "training.warmup_steps=0",
        ],
        ["training.schedule=plateau", "training.validate_every_steps=2"],
        ["training.schedule=one_cycle"],
        ["training.max_gradient_norm=null", "training.max_gradient_value=0.1"],
        ["training.optimizer={name: asgd, average_after_steps: 2}"],
    ],
)
def test_every_technique_trains_and_goes_on_where_it_was(
    make_recipe: MakeRecipe, run_here: Callable[..., Any], words: list[str]
) -> None:
    recipe = make_recipe("training.num_steps=6", "training.checkpoint_every_steps=3", *words)
    whole = run_here(recipe, "whole")
    assert whole.metrics["valid_loss"] < 6
    last = whole.store.last()
    kept = {name: tensor.clone() for name, tensor in weights(last).items()}
    shutil.rmtree(last)
    again = run_here(recipe, "whole")
    assert all(torch.equal(kept[name], tensor) for name, tensor in weights(again.store.last()).items())


def test_a_checkpoint_of_other_data_is_refused(
    make_recipe: MakeRecipe, run_here: Callable[..., Any], prepared_set: Path, tmp_path: Path
) -> None:
    run_here(make_recipe())
    other = Path(shutil.copytree(prepared_set, tmp_path / "other"))
    manifest = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text(manifest.replace("0123456789abcdef", "fedcba9876543210"))
    with pytest.raises(CheckpointError, match="start over with --fresh"):
        run_here(make_recipe(), data=other)


def test_tokens_per_second_and_padding_are_measured(make_recipe: MakeRecipe, run_here: Callable[..., Any]) -> None:
    (report, *_) = run_here(make_recipe("training.log_every_steps=2")).steps
    assert report.tokens_per_s > 0
    assert 0 <= report.padding_fraction < 0.3


def test_fsdp_with_one_worker_trains_and_says_that_it_divides_nothing(
    make_recipe: MakeRecipe, run_here: Callable[..., Any], caplog: Any
) -> None:
    ran = run_here(make_recipe("training.parallel=fsdp", "training.num_steps=2"))
    assert ran.metrics["valid_loss"] > 0
    assert "training.parallel = fsdp has nothing to divide among one worker" in caplog.text
