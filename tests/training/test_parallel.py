"""FSDP makes the updates of DDP, and either goes on from the other's checkpoints: two processes by torchrun."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder import catalog, checkpoints
from rejoinder.errors import RecipeError
from rejoinder.recipe import Recipe
from tests.training.several import torchrun

MakeRecipe = Callable[..., Recipe]
WORDS = ["training.log_every_steps=1", "training.num_steps=6", "training.checkpoint_every_steps=3"]


LAYERS = "num_encoder_layers: 1, num_decoder_layers: 1"
DIVIDED, COMPILED = "training.parallel=fsdp", "training.compile=true"


@pytest.fixture
def losses_of(make_recipe: MakeRecipe, prepared_set: Path, tmp_path: Path) -> Callable[..., dict[str, list[float]]]:
    """`losses_of({name: (words, name of another or None)})`: what two processes log at each step of these runs; those
    that begin as another lack its last checkpoint."""

    def run(wanted: dict[str, tuple[list[str], str | None]]) -> dict[str, list[float]]:
        runs = []
        for name, (words, of) in wanted.items():
            (tmp_path / f"{name}.yaml").write_text(make_recipe(*WORDS, *words).to_yaml())
            places = {"recipe": ".yaml", "checkpoints": "", "losses": ".json"}
            runs.append({key: f"{tmp_path}/{name}{ending}" for key, ending in places.items()})
            runs[-1] |= {"of": f"{tmp_path}/{of}"} if of else {}
        (tmp_path / "runs.json").write_text(json.dumps(runs))
        torchrun(prepared_set, tmp_path / "runs.json")
        return {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in wanted}

    return run


@pytest.mark.slow
def test_fsdp_makes_the_updates_of_ddp_and_goes_on_where_it_stopped(
    losses_of: Callable[..., dict[str, list[float]]], tmp_path: Path
) -> None:
    runs: dict[str, tuple[list[str], str | None]] = {}
    for model in ("transformer", "gru_attention"):
        words = [f"model={{name: {model}, width: 16}}", "training.max_microbatch_tokens=150"]
        runs |= {f"{model}_ddp": (words, None), f"{model}_fsdp": ([*words, DIVIDED], None)}
        runs |= {
            f"{model}_then_ddp": (words, f"{model}_fsdp"),
            f"{model}_then_fsdp": ([*words, DIVIDED], f"{model}_fsdp"),
        }
    losses = losses_of(runs)
    for model in ("transformer", "gru_attention"):
        whole, divided = losses[f"{model}_ddp"], losses[f"{model}_fsdp"]
        assert len(whole) == 6
        assert divided == pytest.approx(whole, abs=1e-4)
        ends = [checkpoints.load(tmp_path / f"{model}_{way}" / "step_00000006") for way in ("ddp", "fsdp")]
        ours, theirs = (end.progress.metrics["valid_loss"] for end in ends)
        assert theirs == pytest.approx(ours, abs=1e-4)
        for way in ("ddp", "fsdp"):
            assert losses[f"{model}_then_{way}"] == pytest.approx(divided[3:], abs=1e-4)


@pytest.mark.slow
def test_fsdp_makes_the_updates_of_ddp_in_a_pretrained_model(
    losses_of: Callable[..., dict[str, list[float]]], tmp_path: Path
) -> None:
    """T5's layers hold lists of parts."""
    from tests.training.test_pretrained_runs import pretrained_words

    words = pretrained_words(tmp_path / "t5")
    runs: dict[str, tuple[list[str], str | None]] = {}
    for rank in (0, 2):
        adapted = [*words, f"model.lora_rank={rank}", "training.num_steps=4"]
        runs |= {f"rank_{rank}_ddp": (adapted, None), f"rank_{rank}_fsdp": ([*adapted, DIVIDED], None)}
    losses = losses_of(runs)
    for rank in (0, 2):
        assert losses[f"rank_{rank}_fsdp"] == pytest.approx(losses[f"rank_{rank}_ddp"], abs=1e-4)


@pytest.mark.slow
def test_fsdp_makes_the_updates_of_ddp_with_every_optimizer_that_takes_it(
    make_recipe: MakeRecipe, losses_of: Callable[..., dict[str, list[float]]]
) -> None:
    def words(optimizer: str) -> list[str]:
        return [f"training.optimizer={optimizer}", f"model={{name: transformer, width: 16, {LAYERS}}}"]

    refused = []
    runs: dict[str, tuple[list[str], str | None]] = {}
    for optimizer in catalog.names("rejoinder.optimizers"):
        try:
            make_recipe(*words(optimizer), DIVIDED)
        except RecipeError:
            refused.append(optimizer)
        else:
            few = [*words(optimizer), "training.num_steps=3"]
            runs |= {f"{optimizer}_ddp": (few, None), f"{optimizer}_fsdp": ([*few, DIVIDED], None)}
    assert refused == ["adafactor", "lbfgs"]
    losses = losses_of(runs)
    for name, whole in losses.items():
        if name.endswith("_ddp"):
            assert losses[name.replace("_ddp", "_fsdp")] == pytest.approx(whole, abs=1e-4), name


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_steps_make_the_same_updates(losses_of: Callable[..., dict[str, list[float]]]) -> None:
    words = [f"model={{name: transformer, width: 16, {LAYERS}}}", "training.num_steps=4"]
    losses = losses_of({"plain": (words, None), "compiled": ([*words, COMPILED], None)})
    assert losses["compiled"] == pytest.approx(losses["plain"], abs=1e-4)
