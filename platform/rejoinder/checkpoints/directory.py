"""Model, optimizer, tokenizer, recipe and progress in, one directory out; and back. No pickle anywhere.

    step_00000250/
      weights.safetensors     the model, as it was validated
      last.safetensors        the weights to train on with, where those above are their average
      optimizer.safetensors   the optimizer's state (these two not in an exported model)
      tokenizer.json · recipe.yaml · progress.json
      manifest.json           size and sha256 of each file

A directory is filled under another name and renamed when its files are on the disk, and every sha256 is compared when
it is read: half-written or damaged never passes for whole.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from pydantic import ConfigDict, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor
from torch.optim import Optimizer

from rejoinder.batches import Position
from rejoinder.checkpoints.shares import gathered, is_share, share_of
from rejoinder.errors import CheckpointError, StorageError
from rejoinder.models import Seq2Seq, build_for_use, merged
from rejoinder.optimizers import Averaged, lent
from rejoinder.recipe import OF_DRAWS, DecodingSection, Recipe, validate
from rejoinder.storage import Folder, sha256_of, written_whole
from rejoinder.text import Tokenizer

FORMAT = 1
WEIGHTS, LAST_WEIGHTS, OPTIMIZER = "weights.safetensors", "last.safetensors", "optimizer.safetensors"
TOKENIZER = "tokenizer.json"
RECIPE, PROGRESS, MANIFEST = "recipe.yaml", "progress.json", "manifest.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a training run has come."""

    # A perplexity may be inf: by default it would be written as null, which no float is read from.
    __pydantic_config__: ClassVar = ConfigDict(ser_json_inf_nan="constants")

    step: int
    """Optimizer updates made."""
    position: Position
    """Where in the data the next step reads."""
    data_fingerprint: str
    """The prepared set that it learnt from."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What was measured on the validation split after this step; empty where nothing was."""
    validation_losses: list[float] = field(default_factory=list)
    """In nats per token, of all validations so far."""
    is_over: bool = False
    """The training ended here, before its last step."""
    loss_scale: float | None = None
    """The factor of fp16's loss."""


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
    directory: Path, model: Seq2Seq, optimizer: Optimizer, tokenizer_json: str, recipe: Recipe, progress: Progress,
    averaged: Averaged | None = None, writes: bool = True,
) -> None:  # fmt: skip
    """Writes one checkpoint, whole or not at all. Raises StorageError when the disk is full.

    `averaged` are the weights to use where they are not the last ones. Where each rank has a share of the tensors, all
    ranks call this, and one of them `writes`.
    """
    with lent(averaged):
        weights = gathered(model.state_dict())
        if averaged:  # they are only lent
            weights = {name: tensor.clone() for name, tensor in weights.items()}
    last = gathered(model.state_dict()) if averaged else None
    state = gathered(_optimizer_tensors(optimizer))
    if not writes:
        return
    contents = {
        WEIGHTS: tensors_to_bytes(weights),
        OPTIMIZER: tensors_to_bytes(state),
        TOKENIZER: tokenizer_json.encode(),
        RECIPE: recipe.to_yaml().encode(),
        PROGRESS: _PROGRESS.dump_json(progress, indent=1),
    } | ({LAST_WEIGHTS: tensors_to_bytes(last)} if last is not None else {})
    _write_patiently(directory, contents, recipe.storage.retry_s)


def _write_patiently(directory: Path, contents: dict[str, bytes], retry_s: float) -> None:
    """A disk that is full or a mount that is away for less than this does not end a training of days."""
    started, pause_s = time.monotonic(), 0.5
    while True:
        try:
            with written_whole(directory) as partial:
                for name, content in contents.items():
                    (partial / name).write_bytes(content)
                write_manifest(partial)
            return
        except (OSError, StorageError) as error:
            said = str(error) if isinstance(error, StorageError) else f"{directory}: cannot be written: {error}"
            if time.monotonic() - started + pause_s > retry_s:
                raise StorageError(said) from error
            log.warning("%s; trying again for storage.retry_s = %g s", said, retry_s)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 10.0)


