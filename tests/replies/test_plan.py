"""Files to pieces, and what is refused before anything is answered."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from rejoinder.errors import CorpusError, StorageError
from rejoinder.recipe import DecodingSection
from rejoinder.replies.parts import read_rows
from rejoinder.replies.plan import Plan, added_columns, make_plan

TEXTS = ["hi", "你好 🙂", "how\nare you", "x" * 5000, "bye"]


def lines(*rows: Any) -> str:
    """JSON lines, with blank ones between."""
    return "\n\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n"


def plan_of(path: Path, rows_per_piece: int = 2, format: str | None = None, column: str | None = None) -> Plan:
    return make_plan(str(path), format, column, rows_per_piece, {"model": "m"})


@pytest.mark.parametrize("rows_per_piece", [1, 2, 3, 100])
@pytest.mark.parametrize("packed", [False, True])
def test_pieces_of_lines_are_the_file(tmp_path: Path, rows_per_piece: int, packed: bool) -> None:
    rows = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    content = "\ufeff\n".encode() + lines(*rows[:3], "{broken", *rows[3:]).encode()
    file = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    file.write_bytes(gzip.compress(content) if packed else content)
    plan = plan_of(file, rows_per_piece)
    read = [row for piece in plan.pieces for row in read_rows(piece).rows]
    assert [row.columns for row in read] == [*rows[:3], {}, *rows[3:]]
    assert [row.place for row in read] == [f"{file}:{number}" for number in (2, 4, 6, 8, 10, 12)]
    assert (read[3].problem or "").startswith("not JSON (")
    assert [piece.first_index for piece in plan.pieces] == list(range(0, 6, rows_per_piece))
    assert (plan.num_rows, plan.format) == (6, "jsonl")


@pytest.mark.parametrize("rows_per_piece", [1, 3, 4, 100])
def test_pieces_of_parquet_are_the_file_whatever_its_row_groups(tmp_path: Path, rows_per_piece: int) -> None:
    table = pa.table({"text": [str(number) for number in range(11)]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=4)
    parquet.write_table(table.slice(0, 2), tmp_path / "b.parquet")
    plan = plan_of(tmp_path / "*.parquet", rows_per_piece)
    read = [row for piece in plan.pieces for row in read_rows(piece).rows]
    assert [row.columns["text"] for row in read] == [*map(str, range(11)), "0", "1"]
    assert read[10].place == f"{tmp_path / 'a.parquet'}: row 11"
    assert {piece.num_rows for piece in plan.pieces} <= {1, 2, rows_per_piece, 11 % rows_per_piece}


def test_a_plan_is_found_again_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"text": "hi"}))
    plan = plan_of(tmp_path / "a.jsonl", format="parquet")
    assert Plan.from_json(plan.to_json(), "here") == plan
    with pytest.raises(StorageError, match=r"here: not a plan of replies; give another --output, or --fresh"):
        Plan.from_json("{}", "here")


def test_columns_of_json_get_the_type_that_holds_all_their_values(tmp_path: Path) -> None:
    rows = [{"text": "a", "n": 1, "f": 1, "mixed": 1, "big": 2**70}, {"text": "b", "n": None, "f": 0.5, "mixed": "x"}]
    (tmp_path / "a.jsonl").write_text(lines(*rows, {"text": "c", "list": [1], "yes": True, "none": None}))
    kinds = {"text": "text", "n": "int", "f": "float", "mixed": "json", "big": "json"}
    assert plan_of(tmp_path / "a.jsonl", format="parquet").columns == kinds | {
        "list": "json",
        "yes": "bool",
        "none": "null",
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no row to reply to"),
        (
            lines({"text": "a", "model_reply": "b"}),
            r"a.jsonl:1: has a column 'model_reply', which this job adds; rename",
        ),
        (lines({"a": 1}, {"a": 2}), r"none of the first 2 rows can be answered; .*a.jsonl:1: no column of messages"),
        (lines("{", "["), r"none of the first 2 rows can be answered; .*a.jsonl:1: not JSON"),
    ],
)
def test_what_cannot_be_answered_at_all_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(CorpusError, match=says):
        plan_of(tmp_path / "a.jsonl")


def test_only_columns_that_are_added_must_not_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"text": "hi"}, {"text": "a", "model_replies": ["b"]}))
    plan_of(tmp_path / "a.jsonl")
    with pytest.raises(CorpusError, match=r"a\.jsonl:3: has a column 'model_replies', which this job adds; rename"):
        make_plan(str(tmp_path / "a.jsonl"), None, None, 2, {}, added_columns(DecodingSection(num_replies=2)))


def test_files_must_be_of_one_format_and_parquet_of_one_schema(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"text": "hi"}))
    parquet.write_table(pa.table({"text": ["hi"]}), tmp_path / "b.parquet")
    parquet.write_table(pa.table({"text": ["hi"], "n": [1]}), tmp_path / "c.parquet")
    with pytest.raises(CorpusError, match="files of jsonl and parquet; answer one format at a time"):
        plan_of(tmp_path)
    with pytest.raises(CorpusError, match=r"c\.parquet: other columns or types than the files before it"):
        plan_of(tmp_path / "*.parquet")
    (tmp_path / "d.csv").write_text("text\nhi\n")
    with pytest.raises(CorpusError, match="replies are given to jsonl or parquet, not csv"):
        plan_of(tmp_path / "d.csv")


def test_an_input_that_shrank_since_is_no_input(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(lines(*[{"text": text} for text in TEXTS]))
    plan = plan_of(file)
    file.write_text(lines({"text": "hi"}))
    with pytest.raises(CorpusError, match="has changed since the job was begun"):
        read_rows(plan.pieces[1])
