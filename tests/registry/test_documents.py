"""What a version carries besides its weights: where it comes from, what it is, and hashes that notice any change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from rejoinder import checkpoints
from rejoinder.errors import CheckpointError, RegistryError
from rejoinder.evaluation import Estimate, Evaluation, Sample
from rejoinder.recipe import Recipe
from rejoinder.registry import Link, Registry, differences, documents, lineage, tracked_run
from rejoinder.registry.card import model_card
from rejoinder.shards import Prepared
from rejoinder.shards.manifest import CorpusFile
from rejoinder.storage import sha256_of
from rejoinder.training import TrainedRun

CHAIN = ["cleaning", "shards", "tokenizer", "recipe", "code", "lock file", "run", "checkpoint"]


def test_a_version_carries_its_documents_and_every_change_is_noticed(
    recipe: Recipe, make_run: Callable[[int], TrainedRun], prepared: Prepared, evaluation: Evaluation, tmp_path: Path
) -> None:
    run = make_run(1)
    page = run.checkpoint.with_name(f"{run.checkpoint.name}-evaluation-test.html")
    page.write_text("<html>the report</html>")
    page.with_suffix(".json").write_text(json.dumps({"key": "k"}))
    with tracked_run(recipe, prepared, run.name) as tracker:
        pass
    registry = Registry(recipe)
    version = registry.register(run, tracker.run_id, evaluation)

    folder = registry.documents(version)
    assert folder is not None
    assert {file.name for file in folder.iterdir()} == {
        "model_card.md", "lineage.json", "evaluation.json", "evaluation.html", "data_manifest.json",
        "requirements.lock", "files.json", "manifest.json",
    }  # fmt: skip
    assert [link.what for link in registry.chain(version)] == CHAIN
    of = {link.what: link for link in registry.chain(version)}
    assert of["checkpoint"].sha256 == sha256_of(run.checkpoint / checkpoints.WEIGHTS)
    assert of["shards"].name.startswith("0123456789abcdef")
    assert of["code"].name.startswith("git ") or of["code"].name == "not from a git checkout"
    assert tracker.run_id in of["run"].name
    assert registry.measured(version) is None  # nothing was counted of each exchange
    card = (folder / "model_card.md").read_text()
    assert mlflow.MlflowClient(registry.uri).get_model_version("chat", "1").description == card[:5000]

    found = Path(mlflow.artifacts.download_artifacts(str(version), dst_path=str(tmp_path / "whole")))
    documents.verify_version(found / "artifacts")
    code = found / "code" / "rejoinder" / "errors.py"
    code.write_text(code.read_text() + "\n")
    with pytest.raises(CheckpointError, match=r"code/rejoinder/errors\.py: damaged"):
        documents.verify_version(found / "artifacts")

    (folder / "model_card.md").write_text("harmless in every way")
    with pytest.raises(CheckpointError, match=r"model_card\.md: damaged"):
        registry.documents(version)
    manifest_anew(folder)
    with pytest.raises(CheckpointError, match=r"manifest\.json: damaged, the registry says another hash"):
        registry.documents(version)

    weights = registry.download(version) / checkpoints.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    manifest_anew(weights.parent)
    with pytest.raises(CheckpointError, match=r"manifest\.json: damaged, the registry says another hash"):
        registry.download(version)


def manifest_anew(directory: Path) -> None:
    """Whoever changes a file can change the hash beside it."""
    (directory / checkpoints.MANIFEST).unlink()
    checkpoints.write_manifest(directory)


def test_the_card_names_licences_figures_with_intervals_and_how_to_make_it_again(
    make_checkpoint: Callable[..., Path], make_recipe: Callable[..., Recipe], prepared: Prepared
) -> None:
    recipe = make_recipe("data.corpora=[chitchat, {name: pairs, path: mine.tsv}]")
    checkpoint = make_checkpoint(0, recipe)
    figures = {"bits_per_byte": Estimate(2.1, 2.0, 2.25), "chrf": Estimate(14.0, float("nan"), float("nan"))}
    measured = Evaluation("test", 500, {"test_bits_per_byte": 2.1}, [Sample("Hi!\nHello!", "How are you?", "Fine.")])
    card = model_card(
        checkpoint, [Link("shards", "0123, 3 files", "ab" * 32)], prepared.manifest, replace(measured, figures=figures)
    )
    assert "| MIT |" in card
    assert "| your own, read by `pairs` from mine.tsv | yours to know |" in card
    assert "| bits_per_byte | 2.1 | 2 to 2.25 |" in card
    assert "| chrf | 14 | – |" in card
    assert "model:  Fine." in card
    assert "python jobs/models.py reproduce" in card
    assert "| shards | 0123, 3 files | `abababababababab` |" in card
    assert "Swear words were not left out" in card


def test_a_recipe_is_the_same_wherever_it_is_kept_and_not_when_it_learns_otherwise(
    make_recipe: Callable[..., Recipe],
) -> None:
    here = lineage.recipe_sha256(make_recipe())
    assert lineage.recipe_sha256(make_recipe("storage.uri=elsewhere", "cluster.num_cpus=2", "registry.model=x")) == here
    assert lineage.recipe_sha256(make_recipe("training.seed=1")) != here
    assert lineage.recipe_sha256(make_recipe("decoding.temperature=0.5")) != here


def test_the_chain_begins_with_the_corpus_files_and_notices_what_differs(prepared: Prepared) -> None:
    file = CorpusFile(corpus=0, reader="pairs", file="mine.tsv", sha256="1" * 64)
    manifest = prepared.manifest.model_copy(update={"corpora": [file]})
    other = manifest.model_copy(update={"corpora": [file.model_copy(update={"sha256": "2" * 64})]})
    first, second = lineage.data_links(manifest), lineage.data_links(other)
    assert [link.what for link in first] == ["corpus file", "cleaning", "shards", "tokenizer"]
    (difference,) = differences(first, second)
    assert (difference.name, difference.first[0], difference.second[0]) == ("pairs: mine.tsv", "1", "2")
    assert differences(first, first) == []
    assert [of.what for of in differences(first, first[1:])] == ["corpus file"]
    assert lineage.from_json(lineage.to_json(first)) == first


def test_a_version_of_an_older_rejoinder_has_no_chain_and_says_so(recipe: Recipe) -> None:
    registry = Registry(recipe)
    client = mlflow.MlflowClient(registry.uri)
    client.create_registered_model("chat")
    client.create_model_version("chat", "somewhere", await_creation_for=0)
    with pytest.raises(RegistryError, match="older Rejoinder, which kept no chain; train and register it anew"):
        registry.chain(registry.find(1))


def test_the_nearest_versions_are_named(recipe: Recipe) -> None:
    registry = Registry(recipe)
    client = mlflow.MlflowClient(registry.uri)
    client.create_registered_model("chat")
    for _ in range(6):
        client.create_model_version("chat", "somewhere", await_creation_for=0)
    with pytest.raises(RegistryError, match=r"has no version 9; .*nearest of its 6 versions: 4, 5, 6; `python jobs"):
        registry.find(9)
