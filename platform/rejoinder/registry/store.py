"""Checkpoints in, model versions with aliases out; and back to a directory that can be served."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.exceptions import MlflowException

from rejoinder import checkpoints
from rejoinder.errors import CheckpointError, RegistryError
from rejoinder.evaluation import Evaluation, PerExchange
from rejoinder.recipe import Recipe
from rejoinder.registry import documents
from rejoinder.registry.connection import (
    open_client,
    store_errors,
    suppress_existing,
    suppress_missing,
    tracking_uri,
)
from rejoinder.registry.ledger import Decision, Ledger, Standing
from rejoinder.registry.lineage import Link
from rejoinder.registry.origin import origin_of
from rejoinder.registry.versions import Version
from rejoinder.storage import Storage, locked, sha256_of, written_whole

if TYPE_CHECKING:  # a replica, which registers nothing, starts faster without Ray Train
    from rejoinder.training import TrainedRun

CHECKPOINT_TAG, DOCUMENTS_TAG, EXPORTED_TAG = "rejoinder.checkpoint", "rejoinder.documents", "rejoinder.exported"
PYFUNC_MODEL = Path(__file__).with_name("pyfunc_model.py")
INPUT_EXAMPLE = [{"messages": [{"role": "user", "content": "Hello, how are you?"}]}]
_MAX_DESCRIPTION_CHARACTERS = 5000
_NUM_NEAREST = 3


class Registry:
    """The registered model of a recipe: its versions, its aliases and the ledger of who moved them."""

    def __init__(self, recipe: Recipe) -> None:
        """Raises RegistryError when the store cannot be reached."""
        self._recipe = recipe
        self._model = recipe.registry.model
        self._uri = tracking_uri(recipe)
        self._client = open_client(recipe)
        self.ledger = Ledger(self._client, self._uri, self._model)
        # What has no argument for it goes by these: a process's environment may name another store.
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)

    @property
    def uri(self) -> str:
        """Where the store is: what `mlflow ui --backend-store-uri` takes."""
        return self._uri

    def register(self, run: TrainedRun, run_id: str, evaluation: Evaluation) -> Version:
        """A version of the run's best checkpoint, alias `candidate`; the one there is if it was registered before.

        The metrics of the evaluation are logged to the run; those that the gate looks at become tags of the version,
        which MLflow's list of versions shows.
        """
        fingerprint = sha256_of(run.checkpoint / checkpoints.MANIFEST)
        place = Storage(self._recipe).models / f"{fingerprint[:16]}-registering"
        with locked(place, f"registering {run.name}", wait_s=600), store_errors(self._uri):
            found = self._of_checkpoint(fingerprint) or self._add(run, run_id, evaluation, fingerprint)
            self._client.set_registered_model_alias(self._model, "candidate", str(found.number))
        return found

    def record(self, of: Version, evaluation: Evaluation, step: int) -> None:
        """Logs what was measured of a version to the run that it is from; what stands there already is not repeated."""
        with store_errors(self._uri), suppress_missing():  # a run that somebody deleted
            known = self._client.get_run(of.run_id).data.metrics  # each of its last step alone
            for name, value in evaluation.metrics.items():
                if known.get(name) == value:
                    continue
                points = self._client.get_metric_history(of.run_id, name)
                if (step, value) not in [(point.step, point.value) for point in points]:
                    self._client.log_metric(of.run_id, name, value, step=step)

    def promote(
        self, number: int | None, alias: str = "champion", reason: str = "asked for without the gate"
    ) -> Version:
        """Moves an alias to a version, by default to the candidate, and says so in the ledger. Asks no gate.

        Raises RegistryError when there is no such version, or when somebody else moves the alias at the same time.
        """
        found, holder = self.find("candidate" if number is None else number), self.holder(alias)
        self.decide(Decision("promoted", alias, found.number, holder, reason))
        return found

    def decide(self, decision: Decision) -> Decision:
        """Writes a decision into the ledger and lets the alias follow it.

        Raises RegistryError when the alias does not point at `decision.replaces` any more: of two who decide on the
        same grounds one wins, and the other is told by whom.
        """

        def still_holds(standing: Standing) -> Decision:
            holder = standing.holder(decision.alias)
            if holder == decision.replaces:
                return decision
            last = next(entry.decision for entry in reversed(standing.entries) if entry.decision.version == holder)
            raise RegistryError(
                f"{decision.alias!r} went to version {holder} meanwhile ({last.action} by {last.who} at {last.when}); "
                "nothing was changed: run the command again to compare with that one"
            )

        written = self.ledger.append(still_holds)
        self.ledger.settle(decision.alias)
        return written

    def holder(self, alias: str) -> int | None:
        """The version that an alias points at by the ledger; None where it never pointed anywhere.

        An alias that was set before there was a ledger is taken over; one that was moved by hand, or whose promotion
        was killed half-way, is put right.
        """
        standing = self.ledger.standing()
        if standing.holder(alias) is None and (pointed_at := self.ledger.pointed_at(alias)) is not None:
            found = Decision("found", alias, pointed_at, None, "was set before there was a ledger")
            self.ledger.append(lambda now: found)
            standing = self.ledger.standing()
        self.ledger.settle(alias)
        return standing.holder(alias)

    def aliases(self) -> dict[str, int]:
        """Where each alias points."""
        try:
            found = self._client.get_registered_model(self._model).aliases
        except MlflowException:
            return {}
        return {alias: int(number) for alias, number in sorted(found.items())}

    def versions(self) -> list[Version]:
        """All of them, the newest first."""
        found, token = list[Version](), None
        with store_errors(self._uri):
            while True:
                page = self._client.search_model_versions(f"name = '{self._model}'", max_results=200, page_token=token)
                found += [_version(version) for version in page]
                token = page.token
                if not token:
                    return sorted(found, key=lambda version: -version.number)

    def find(self, which: str | int) -> Version:
        """A version by its number or by an alias. RegistryError names the aliases there are, or the nearest numbers."""
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
                f"the registered model {self._model!r} at {self._uri} has no {name}; {self._what_there_is(which)}"
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
                self._fetch(wanted, directory)
        checkpoints.verify(directory)
        _require_tagged(directory, wanted, EXPORTED_TAG)
        return directory

    def documents(self, wanted: Version) -> Path | None:
        """The version's documents (docs/registry.md) as a local directory, each compared with its sha256.

        None for a version that was registered without.
        """
        if DOCUMENTS_TAG not in wanted.tags:
            return None
        directory = self.download(wanted)
        folder = directory.with_name(directory.name + "-documents")
        with locked(directory, f"downloading {wanted}", wait_s=600):
            if not folder.exists():
                shutil.rmtree(directory)
                self._fetch(wanted, directory)
        checkpoints.verify(folder)
        _require_tagged(folder, wanted, DOCUMENTS_TAG)
        return folder

    def chain(self, version: Version) -> list[Link]:
        """Where a version comes from, link by link. RegistryError for one that was registered without documents."""
        folder = self.documents(version)
        if folder is None:
            raise RegistryError(
                f"{version} was registered by an older Rejoinder, which kept no chain; train and register it anew"
            )
        return documents.read_links(folder)

    def measured(self, version: Version) -> tuple[Evaluation, PerExchange] | None:
        """What was measured of a version when it was registered; None where too little was kept to be compared."""
        folder = self.documents(version)
        return documents.read_evaluation(folder) if folder else None

    def _fetch(self, wanted: Version, directory: Path) -> None:
        with store_errors(self._uri), tempfile.TemporaryDirectory() as scratch:
            # Not the code, which only MLflow runs, and compares when it does.
            found = mlflow.artifacts.download_artifacts(f"{wanted}/artifacts", dst_path=scratch, tracking_uri=self._uri)
            artifacts = Path(found)
            if DOCUMENTS_TAG in wanted.tags:
                checkpoints.verify(artifacts / documents.FOLDER)
                folder = directory.with_name(directory.name + "-documents")
                shutil.rmtree(folder, ignore_errors=True)
                _copy(artifacts / documents.FOLDER, folder)
            _copy(artifacts / documents.CHECKPOINT_FOLDER, directory)

    def _of_checkpoint(self, fingerprint: str) -> Version | None:
        query = f"name = '{self._model}' AND tags.`{CHECKPOINT_TAG}` = '{fingerprint}'"
        found = self._client.search_model_versions(query, max_results=1)
        return _version(found[0]) if found else None

    def _add(self, run: TrainedRun, run_id: str, evaluation: Evaluation, fingerprint: str) -> Version:
        self._client.log_dict(run_id, {"metrics": evaluation.metrics, "split": evaluation.split}, "evaluation.json")
        for name, value in evaluation.metrics.items():
            self._client.log_metric(run_id, name, value, step=checkpoints.read_progress(run.checkpoint).step)
        beside = documents.beside(Storage(self._recipe).holding(run.checkpoint.parent), run.checkpoint, evaluation)
        with tempfile.TemporaryDirectory() as scratch:
            # Laid out as MLflow will: it tries the example on these very files, which are checked when they are loaded.
            artifacts, code = Path(scratch) / "artifacts", Path(scratch) / documents.CODE_FOLDER
            artifacts.mkdir()
            exported, folder = artifacts / documents.CHECKPOINT_FOLDER, artifacts / documents.FOLDER
            checkpoints.export(run.checkpoint, exported)
            documents.copy_code(code)
            origin = origin_of(self._client, self._uri, run_id, run.name)
            described = documents.write(folder, exported, code, origin, evaluation, beside)
            with mlflow.start_run(run_id=run_id):
                logged = mlflow.pyfunc.log_model(
                    name=self._model,
                    python_model=str(PYFUNC_MODEL),  # models from code: no pickle; its type hints are the signature
                    artifacts={documents.CHECKPOINT_FOLDER: str(exported), documents.FOLDER: str(folder)},
                    code_paths=[str(code)],
                    pip_requirements=_requirements(self._recipe),
                    input_example=INPUT_EXAMPLE,
                )
            card = (folder / documents.CARD).read_text(encoding="utf-8")
            hashes = {DOCUMENTS_TAG: described, EXPORTED_TAG: sha256_of(exported / checkpoints.MANIFEST)}
        with suppress_existing():
            self._client.create_registered_model(self._model)
        # One call with all tags: a version is never there without its hashes.
        tags = {
            CHECKPOINT_TAG: fingerprint,
            **hashes,
            "rejoinder.run": run.name,
            **self._metric_tags(run.metrics, evaluation),
        }
        return _version(
            self._client.create_model_version(
                self._model,
                logged.model_uri,
                run_id,
                tags=tags,
                model_id=logged.model_id,
                description=card[:_MAX_DESCRIPTION_CHARACTERS],
            )
        )

    def _metric_tags(self, of_training: dict[str, float], evaluation: Evaluation) -> dict[str, str]:
        gate, split = self._recipe.registry.gate, evaluation.split
        figures = dict.fromkeys(["bits_per_byte", "perplexity", *gate.must_be_better, *gate.tolerated])
        measured = of_training | evaluation.metrics
        shown = ["valid_loss", *(f"{split}_{figure}" for figure in figures)]
        return {f"metric.{name}": f"{measured[name]:.6g}" for name in shown if name in measured}

    def _what_there_is(self, which: str | int) -> str:
        numbers = [version.number for version in self.versions()]
        if not numbers:
            return "nothing was registered yet: run jobs/train.py first"
        listed = ", ".join(f"{alias} (version {number})" for alias, number in self.aliases().items())
        if not isinstance(which, int):
            return f"its aliases are: {listed or 'none'}; run jobs/promote.py to make a champion"
        nearest = sorted(sorted(numbers, key=lambda number: abs(number - which))[:_NUM_NEAREST])
        there_are = f"the nearest of its {len(numbers)} versions: {', '.join(map(str, nearest))}"
        return f"its aliases are: {listed or 'none'}; {there_are}; `python jobs/models.py list` shows all"


def _version(found: mlflow.entities.model_registry.ModelVersion) -> Version:
    created_s = (found.creation_timestamp or 0) / 1000
    return Version(found.name, int(found.version), found.run_id or "", dict(found.tags), created_s)


def _require_tagged(directory: Path, of: Version, tag: str) -> None:
    """A manifest that was changed together with its files would vouch for them: the store's tag is of another hand."""
    expected = of.tags.get(tag)
    if expected is not None and sha256_of(directory / checkpoints.MANIFEST) != expected:
        raise CheckpointError(
            f"{directory / checkpoints.MANIFEST}: damaged, the registry says another hash of {of}; delete "
            f"{directory} to download it again"
        )


def _copy(source: Path, target: Path) -> None:
    with written_whole(target) as partial:
        for file in source.iterdir():
            shutil.copyfile(file, partial / file.name)


def _requirements(recipe: Recipe) -> list[str]:
    """What it takes to load the model: our dependencies, in the versions it was made with."""
    packages = ["torch", "ray", "pyarrow", "tokenizers", "safetensors", "pydantic", "PyYAML", "rich", "numpy"]
    packages += ["ftfy", "py3langid", "glin-profanity"]  # a recipe's cleaning and filters
    packages += ["transformers", "peft"] if recipe.model.name == "pretrained" else []
    found = []
    for package in packages:
        try:
            found.append(f"{package}=={version(package).split('+')[0]}")
        except PackageNotFoundError:
            continue
    return found
