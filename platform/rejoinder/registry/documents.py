"""What is known of a checkpoint in, the folder of documents that its version carries out; every hash compared.

artifacts/
  checkpoint/             weights, tokenizer, recipe, progress: what is served
  documents/
    model_card.md         data and licences, training, figures, limits, how to make it again
    lineage.json          the chain of content hashes
    evaluation.json       and .npz, .html where they were made
    data_manifest.json    what it learnt from · requirements.lock
    files.json            sha256 of every other file of the version, its code included
    manifest.json         sha256 of these documents; its own is a tag of the version
code/rejoinder/           what MLflow loads it with
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rejoinder import checkpoints, cluster
from rejoinder.errors import CheckpointError
from rejoinder.evaluation import Evaluation, PerExchange
from rejoinder.registry import lineage
from rejoinder.registry.card import model_card
from rejoinder.registry.lineage import Link
from rejoinder.shards import Manifest
from rejoinder.storage import Folder, sha256_of

CHECKPOINT_FOLDER, FOLDER, CODE_FOLDER = "checkpoint", "documents", "code/rejoinder"
CARD, LINEAGE, FILES = "model_card.md", "lineage.json", "files.json"
EVALUATION = "evaluation"
DATA_MANIFEST, LOCK, RUN_RECIPE = "data_manifest.json", "requirements.lock", "recipe.yaml"


@dataclass(frozen=True)
class Origin:
    """What the MLflow run of a training says of where the checkpoint comes from."""

    run_id: str
    run_name: str
    manifest: Manifest | None
    """None for a run that did not record it."""
    lock: str
    code: Link | None


def links_of(checkpoint: Path, origin: Origin) -> list[Link]:
    """The whole chain, in its order."""
    made_from = lineage.data_links(origin.manifest) if origin.manifest else []
    recipe, weights = lineage.checkpoint_links(checkpoint)
    return [
        *made_from,
        recipe,
        *([origin.code] if origin.code else []),
        lineage.lock_link(origin.lock),
        Link(lineage.RUN, f"{origin.run_name}, MLflow run {origin.run_id}", ""),
        weights,
    ]


def copy_code(target: Path) -> None:
    """The package as it is now: what is hashed must be what is kept, whoever edits the checkout meanwhile."""
    source = cluster.CHECKOUT / "platform" / "rejoinder"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def write(
    folder: Path, checkpoint: Path, code: Path, origin: Origin, evaluation: Evaluation, beside: Mapping[str, Path]
) -> str:
    """Fills a folder; returns the sha256 of its manifest. `beside`: name to a file to be carried, such as the page.

    `checkpoint` is the exported one that the version will have.
    """
    folder.mkdir(parents=True)
    links = links_of(checkpoint, origin)
    texts = {
        CARD: model_card(checkpoint, links, origin.manifest, evaluation),
        LINEAGE: lineage.to_json(links),
        f"{EVALUATION}.json": evaluation.to_json(""),
        LOCK: origin.lock,
        FILES: json.dumps(_files(checkpoint, code), indent=1),
    }
    if origin.manifest:
        texts[DATA_MANIFEST] = origin.manifest.to_json()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, file in beside.items():
        shutil.copyfile(file, folder / name)
    checkpoints.write_manifest(folder)
    return sha256_of(folder / checkpoints.MANIFEST)


def beside(folder: Folder, checkpoint: Path, evaluation: Evaluation) -> dict[str, Path]:
    """What an evaluation left beside its checkpoint besides its JSON: what was counted of each exchange, the page."""
    stem = f"{checkpoint.name}-evaluation-{evaluation.split}"
    try:
        key = json.loads(folder.read_text(f"{stem}.json") or "{}").get("key", "")
    except ValueError:
        return {}
    counted = f"{stem}-{hashlib.sha256(key.encode()).hexdigest()[:8]}.npz"  # as evaluation/kept.py names it
    files = {f"{EVALUATION}.npz": counted, f"{EVALUATION}.html": f"{stem}.html"}
    return {name: folder.path(file) for name, file in files.items() if folder.has(file)}


def read_evaluation(folder: Path) -> tuple[Evaluation, PerExchange] | None:
    """What was measured of a version when it was registered; None where too little of it was kept to be compared."""
    evaluation = Evaluation.from_json((folder / f"{EVALUATION}.json").read_text(encoding="utf-8"), "")
    file = folder / f"{EVALUATION}.npz"
    return (evaluation, PerExchange.load(file)) if evaluation and file.exists() else None


def verify_version(artifacts: Path) -> None:
    """Compares every file of a downloaded version with its hash: documents, checkpoint, code.

    Raises CheckpointError naming the first that is missing or damaged.
    """
    documents = artifacts / FOLDER
    checkpoints.verify(documents)
    for name, sha256 in json.loads((documents / FILES).read_text(encoding="utf-8")).items():
        file = artifacts.parent / name
        if not file.exists() or sha256_of(file) != sha256:
            state = "damaged" if file.exists() else "missing"
            raise CheckpointError(f"{file}: {state}; download the version again, or register its checkpoint anew")
    checkpoints.verify(artifacts / CHECKPOINT_FOLDER)


def read_links(folder: Path) -> list[Link]:
    """The chain of a version's documents."""
    return lineage.from_json((folder / LINEAGE).read_text(encoding="utf-8"))


def _files(checkpoint: Path, code: Path) -> dict[str, str]:
    manifest = checkpoint / checkpoints.MANIFEST
    names = {f"artifacts/{CHECKPOINT_FOLDER}/{checkpoints.MANIFEST}": manifest}
    names |= {f"{CODE_FOLDER}/{file.relative_to(code)}": file for file in sorted(code.rglob("*")) if file.is_file()}
    return {name: sha256_of(file) for name, file in names.items()}
