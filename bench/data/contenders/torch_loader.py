"""A prepared set in, rows a second of a PyTorch DataLoader out: shuffled, 64 rows a batch, padded by `pad_sequence`.

`kind` says where a row comes from: `arrow`, by Arrow's own API; `tensors`, from memory, where it stands ready.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from bench.setting import answers
from rejoinder.shards import ShardSet

Row = tuple[Tensor, Tensor]


class ArrowRows(Dataset[Row]):
    """Rows of the split's Arrow files, memory mapped, each as two tensors."""

    def __init__(self, directory: Path) -> None:
        shards = ShardSet(directory, "train").manifest.splits["train"]
        tables = [pa.ipc.open_file(pa.memory_map(str(directory / shard.file))).read_all() for shard in shards]
        table = pa.concat_tables(tables)
        self._contexts, self._replies = table["context_ids"], table["reply_ids"]

    def __len__(self) -> int:
        return len(self._contexts)

    def __getitem__(self, number: int) -> Row:
        return torch.tensor(self._contexts[number].as_py()), torch.tensor(self._replies[number].as_py())


class TensorsInMemory(Dataset[Row]):
    """All rows as tensors, made before the clock starts: nothing is read."""

    def __init__(self, directory: Path) -> None:
        rows = ArrowRows(directory)
        self._rows = [rows[number] for number in range(len(rows))]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Row:
        return self._rows[number]


def collate(rows: list[Row]) -> Row:
    """Rows as two rectangles."""
    contexts, replies = [context for context, _ in rows], [reply for _, reply in rows]
    return pad_sequence(contexts, batch_first=True), pad_sequence(replies, batch_first=True)


def measure(directory: str, kind: str, batch_rows: int, cores: int, least_s: float) -> dict[str, Any]:
    """Rows a second with no worker and with one a core; `rows_per_s` is the better of the two."""
    torch.set_num_threads(1)
    rows = ArrowRows(Path(directory)) if kind == "arrow" else TensorsInMemory(Path(directory))
    rates = {num_workers: rate(rows, batch_rows, num_workers, least_s) for num_workers in (0, cores)}
    return {"rows_per_s": max(rates.values()), "rows_per_s_by_workers": rates}


def rate(rows: Dataset[Row], batch_rows: int, num_workers: int, least_s: float) -> float:
    """Rows a second between the eleventh batch and the last; workers have started by then."""
    loader = DataLoader(rows, batch_rows, shuffle=True, num_workers=num_workers, collate_fn=collate)
    num_rows, started = 0, time.perf_counter()
    for number, (contexts, _) in enumerate(loader):
        if number <= 10:
            num_rows, started = 0, time.perf_counter()
            continue
        num_rows += len(contexts)
        if time.perf_counter() - started >= least_s:
            break
    return num_rows / (time.perf_counter() - started)


if __name__ == "__main__":
    answers(measure)
