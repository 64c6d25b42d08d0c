"""Checkpoints in, model versions with aliases out; and back to a directory that can be served."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from rejoinder import checkpoints, cluster
from rejoinder.errors import RegistryError
from rejoinder.evaluation import Evaluation
from rejoinder.recipe import Recipe
from rejoinder.registry.connection import open_client, store_errors, suppress_existing, tracking_uri
from rejoinder.registry.versions import Version
from rejoinder.storage import Storage, locked, sha256_of, written_whole
from rejoinder.training import TrainedRun

CHECKPOINT_TAG = "rejoinder.checkpoint"
CHECKPOINT_ARTIFACT = "checkpoint"
PYFUNC_MODEL = Path(__file__).with_name("pyfunc_model.py")
INPUT_EXAMPLE = [{"messages": [{"role": "user", "content": "Hello, how are you?"}]}]


class Registry:
    """The registered model of a recipe: its versions and aliases."""

    def __init__(self, recipe: Recipe) -> None:
        """Raises RegistryError when the store cannot be reached."""
        self._recipe = recipe
        self._model = recipe.registry.model
        self._uri = tracking_uri(recipe)
        self._client = open_client(recipe)
        # What has no argument for it goes by these: a process's environment may name another store.
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)

    @property
    def uri(self) -> str:
        """Where the store is: what `mlflow ui --backend-store-uri` takes."""
        return self._uri

    def register(self, run: TrainedRun, run_id: str, evaluation: Evaluation) -> Version:
        """A version of the run's best checkpoint, alias `candidate`; the one there is if it was registered before.

        The metrics of the evaluation are logged to the run and copied into the version's tags.
        """
        fingerprint = sha256_of(run.checkpoint / checkpoints.MANIFEST)
        with store_errors(self._uri):
            found = self._of_checkpoint(fingerprint) or self._add(run, run_id, evaluation, fingerprint)
            self._client.set_registered_model_alias(self._model, "candidate", str(found.number))
        return found

    def promote(self, number: int | None, alias: str = "champion") -> Version:
        """Moves an alias to a version, by default to the candidate. Raises RegistryError when there is none."""
        found = self.find("candidate" if number is None else number)
        with store_errors(self._uri):
            self._client.set_registered_model_alias(self._model, alias, str(found.number))
        return found

    def find(self, which: str | int) -> Version:
        """A version by its number or by an alias. RegistryError names the aliases there are."""
        try:
            if isinstance(which, int):
                found = self._client.get_model_version(self._model, str(which))
            else:
                found = self._client.get_model_version_by_alias(self._model, which)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise RegistryError(f"MLflow at {self._uri}: {error.message}") from error
            name = f"version {which}" if isinstance(which, int) else f"alias {which!r}"
            raise RegistryError(
                f"the registered model {self._model!r} at {self._uri} has no {name}; {self._what_there_is()}"
            ) from None
        return _version(found)

    def download(self, wanted: Version) -> Path:
        """The version's checkpoint as a local directory, every file compared with its sha256.

        Kept under storage.uri, so that a second replica of the same machine finds it.
        """
        fingerprint = wanted.tags.get(CHECKPOINT_TAG, f"version-{wanted.number}")
        directory = Storage(self._recipe).models / fingerprint[:16]
        with locked(directory, f"downloading {wanted}", wait_s=600):
            if not directory.exists():
                with (
                    store_errors(self._uri),
                    written_whole(directory) as partial,
                    tempfile.TemporaryDirectory() as scratch,
                ):
                    found = mlflow.artifacts.download_artifacts(str(wanted), dst_path=scratch, tracking_uri=self._uri)
                    for file in (Path(found) / "artifacts" / CHECKPOINT_ARTIFACT).iterdir():
                        (partial / file.name).write_bytes(file.read_bytes())
        checkpoints.verify(directory)
        return directory

    def _of_checkpoint(self, fingerprint: str) -> Version | None:
        query = f"name = '{self._model}' AND tags.`{CHECKPOINT_TAG}` = '{fingerprint}'"
        found = self._client.search_model_versions(query, max_results=1)
        return _version(found[0]) if found else None

    def _add(self, run: TrainedRun, run_id: str, evaluation: Evaluation, fingerprint: str) -> Version:
        self._client.log_dict(run_id, {"metrics": evaluation.metrics, "split": evaluation.split}, "evaluation.json")
        for name, value in evaluation.metrics.items():
            self._client.log_metric(run_id, name, value, step=checkpoints.read_progress(run.checkpoint).step)
        with tempfile.TemporaryDirectory() as scratch:
            exported = Path(scratch) / CHECKPOINT_ARTIFACT
            checkpoints.export(run.checkpoint, exported)
            with mlflow.start_run(run_id=run_id):
                logged = mlflow.pyfunc.log_model(
                    name=self._model,
                    python_model=str(PYFUNC_MODEL),  # models from code: no pickle; its type hints are the signature
                    artifacts={CHECKPOINT_ARTIFACT: str(exported)},
                    code_paths=[str(cluster.CHECKOUT / "platform" / "rejoinder")],
                    pip_requirements=_requirements(),
                    input_example=INPUT_EXAMPLE,
                )
        with suppress_existing():
            self._client.create_registered_model(self._model)
        # One call with all tags: a version is never there without its checkpoint's hash.
        tags = {
            CHECKPOINT_TAG: fingerprint,
            "rejoinder.run": run.name,
            **_metric_tags(run.metrics | evaluation.metrics),
        }
        return _version(
            self._client.create_model_version(
                self._model,
                logged.model_uri,
                run_id,
                tags=tags,
                model_id=logged.model_id,
                description=f"{self._recipe.model.name} trained by the recipe {self._recipe.name!r}",
            )
        )

    def _what_there_is(self) -> str:
        try:
            aliases = self._client.get_registered_model(self._model).aliases
        except MlflowException:
            return "nothing was registered yet: run jobs/train.py first"
        listed = ", ".join(f"{alias} (version {number})" for alias, number in sorted(aliases.items()))
        return f"its aliases are: {listed or 'none'}; run jobs/promote.py to make a champion"


def _version(found: mlflow.entities.model_registry.ModelVersion) -> Version:
    return Version(found.name, int(found.version), found.run_id or "", dict(found.tags))


def _metric_tags(metrics: dict[str, float]) -> dict[str, str]:
    return {f"metric.{name}": f"{value:.6g}" for name, value in metrics.items()}


def _requirements() -> list[str]:
    """What it takes to load the model: our dependencies, in the versions it was made with."""
    packages = ("torch", "ray", "pyarrow", "tokenizers", "safetensors", "pydantic", "PyYAML", "rich", "numpy")
    return [f"{package}=={version(package).split('+')[0]}" for package in packages]
