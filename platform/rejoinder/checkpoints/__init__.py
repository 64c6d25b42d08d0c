"""Model, optimizer, tokenizer, recipe and progress in, one directory with hashes out; and back. No pickle anywhere.

`save` and `load` are of one checkpoint (see `directory` for what it holds), a `CheckpointStore` keeps those of a run.
"""

from rejoinder.checkpoints.directory import (
    LAST_WEIGHTS,
    MANIFEST,
    OPTIMIZER,
    PROGRESS,
    RECIPE,
    TOKENIZER,
    WEIGHTS,
    Progress,
    Trained,
    export,
    fetched,
    load,
    load_optimizer,
    load_weights,
    read_progress,
    read_recipe,
    require_decoding,
    save,
    verify,
    write_manifest,
)
from rejoinder.checkpoints.store import CheckpointStore

__all__ = [
    "LAST_WEIGHTS",
    "MANIFEST",
    "OPTIMIZER",
    "PROGRESS",
    "RECIPE",
    "TOKENIZER",
    "WEIGHTS",
    "CheckpointStore",
    "Progress",
    "Trained",
    "export",
    "fetched",
    "load",
    "load_optimizer",
    "load_weights",
    "read_progress",
    "read_recipe",
    "require_decoding",
    "save",
    "verify",
    "write_manifest",
]
