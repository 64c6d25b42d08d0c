"""Two really different models through the gate: the better one wins, the worse one is told why, and the way back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rejoinder.checkpoints import directory
from rejoinder.command_line import RECIPES
from rejoinder.errors import RegistryError
from rejoinder.models import Seq2Seq, build_model
from rejoinder.promotion import promote_job, promote_stage, rollback_stage
from rejoinder.recipe import Recipe, load_recipe
from rejoinder.registry import Registry
from rejoinder.stages import train_stage
from rejoinder.version_stages import models_job, reproduce_stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> list[Recipe]:
    """Recipes of a model that has learnt next to nothing, version 1, and of one that has learnt, version 2."""
    words = [
        f"storage.uri={tmp_path_factory.mktemp('home')}", "registry.tracking_uri=null", "scaling.num_workers=1",
        "evaluation.metrics=[chrf, distinct, repetition, safety]", "evaluation.num_timed_replies=0",
        "evaluation.max_replies=100", "evaluation.behaviour=[]", "evaluation.num_self_chats=0",
        "evaluation.num_attention_maps=0", "registry.gate.latency_replies=4", "registry.gate.tolerated.latency=100",
        "registry.gate.tolerated.distinct_2=0.2", "training.warmup_steps=1",
    ]  # fmt: skip
    steps = [f"training.num_steps={number} training.validate_every_steps={number}".split() for number in (3, 24)]
    recipes = [load_recipe(RECIPES / "tiny.yaml", [*words, *own]) for own in steps]
    for recipe in recipes:
        train_stage(recipe)
    return recipes


@pytest.mark.timeout(900)
def test_from_the_first_champion_to_the_rollback_and_to_the_same_weights_again(
    trained: list[Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    worse, better = trained
    registry = Registry(worse)

    assert promote_stage(worse, 1)
    assert "there is no champion to be compared with, and no limit is missed" in capsys.readouterr().out
    assert promote_stage(worse, 1)
    assert "nothing to do: models:/tiny-chat/1 is the 'champion' already" in capsys.readouterr().out
    assert len(registry.ledger.standing().entries) == 1

    assert promote_stage(better)
    said = capsys.readouterr().out
    assert "== Evaluate" not in said  # both were measured when they were registered
    assert "better in bits_per_byte" in said
    (row,) = [
        of
        for of in registry.ledger.standing().entries[-1].decision.evidence["rows"]
        if (of["figure"], of["slice"]) == ("bits_per_byte", "all")
    ]
    assert row["high"] < 0
    assert row["candidate"] < row["champion"]

    with pytest.raises(RegistryError, match=r"the gate refused, 'champion' is as it was; .*--force REASON"):
        promote_job(worse, 1, "champion", None)
    assert "refused: bits_per_byte worse by" in capsys.readouterr().out
    assert registry.find("champion").number == 2
    with pytest.raises(RegistryError, match="--force needs a reason"):
        promote_stage(worse, 1, force=" ")

    assert rollback_stage(worse, reason="it was rude").number == 1
    assert registry.find("champion").number == 1
    with pytest.raises(RegistryError, match="has nothing to go back to; version 1 is the first"):
        rollback_stage(worse)
    assert promote_stage(worse, 2, force="tried by hand")
    capsys.readouterr()

    models_job(worse, "history", "", "champion", "")
    history = capsys.readouterr().out
    actions = ["promoted version 1", "promoted version 2 instead of 1", "refused version 1 instead of 2"]
    for said in [*actions, "rolled back version 1", "promoted by force version 2", "it was rude", "tried by hand"]:
        assert said in history
    models_job(worse, "list", "", "champion", "")
    assert "candidate, champion" in capsys.readouterr().out
    models_job(worse, "show", "champion", "champion", "")
    assert "x-model-version: models:/tiny-chat/2" in capsys.readouterr().out

    assert reproduce_stage(worse, "1")
    assert "models:/tiny-chat/1: the weights are the same, byte for byte" in capsys.readouterr().out
    assert len(registry.versions()) == 2


def test_a_set_on_which_the_champion_was_not_measured_is_measured_for_both(
    trained: list[Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    better = trained[1]
    rollback_stage(better)
    capsys.readouterr()
    gate = better.registry.gate.model_copy(update={"split": "valid"})
    on_valid = better.model_copy(update={"registry": better.registry.model_copy(update={"gate": gate})})
    assert promote_stage(on_valid, 2)
    assert capsys.readouterr().out.count("== Evaluate: valid split") == 2


def test_a_model_of_another_vocabulary_is_compared_on_the_same_exchanges(
    trained: list[Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    worse, better = trained
    other = worse.model_copy(update={"text": worse.text.model_copy(update={"vocabulary_size": 300})})
    train_stage(other)
    capsys.readouterr()
    assert not promote_stage(other)
    said = capsys.readouterr().out
    assert said.count("trained with another tokenizer: measured on the same exchanges in its own tokens") == 1
    evidence = Registry(better).ledger.standing().entries[-1].decision.evidence
    (row,) = [of for of in evidence["rows"] if (of["figure"], of["slice"]) == ("bits_per_byte", "all")]
    assert 0 < row["low"] <= row["difference"] <= row["high"]


def test_a_champion_of_older_code_that_cannot_be_loaded_stands_in_nobodys_way(
    trained: list[Recipe], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worse, better = trained
    promote_stage(better, 2, force="the one that this code is to be too new for")

    def of_newer_code(recipe: Recipe, num_ids: int) -> Seq2Seq:
        model = build_model(recipe, num_ids)
        if recipe.training.num_steps == better.training.num_steps:
            model.register_parameter("new", nn.Parameter(torch.zeros(1)))
        return model

    monkeypatch.setattr(directory, "build_for_use", of_newer_code)
    assert promote_stage(worse, 1)
    assert "/2 is the champion and cannot be loaded, so the limits alone decide: " in capsys.readouterr().out
    reason = Registry(better).ledger.standing().entries[-1].decision.reason
    assert reason.startswith("no limit is missed, and the champion cannot be loaded: ")
    assert 'Missing key(s) in state_dict: "new"' in reason
