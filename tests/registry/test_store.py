"""Model versions: registered once, found by alias, whole when they come back, loadable by MLflow without a pickle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from rejoinder import checkpoints
from rejoinder.errors import CheckpointError, RegistryError
from rejoinder.evaluation import Evaluation
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry, Version, tracked_run
from rejoinder.registry.store import INPUT_EXAMPLE
from rejoinder.shards import Prepared
from rejoinder.training import TrainedRun

MakeRun = Callable[[int], TrainedRun]


@pytest.fixture
def run_id(recipe: Recipe, prepared: Prepared) -> str:
    """An MLflow run to register versions from."""
    with tracked_run(recipe, prepared, "run") as tracker:
        return tracker.run_id


def test_a_version_holds_what_was_trained_and_measured(
    recipe: Recipe, make_run: MakeRun, run_id: str, evaluation: Evaluation
) -> None:
    registry, run = Registry(recipe), make_run(1)
    version = registry.register(run, run_id, evaluation)
    directory = registry.download(registry.find("candidate"))
    ours, theirs = checkpoints.load(run.checkpoint), checkpoints.load(directory)
    assert str(version) == "models:/chat/1"
    assert all(torch.equal(a, b) for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True))
    assert theirs.recipe == recipe
    assert theirs.tokenizer.sha256 == ours.tokenizer.sha256
    assert theirs.progress.data_fingerprint == "0123456789abcdef"
    assert version.tags["metric.test_bits_per_byte"] == "1.5"
    assert version.run_id == run_id
    assert not (directory / checkpoints.OPTIMIZER).exists()


def test_what_is_measured_later_comes_to_the_versions_run_once(recipe: Recipe, run_id: str) -> None:
    registry, version = Registry(recipe), Version("chat", 1, run_id, {})
    client = MlflowClient(registry.uri)
    client.log_metric(run_id, "valid_loss", 2.75, step=9)  # of the training, which went on after its best step
    for chrf in (12.5, 12.5, 13.0):
        registry.record(version, Evaluation("valid", 10, {"valid_chrf": chrf, "valid_loss": 2.5}, []), 7)
    histories = [client.get_metric_history(run_id, name) for name in ("valid_chrf", "valid_loss")]
    assert [sorted((point.step, point.value) for point in of) for of in histories] == [
        [(7, 12.5), (7, 13.0)], [(7, 2.5), (9, 2.75)],
    ]  # fmt: skip
    client.delete_run(run_id)
    registry.record(version, Evaluation("valid", 10, {"valid_chrf": 14.0}, []), 7)  # a version outlives its run


def test_mlflow_knows_its_signature_and_an_input_example(
    recipe: Recipe, make_run: MakeRun, run_id: str, evaluation: Evaluation, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    registry = Registry(recipe)
    version = registry.register(make_run(1), run_id, evaluation)
    mlflow.set_tracking_uri(registry.uri)
    info = mlflow.models.get_model_info(str(version))
    assert "messages" in str(info.signature.inputs)
    assert info.saved_input_example_info is not None
    assert "Failed to run the predict function on input example" not in capfd.readouterr().err
    metrics = MlflowClient(registry.uri).get_run(run_id).data.metrics
    assert metrics["test_perplexity"] == 12.18


def test_mlflow_loads_and_runs_it_elsewhere_without_any_pickle_and_refuses_one_that_was_changed(
    recipe: Recipe, make_run: MakeRun, run_id: str, evaluation: Evaluation, tmp_path: Path
) -> None:
    registry = Registry(recipe)
    registry.register(make_run(1), run_id, evaluation)
    program = (
        "import mlflow, sys\n"
        "model = mlflow.pyfunc.load_model('models:/chat@candidate')\n"
        f"(reply,) = model.predict({INPUT_EXAMPLE!r})\n"
        "import rejoinder\n"
        "assert '/artifacts/' in rejoinder.__file__, rejoinder.__file__  # the code that the version brought\n"
        "print('REPLY', repr(reply))\n"
        "copy = mlflow.artifacts.download_artifacts('models:/chat@candidate', dst_path=sys.argv[1])\n"
        "open(f'{copy}/artifacts/documents/model_card.md', 'a').write('harmless')\n"
        "try:\n"
        "    mlflow.pyfunc.load_model(copy)\n"
        "except Exception as error:\n"
        "    print('REFUSED', error)\n"
    )
    environment = os.environ | {"MLFLOW_TRACKING_URI": registry.uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    environment.pop("PYTHONPATH", None)
    (tmp_path / "copy").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "copy")], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "REPLY" in done.stdout
    assert re.search(r"REFUSED .*model_card\.md: damaged", done.stdout), done.stdout
    pickles = [path for path in Path(recipe.storage.uri).rglob("*") if path.suffix in (".pkl", ".pickle", ".pt")]
    assert pickles == []


def test_the_same_checkpoint_is_registered_once_and_another_gets_the_next_number(
    recipe: Recipe, make_run: MakeRun, run_id: str, evaluation: Evaluation
) -> None:
    registry, first = Registry(recipe), make_run(1)
    numbers = [registry.register(run, run_id, evaluation).number for run in (first, first, make_run(2))]
    assert numbers == [1, 1, 2]
    assert registry.find("candidate").number == 2


def test_two_who_register_a_checkpoint_at_once_make_one_version_of_it(
    recipe: Recipe, make_run: MakeRun, run_id: str, evaluation: Evaluation
) -> None:
    run, registries = make_run(1), [Registry(recipe), Registry(recipe)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda registry: registry.register(run, run_id, evaluation), registries))
    assert found[0] == found[1]
    assert len(registries[0].versions()) == 1


def test_promotion_moves_the_champion(recipe: Recipe, make_run: MakeRun, run_id: str, evaluation: Evaluation) -> None:
    registry = Registry(recipe)
    for seed in (1, 2):
        registry.register(make_run(seed), run_id, evaluation)
    assert registry.promote(None).number == 2
    assert registry.promote(1).number == 1
    assert registry.find("champion").number == 1


def test_what_is_not_there_is_named_with_what_is(
    recipe: Recipe, make_run: MakeRun, run_id: str, evaluation: Evaluation
) -> None:
    registry = Registry(recipe)
    with pytest.raises(RegistryError, match=r"'chat' at sqlite.* has no alias 'champion'; nothing was registered yet"):
        registry.find("champion")
    registry.register(make_run(1), run_id, evaluation)
    with pytest.raises(RegistryError, match=r"its aliases are: candidate \(version 1\); run jobs/promote.py"):
        registry.find("champion")
    with pytest.raises(RegistryError, match="has no version 9"):
        registry.promote(9)


def test_a_download_that_was_damaged_is_not_used(
    recipe: Recipe, make_run: MakeRun, run_id: str, evaluation: Evaluation
) -> None:
    registry = Registry(recipe)
    version = registry.register(make_run(1), run_id, evaluation)
    weights = registry.download(version) / checkpoints.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: damaged"):
        registry.download(version)


def test_a_server_that_is_not_there_is_said_in_seconds(with_words: Callable[..., Recipe]) -> None:
    with pytest.raises(RegistryError, match=r"MLflow at http://127.0.0.1:9: .*is MLFLOW_TRACKING_URI right"):
        Registry(with_words("registry.tracking_uri=http://127.0.0.1:9"))


def test_two_processes_may_open_a_new_store_at_the_same_time(tmp_path: Path) -> None:
    # One by its default place, one by its address: it is the same file.
    place = f"storage.uri={tmp_path}"
    words = [place], [place, f"registry.tracking_uri=sqlite:///{tmp_path}/mlflow/mlflow.db"]
    program = (
        "from rejoinder.recipe import load_recipe\n"
        "from rejoinder.registry import Registry\n"
        "Registry(load_recipe('jobs/recipes/tiny.yaml', {}))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    both = [
        subprocess.Popen([sys.executable, "-c", program.format(of)], env=environment, stderr=subprocess.PIPE, text=True)
        for of in words
    ]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_a_store_that_the_environment_names_is_not_asked(
    recipe: Recipe, make_run: MakeRun, run_id: str, evaluation: Evaluation
) -> None:
    import mlflow

    version = Registry(recipe).register(make_run(1), run_id, evaluation)
    mlflow.set_tracking_uri("http://127.0.0.1:9")  # both also set the environment, which workers inherit
    mlflow.set_registry_uri("http://127.0.0.1:9")
    assert Registry(recipe).download(version).is_dir()
