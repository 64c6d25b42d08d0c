"""Model, optimizer, tokenizer, recipe and progress in, one directory out; and back. No pickle anywhere.

    step_00000250/
      weights.safetensors     the model
      optimizer.safetensors   the optimizer's state (not in an exported model)
      tokenizer.json · recipe.yaml · progress.json
      manifest.json           size and sha256 of each file

A directory is filled under another name and renamed when its files are on the disk, and every sha256 is compared when
it is read: half-written or damaged never passes for whole.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor
from torch.optim import Optimizer

from rejoinder.batches import Position
from rejoinder.errors import CheckpointError
from rejoinder.models import Seq2Seq, build_model
from rejoinder.recipe import Recipe, validate
from rejoinder.storage import Folder, sha256_of, written_whole
from rejoinder.text import Tokenizer

FORMAT = 1
WEIGHTS, OPTIMIZER, TOKENIZER = "weights.safetensors", "optimizer.safetensors", "tokenizer.json"
RECIPE, PROGRESS, MANIFEST = "recipe.yaml", "progress.json", "manifest.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a training run has come."""

    step: int
    """Optimizer updates made."""
    position: Position
    """Where in the data the next step reads."""
    data_fingerprint: str
    """The prepared set that it learnt from."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What was last measured on the validation split."""


_PROGRESS = TypeAdapter(Progress)


@dataclass(frozen=True)
class Trained:
    """A model ready to use, with all that it needs to be used."""

    model: Seq2Seq
    tokenizer: Tokenizer
    recipe: Recipe
    progress: Progress
    sha256: str
    """Hash of the manifest, and through it of every file."""


def save(
    directory: Path, model: Seq2Seq, optimizer: Optimizer, tokenizer_json: str, recipe: Recipe, progress: Progress
) -> None:
    """Writes one checkpoint, whole or not at all. Raises StorageError when the disk is full."""
    with written_whole(directory) as partial:
        (partial / WEIGHTS).write_bytes(tensors_to_bytes(_contiguous(model.state_dict())))
        (partial / OPTIMIZER).write_bytes(tensors_to_bytes(_contiguous(_optimizer_tensors(optimizer))))
        (partial / TOKENIZER).write_text(tokenizer_json, encoding="utf-8")
        (partial / RECIPE).write_text(recipe.to_yaml(), encoding="utf-8")
        (partial / PROGRESS).write_bytes(_PROGRESS.dump_json(progress, indent=1))
        _write_manifest(partial)


def export(checkpoint: Path, target: Path) -> None:
    """The checkpoint without what only training needs: what is registered and served."""
    verify(checkpoint)
    with written_whole(target) as partial:
        for name in (WEIGHTS, TOKENIZER, RECIPE, PROGRESS):
            shutil.copyfile(checkpoint / name, partial / name)
        _write_manifest(partial)


def load(directory: Path, device: torch.device | str = "cpu") -> Trained:
    """The model of a checkpoint, in evaluation mode. Raises CheckpointError naming what is missing or damaged."""
    verify(directory)
    recipe = read_recipe(directory)
    tokenizer = Tokenizer.load(directory / TOKENIZER)
    model = build_model(recipe, tokenizer.num_ids)
    load_weights(directory, model)
    return Trained(
        model.to(device).eval(), tokenizer, recipe, read_progress(directory), sha256_of(directory / MANIFEST)
    )


def load_weights(directory: Path, model: Seq2Seq) -> None:
    """Fills a model with a checkpoint's weights. Raises CheckpointError when they are of another architecture."""
    weights = _read_tensors(directory / WEIGHTS)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).split("\n")[1].strip()
        raise CheckpointError(
            f"{directory}: its weights are not those of this recipe's model ({first}); use the recipe inside the "
            "checkpoint, or train anew"
        ) from None


