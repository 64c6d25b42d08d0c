"""A run's checkpoints in, the last one to go on from and the best one to use out; the others are deleted."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from rejoinder.checkpoints.directory import MANIFEST, PROGRESS, fetched, progress_of, verify
from rejoinder.errors import CheckpointError
from rejoinder.storage import Folder

log = logging.getLogger(__name__)
_NAME = re.compile(r"step_\d{8,}")


class CheckpointStore:
    """A run's checkpoints: the last one to go on from and the best one to use are kept, others are deleted.

    Which is which follows from what the checkpoints say of themselves; there is no pointer that could be wrong.
    Where they are kept at an address, that is where they count: they are uploaded in the background, one at a time.
    """

    def __init__(self, place: Path | Folder, num_best: int = 1) -> None:
        self.folder, self._num_best = place if isinstance(place, Folder) else Folder(place), num_best
        self._uploads = ThreadPoolExecutor(1, "upload")
        self._upload: Future[None] | None = None

    @property
    def directory(self) -> Path:
        """Where this machine has them."""
        return self.folder.directory

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step stands."""
        return self.directory / f"step_{step:08d}"

    def last(self, up_to: int | None = None) -> Path | None:
        """The newest checkpoint that is whole, of this step at most. A damaged one is passed over, and said loudly."""
        names = (name for name in self._names() if up_to is None or _step_of(name) <= up_to)
        return self._first_whole(sorted(names, key=_step_of, reverse=True))

    def best(self) -> Path | None:
        """The one with the lowest validation loss that is whole."""
        return self._first_whole(self._best_first())

    def _best_first(self) -> list[str]:
        measured = [(loss, name) for name in self._names() if (loss := self._valid_loss(name)) is not None]
        return [name for _, name in sorted(measured)]

    def fetched(self, name: str) -> Path:
        """The checkpoint of this name as a directory of this machine. Raises CheckpointError where it is not whole."""
        return fetched(self.folder / name)

    def keep(self, step: int) -> None:
        """Takes in what was saved at `path(step)`, and deletes all but the last two and the best.

        An upload goes on while the caller does: this waits for the one before it, and raises the StorageError of one
        that failed. `close` waits for the last. What could not be uploaded stays here, for `deliver`.
        """
        name = self.path(step).name
        self.folder.owe(name)  # before an error of the one before it
        self.close()
        self._upload = self._uploads.submit(self._keep, name)

    def deliver(self) -> list[str]:
        """Keeps what this machine made and could not upload, as far as nobody came further meanwhile; its names.

        Raises StorageError when the address still does not answer.
        """
        owed = self.folder.owed()
        newest = max(map(_step_of, self._names()), default=-1) if owed else -1
        delivered = list[str]()
        for name in (name for name in owed if _step_of(name) > newest):
            try:
                verify(self.directory / name)
                self._keep(name)
                delivered.append(name)
            except CheckpointError as error:
                log.warning("not uploaded: %s", error)
        return delivered

    def close(self) -> None:
        """Waits until all that was taken in is kept. Raises StorageError when it could not be."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.result()

    def prune(self) -> None:
        """Deletes all but the last two (one of them may turn out damaged) and the best, and uploads that were left
        half-way and overtaken since."""
        names = sorted(self._names(), key=_step_of)
        whole = (name for name in self._best_first() if self._first_whole([name]))
        kept = {*names[-2:], *islice(whole, self._num_best)}
        for name in sorted(self._names(half=True) - kept):
            if names and _step_of(name) < _step_of(names[-1]):
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

    def _names(self, *, half: bool = False) -> set[str]:
        """Those that are there with the manifest, which comes last. `half`: those too whose upload goes on, or was cut
        off; to ask for one of these would take the manifest of the whole one here away."""
        files = self.folder.sizes()
        names = {name.split("/", 1)[0] for name in files}  # evaluations and what is half-written stand beside
        return {name for name in names if _NAME.fullmatch(name) and (half or f"{name}/{MANIFEST}" in files)}

    def _valid_loss(self, name: str) -> float | None:
        try:
            text = (self.folder / name).read_text(PROGRESS)
            loss = None if text is None else progress_of(text).metrics.get("valid_loss")
            return None if loss is None or math.isnan(loss) else loss  # nan has no place in an order
        except ValueError:
            return None


def _step_of(name: str) -> int:
    return int(name.removeprefix("step_"))
