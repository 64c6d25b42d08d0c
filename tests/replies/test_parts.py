"""Rows with their replies to a file, every column kept."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from rejoinder.dialogue import Reply, SpeltLogprob
from rejoinder.engine import Finish
from rejoinder.recipe import DecodingSection
from rejoinder.replies.parts import Answer, join_parts, read_rows, write_part
from rejoinder.replies.plan import added_columns, make_plan

PROBABLE = SpeltLogprob("Yes", -0.5, (("Yes", -0.5), ("No", -1.5)))
ANSWERS = [
    Answer([Reply("Fine.", 3, 2, Finish.END, -0.5), Reply("Good.", 3, 2, Finish.END, -1.5)]),
    Answer(error="a.jsonl:3: nothing"),
    Answer([Reply("Yes", 3, 1, Finish.LENGTH, -1.0, (PROBABLE,))]),
]
ADDED = [
    {"row_index": 0, "model_reply": "Fine.", "model_reply_finish": "end", "model_reply_error": None},
    {"row_index": 1, "model_reply": None, "model_reply_finish": None, "model_reply_error": "a.jsonl:3: nothing"},
    {"row_index": 2, "model_reply": "Yes", "model_reply_finish": "length", "model_reply_error": None},
]
ROWS: list[dict[str, Any]] = [
    {"text": "how are you?", "tags": ["a", {"b": None}], "n": 1},
    {"text": "", "n": 2.5},
    {"text": "你好 \ud83d", "extra": "x"},
]


def written(tmp_path: Path, source: Path, format: str | None = None, **decoding: Any) -> Path:
    """The part of a file of three rows."""
    added = added_columns(DecodingSection(**decoding))
    plan = make_plan(str(source), format, None, 10, {}, added)
    (piece,) = plan.pieces
    part = tmp_path / f"part.{plan.format}"
    write_part(part, plan, piece, read_rows(piece), ANSWERS, added)
    return part


def test_lines_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    part = written(tmp_path, tmp_path / "a.jsonl")
    assert [json.loads(line) for line in part.read_text().splitlines()] == [
        row | added for row, added in zip(ROWS, ADDED, strict=True)
    ]
    assert "你好" in part.read_text() or "\\u4f60" in part.read_text()


def test_parquet_keeps_every_type(tmp_path: Path) -> None:
    day = datetime.date(2026, 11, 22)
    table = pa.table(
        {
            "messages": [[{"role": "user", "content": text}] for text in "abc"],
            "when": pa.array([day] * 3, pa.date32()),
            "small": pa.array([1, None, 3], pa.int8()),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
            "time": pa.array([1, 2, 3], pa.timestamp("ns", "UTC")),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    made = parquet.read_table(written(tmp_path, tmp_path / "a.parquet"))
    assert made.select(table.column_names).equals(table)
    assert made.drop_columns(table.column_names).to_pylist() == ADDED
    lines = written(tmp_path, tmp_path / "a.parquet", "jsonl").read_text().splitlines()
    assert json.loads(lines[0])["when"] == "2026-11-22"


def test_lines_become_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    made = parquet.read_table(written(tmp_path, tmp_path / "a.jsonl", "parquet")).to_pylist()
    assert [row["text"] for row in made] == ["how are you?", "", "你好 ?"]  # half an emoji is no text in Parquet
    assert [row["tags"] for row in made] == ['["a", {"b": null}]', None, None]
    assert [row["n"] for row in made] == [1.0, 2.5, None]
    assert [{name: row[name] for name in ADDED[0]} for row in made] == ADDED


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_several_replies_and_log_probabilities_have_columns_where_they_are_asked_for(
    tmp_path: Path, format: str
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def rows(**decoding: Any) -> list[dict[str, Any]]:
        part = written(tmp_path, tmp_path / "a.jsonl", format, **decoding)
        if format == "parquet":
            return list(parquet.read_table(part).to_pylist())
        return [json.loads(line) for line in part.read_text().splitlines()]

    several = rows(num_replies=2)
    assert [{name: row[name] for name in ADDED[0]} for row in several] == ADDED
    assert [row["model_replies"] for row in several] == [
        [{"text": "Fine.", "finish": "end", "score": -0.5}, {"text": "Good.", "finish": "end", "score": -1.5}],
        None,
        [{"text": "Yes", "finish": "length", "score": -1.0}],
    ]
    told = [
        {
            "token": "Yes", "logprob": -0.5,
            "most_probable": [{"token": "Yes", "logprob": -0.5}, {"token": "No", "logprob": -1.5}],
        }
    ]  # fmt: skip
    assert [row["model_reply_logprobs"] for row in rows(num_logprobs=2)] == [[], None, told]
    both = rows(num_replies=2, num_logprobs=2)
    assert both[2]["model_replies"][0]["logprobs"] == both[2]["model_reply_logprobs"] == told
    assert list(both[0])[-5:] == [
        "model_reply", "model_reply_finish", "model_replies", "model_reply_logprobs", "model_reply_error",
    ]  # fmt: skip


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_parts_join_to_one_file(tmp_path: Path, format: str) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    part = written(tmp_path, tmp_path / "a.jsonl", format)
    join_parts([part, part], format, tmp_path / "joined")
    if format == "jsonl":
        assert (tmp_path / "joined").read_bytes() == 2 * part.read_bytes()
    else:
        assert parquet.read_table(tmp_path / "joined").to_pylist() == 2 * parquet.read_table(part).to_pylist()
