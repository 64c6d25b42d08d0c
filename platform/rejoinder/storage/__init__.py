"""Where things are kept: folders under `storage.uri`, on this machine's disk or at an address, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from rejoinder.recipe import Recipe
from rejoinder.storage.addresses import filesystem_of, is_address
from rejoinder.storage.local import (
    Folder,
    disk_errors,
    explain_os_error,
    locked,
    sha256_of,
    write_text_whole,
    written_whole,
)
from rejoinder.storage.remote import Remote, RemoteFolder

__all__ = [
    "Folder",
    "Storage",
    "disk_errors",
    "explain_os_error",
    "filesystem_of",
    "is_address",
    "locked",
    "sha256_of",
    "write_text_whole",
    "written_whole",
]


class Storage:
    """The tree of everything that is made."""

    def __init__(self, recipe: Recipe) -> None:
        settings = recipe.storage
        self._remote = Remote(settings.uri, settings.retry_s) if is_address(settings.uri) else None
        self.root = self._remote.cache if self._remote else Path(settings.uri)
        """The directory of all of it; of a remote tree its copy on this machine."""
        self._recipe = recipe

    def shards(self, fingerprint: str) -> Folder:
        """One prepared set: tokenizer, manifest, shards."""
        return self._folder(f"shards/{self._recipe.name}-{fingerprint}")

    def run(self, fingerprint: str) -> Folder:
        """One training run: checkpoints, recipe, evaluation."""
        return self._folder(f"runs/{self._recipe.name}-{fingerprint}")

    @property
    def tuning(self) -> Folder:
        """The best recipes that searches found."""
        return self._folder("tuning")

    @property
    def ray(self) -> Path:
        """What Ray Train and Ray Tune keep of their own while they run; never remote."""
        return self.root / "ray"

    @property
    def mlflow(self) -> Path:
        """The default MLflow store: database and artifacts; never remote."""
        return self.root / "mlflow"

    @property
    def serving(self) -> Path:
        """The default database of sessions, feedback and keys, a file; never remote."""
        return self.root / "serving" / "serving.db"

    @property
    def models(self) -> Path:
        """Model versions downloaded from the registry; never remote."""
        return self.root / "models"

    def holding(self, directory: Path) -> Folder:
        """The folder whose directory on this machine this is, wherever it is kept."""
        if self._remote is not None and directory.is_relative_to(self.root):
            return RemoteFolder(self._remote, str(directory.relative_to(self.root)))
        return Folder(directory)

    def _folder(self, key: str) -> Folder:
        return RemoteFolder(self._remote, key) if self._remote else Folder(self.root / key)
