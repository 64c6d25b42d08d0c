"""The bytes of one shard."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from rejoinder.shards.schema import FORMAT, SCHEMA, write_shard
from rejoinder.text import Exchange, Exchanges

ROWS = [Exchange([4, 20, 21], [22, 2], 1), Exchange([3], [23], 4), Exchange([4, 24], [2], 0)]
IDS = ["a", "b", "你好"]


def written(file: Path, rows: list[Exchange] = ROWS, ids: list[str] = IDS) -> Path:
    write_shard(file, Exchanges.of(rows), ids, range(len(rows)))
    return file


def test_the_same_exchanges_give_the_same_bytes(tmp_path: Path) -> None:
    first = written(tmp_path / "a").read_bytes()
    assert written(tmp_path / "b").read_bytes() == first
    assert written(tmp_path / "c", ROWS[::-1], IDS[::-1]).read_bytes() != first


def test_any_arrow_reader_can_read_it(tmp_path: Path) -> None:
    with pa.OSFile(str(written(tmp_path / "a"))) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table.schema.metadata == {b"rejoinder.format": str(FORMAT).encode()}
    assert table.to_pylist()[1:] == [
        {"context_ids": [3], "reply_ids": [23], "reply_num_bytes": 4, "conversation_id": "b", "corpus": 1},
        {"context_ids": [4, 24], "reply_ids": [2], "reply_num_bytes": 0, "conversation_id": "你好", "corpus": 2},
    ]


@pytest.mark.parametrize("id", ["half an emoji \ud83d", "\x00"])
def test_any_id_that_a_reader_finds_can_be_written(tmp_path: Path, id: str) -> None:
    with pa.OSFile(str(written(tmp_path / "a", ROWS[:1], [id]))) as source:
        (found,) = pa.ipc.open_file(source).read_all()["conversation_id"].to_pylist()
    assert found == id.replace("\ud83d", "?")