def export(checkpoint: Path, target: Path) -> None:
    """The checkpoint without what only training needs: what is registered and served. LoRA's matrices are merged."""
    verify(checkpoint)
    weights = _read_tensors(checkpoint / WEIGHTS)
    for_use = merged(read_recipe(checkpoint), weights)
    with written_whole(target) as partial:
        for name in (WEIGHTS, TOKENIZER, RECIPE, PROGRESS):
            if name == WEIGHTS and for_use is not weights:
                (partial / name).write_bytes(tensors_to_bytes(for_use))
            else:
                shutil.copyfile(checkpoint / name, partial / name)
        write_manifest(partial)


def load(directory: Path, device: torch.device | str = "cpu") -> Trained:
    """The model of a checkpoint, in evaluation mode, to be used and not trained: LoRA's matrices are merged.

    Raises CheckpointError naming what is missing or damaged.
    """
    verify(directory)
    recipe = read_recipe(directory)
    tokenizer = Tokenizer.load(directory / TOKENIZER)
    model = build_for_use(recipe, tokenizer.num_ids)
    _fill(directory, model, merged(recipe, _read_tensors(directory / WEIGHTS)))
    return Trained(
        model.to(device).eval(), tokenizer, recipe, read_progress(directory), sha256_of(directory / MANIFEST)
    )


def load_weights(directory: Path, model: Seq2Seq, name: str = WEIGHTS) -> None:
    """Fills a model that is trained. Raises CheckpointError when the weights are of another architecture."""
    _fill(directory, model, _read_tensors(directory / name))


def _fill(directory: Path, model: Seq2Seq, weights: dict[str, Tensor]) -> None:
    for key, own in model.state_dict().items():
        if is_share(own) and key in weights:
            weights[key] = share_of(weights[key], own)
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
    own = [weight for group in optimizer.param_groups for weight in group["params"]]
    for name, tensor in _read_tensors(directory / OPTIMIZER).items():
        number, key = name.split(".", 1)
        like = own[int(number)]
        own_share = is_share(like) and tensor.shape == like.shape
        state.setdefault(int(number), {})[key] = share_of(tensor, like) if own_share else tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def read_recipe(directory: Path) -> Recipe:
    """The recipe that the checkpoint was trained with.

    An older one may narrow draws beside beams, which is refused since and was never of use: that is off here.
    """
    try:
        tree = yaml.safe_load((directory / RECIPE).read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{directory / RECIPE}: cannot be read: {error.strerror}") from None
    decoding = tree.get("decoding") if isinstance(tree, dict) else None
    if isinstance(decoding, dict) and decoding.get("num_beams", 1) != 1:
        defaults = {name: DecodingSection.model_fields[name].default for name in OF_DRAWS}
        decoding |= {
            name: off for name, off in OF_DRAWS.items() if decoding.get(name, defaults[name]) != defaults[name]
        }
    return validate(tree, str(directory / RECIPE))


def require_decoding(directory: Path, decoding: DecodingSection, name: str | None = None) -> None:
    """Raises RecipeError, in the words of a recipe, with all that keeps this checkpoint's model from such replies.

    `name` is what the checkpoint is called; it may have learnt with another recipe than the one that says how to reply.
    """
    trained = read_recipe(directory).model_dump(mode="json", warnings=False)  # of [1, 4] workers, a list as JSON
    validate(trained | {"decoding": decoding.model_dump(mode="json")}, f"replies of {name or directory}")


def read_progress(directory: Path) -> Progress:
    """How far the training had come."""
    try:
        return progress_of((directory / PROGRESS).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory / PROGRESS}: cannot be read: {error}") from None


def progress_of(text: str | bytes) -> Progress:
    """What progress.json says. Raises ValueError for anything else."""
    return _PROGRESS.validate_json(text)


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


def write_manifest(directory: Path) -> None:
    """The sha256 of every file of a directory, for `verify`. To be written last."""
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