def load_optimizer(directory: Path, optimizer: Optimizer) -> None:
    """Fills an optimizer with a checkpoint's state."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _read_tensors(directory / OPTIMIZER).items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def read_recipe(directory: Path) -> Recipe:
    """The recipe that the checkpoint was trained with."""
    try:
        return validate(yaml.safe_load((directory / RECIPE).read_text(encoding="utf-8")), str(directory / RECIPE))
    except OSError as error:
        raise CheckpointError(f"{directory / RECIPE}: cannot be read: {error.strerror}") from None


def read_progress(directory: Path) -> Progress:
    """How far the training had come."""
    try:
        return _PROGRESS.validate_json((directory / PROGRESS).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory / PROGRESS}: cannot be read: {error}") from None


def verify(directory: Path) -> None:
    """Compares every file with the manifest. Raises CheckpointError naming the first that differs."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        files, format = manifest["files"], manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{directory}: not a whole checkpoint, its {MANIFEST} cannot be read ({error})") from None
    if format != FORMAT:
        raise CheckpointError(f"{directory}: checkpoint format {format}, this version reads {FORMAT}")
    for name, expected in files.items():
        file = directory / name
        if not file.exists() or sha256_of(file) != expected["sha256"]:
            state = "damaged" if file.exists() else "missing"
            raise CheckpointError(f"{file}: {state}; take another checkpoint")


def fetched(folder: Folder) -> Path:
    """The checkpoint of a folder as a directory of this machine, verified; brought here where it is far.

    Raises CheckpointError naming what is missing or damaged.
    """
    with suppress(ValueError, KeyError, TypeError):  # a manifest that is missing or damaged: `verify` says it
        files = json.loads(folder.read_text(MANIFEST) or "{}")["files"]
        folder.fetch({name: file["sha256"] for name, file in files.items()})
    verify(folder.directory)
    return folder.directory


class CheckpointStore:
    """A run's checkpoints: the last one to go on from and the best one to use are kept, others are deleted.

    Which is which follows from what the checkpoints say of themselves; there is no pointer that could be wrong.
    Where they are kept at an address, that is where they count: they are uploaded in the background, one at a time.
    """

    def __init__(self, place: Path | Folder) -> None:
        self.folder = place if isinstance(place, Folder) else Folder(place)
        self._uploads = ThreadPoolExecutor(1, "upload")
        self._upload: Future[None] | None = None

    @property
    def directory(self) -> Path:
        """Where this machine has them."""
        return self.folder.directory

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step stands."""
        return self.directory / f"step_{step:08d}"

    def last(self) -> Path | None:
        """The newest checkpoint that is whole. A damaged one is passed over, and said loudly."""
        return self._first_whole(sorted(self._names(), reverse=True))

    def best(self) -> Path | None:
        """The one with the lowest validation loss that is whole."""
        measured = [(loss, name) for name in self._names() if (loss := self._valid_loss(name)) is not None]
        return self._first_whole(name for _, name in sorted(measured))

    def fetched(self, name: str) -> Path:
        """The checkpoint of this name as a directory of this machine. Raises CheckpointError where it is not whole."""
        return fetched(self.folder / name)

    def keep(self, step: int) -> None:
        """Takes in what was saved at `path(step)`, and deletes all but the last two and the best.

        An upload goes on while the caller does: this waits for the one before it, and raises the StorageError of one
        that failed. `close` waits for the last.
        """
        self.close()
        self._upload = self._uploads.submit(self._keep, self.path(step).name)

    def close(self) -> None:
        """Waits until all that was taken in is kept. Raises StorageError when it could not be."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.result()

    def prune(self) -> None:
        """Deletes all but the last two (one of them may turn out damaged) and the best."""
        names = sorted(self._names())
        best = self.best()
        for name in names[:-2]:
            if best is None or name != best.name:
                self.folder.remove(name)

    def clear(self) -> None:
        """Deletes every checkpoint."""
        self.folder.remove()

    def _keep(self, name: str) -> None:
        self.folder.publish(name, last=f"{name}/{MANIFEST}")
        self.prune()

    def _first_whole(self, names: Iterable[str]) -> Path | None:
        for name in names:
            try:
                return self.fetched(name)
            except CheckpointError as error:
                log.warning("passing over %s", error)
        return None

    def _names(self) -> set[str]:
        names = {name.split("/", 1)[0] for name in self.folder.sizes()}
        return {name for name in names if name.startswith("step_") and not name.endswith((".partial", ".json"))}

    def _valid_loss(self, name: str) -> float | None:
        try:
            text = (self.folder / name).read_text(PROGRESS)
            return None if text is None else _PROGRESS.validate_json(text).metrics.get("valid_loss")
        except ValueError:
            return None


def _write_manifest(directory: Path) -> None:
    files = {
        file.name: {"sha256": sha256_of(file), "size_bytes": file.stat().st_size}
        for file in sorted(directory.iterdir())
    }
    (directory / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1), encoding="utf-8")


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_tensors(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}") from None


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    states: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": torch.as_tensor(value) for number, state in states.items() for key, value in state.items()
    }


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
