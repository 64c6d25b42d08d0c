"""Steps in, the rows that a rank learnt from as JSON lines out (`training.log_rows`): what an audit of a run reads."""

from __future__ import annotations

import json
from pathlib import Path

from rejoinder.batches import RankStep


class RowLog:
    """Appends a line for each step to a file of this rank's own, seen on the disk as soon as the step is made."""

    def __init__(self, directory: Path, first_step: int, rank: int, world_size: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        name = f"from_{first_step:08d}_rank_{rank}_of_{world_size}.jsonl"
        self._file = open(directory / name, "w", encoding="utf-8", buffering=1)  # noqa: SIM115  (as long as the run)

    def write(self, step: int, share: RankStep) -> None:
        """A step was made."""
        rows = [] if share.is_idle else share.rows.tolist()
        self._file.write(json.dumps({"step": step, "epoch": share.position.epoch, "rows": rows}) + "\n")
