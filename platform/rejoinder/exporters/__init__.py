"""A trained model in, a directory in another runtime's format out.

A format is a file of this folder with a class `Settings` and a function

    write(trained, directory)       raises ModelError, one sentence, for what the format cannot express

An exported model says what ours says most probably: control tokens other than the end are never said. Beside its own
files stand `tokenizer.json`, whose id i is the model's id i + 16, and nothing of the training.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rejoinder import catalog
from rejoinder.checkpoints import TOKENIZER, Trained
from rejoinder.errors import ModelError, StorageError
from rejoinder.storage import written_whole

ROOM = "rejoinder.exporters"


def formats() -> list[str]:
    """What a model can be exported to."""
    return catalog.names(ROOM)


def export(trained: Trained, format: str, directory: Path) -> None:
    """Writes the model as `format` into a new directory, whole or not at all.

    Raises ModelError for an unknown format, for a model that it cannot express, and where its packages are missing;
    StorageError for a directory that is there already.
    """
    if format not in formats():
        raise ModelError(f"--format {format}: {catalog.choices(format, formats())}")
    if directory.exists():
        raise StorageError(f"{directory}: is there already; give a directory that is not, or take it away")
    with written_whole(directory) as partial:
        catalog.pick(ROOM, format).write(trained, partial)
        trained.tokenizer.save(partial / TOKENIZER)


def require_packages(*packages: str) -> None:
    """Raises ModelError where the extra is not installed. Looks, and imports nothing."""
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        needed = " and ".join(missing)
        raise ModelError(f"exporting needs the package {needed}; pip install '.[export]' in the checkout")
