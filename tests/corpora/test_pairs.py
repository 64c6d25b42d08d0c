"""Tables of contexts and replies."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from rejoinder.corpora import BrokenRecord, Conversation, ReadReport, Turn, read_corpora
from rejoinder.corpora.pairs import Settings, read
from rejoinder.errors import CorpusError

ROWS = [{"id": "x", "context": 'he said "hi"', "reply": "hm, ok"}, {"id": "y", "context": "什么?", "reply": "what?"}]


def write(directory: Path, format: str) -> Path:
    file = directory / f"pairs.{format}"
    if format == "csv":
        file.write_text('id,context,reply\nx,"he said ""hi""","hm, ok"\ny,什么?,what?\n', encoding="utf-8")
    elif format == "tsv":
        file.write_text('id\tcontext\treply\nx\the said "hi"\thm, ok\ny\t什么?\twhat?\n', encoding="utf-8")
    elif format == "parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), file)
    else:
        file.write_text("\n\n".join(json.dumps(row) for row in ROWS))
    return file


def read_text(directory: Path, text: str | bytes, name: str = "p.csv", **more: object) -> list[object]:
    (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read(Settings.model_validate({"path": str(directory / name)} | more)))


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "ndjson", "parquet"])
def test_the_same_pairs_are_read_from_every_format(tmp_path: Path, format: str) -> None:
    assert list(read(Settings(path=str(write(tmp_path, format)), id_column="id"))) == [
        Conversation("x", (Turn("a", 'he said "hi"'), Turn("b", "hm, ok"))),
        Conversation("y", (Turn("a", "什么?"), Turn("b", "what?"))),
    ]


@pytest.mark.parametrize("format", ["csv", "tsv", "parquet"])
def test_a_column_that_is_not_there_lists_those_that_are(tmp_path: Path, format: str) -> None:
    file = write(tmp_path, format)
    with pytest.raises(CorpusError, match=f"^{file}: no column 'answer'; there are: 'id', 'context', 'reply'$"):
        list(read(Settings(path=str(file), reply_column="answer")))


def test_a_column_that_a_json_line_lacks_breaks_that_line(tmp_path: Path) -> None:
    broken, good = read_text(tmp_path, '{"context": "a", "answer": "b"}\n{"context": "a", "reply": "b"}', "p.jsonl")
    assert str(broken) == f"{tmp_path}/p.jsonl:1: no column 'reply'; there are: 'context', 'answer'"
    assert isinstance(good, Conversation)


def test_without_a_header_columns_are_numbers_from_1(tmp_path: Path) -> None:
    (pair,) = read_text(tmp_path, "9\tb\ta\n", "p.tsv", header=False, context_column=3, reply_column=2)
    assert isinstance(pair, Conversation)
    assert [turn.text for turn in pair.turns] == ["a", "b"]
    with pytest.raises(CorpusError, match=r"p\.tsv: no column 4; there are: 1 to 3"):
        read_text(tmp_path, "9\tb\ta\n", "p.tsv", header=False, context_column=3, reply_column=4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"header": False}, "header=false leaves no names"),
        ({"format": "jsonl", "context_column": 1}, "JSON lines have no column numbers"),
        ({"context_column": 0}, "greater than or equal to 1"),
        ({"encoding": "utf-9"}, "no encoding is called 'utf-9'"),
        ({"encoding": "rot13"}, "no encoding is called 'rot13'"),
        ({"encoding": "utf-16"}, "cannot be read line by line; convert the file"),
        ({"format": "xls"}, "Input should be 'csv', 'tsv', 'jsonl' or 'parquet'"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_door(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings.model_validate({"path": "p.csv"} | settings)


def test_an_empty_side_is_a_conversation_that_nobody_answered(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("context,reply\nhi,\n,ho\n, \nhi,ho\n")
    report = ReadReport()
    assert len(list(read_corpora([Settings(path=str(tmp_path / "p.csv"))], 0, report))) == 1
    assert (report.num_unanswered, report.num_broken) == (3, 0)


def test_a_row_of_another_width_is_broken_and_the_next_is_read(tmp_path: Path) -> None:
    short, long, good = read_text(tmp_path, 'context,reply\n"one\ncell"\n1,2,3\n\na,b\n')
    assert str(short) == f"{tmp_path}/p.csv:2: 1 cells where the first row has 2"
    assert str(long) == f"{tmp_path}/p.csv:4: 3 cells where the first row has 2"
    assert isinstance(good, Conversation)


def test_a_quote_that_is_never_closed_is_named_by_the_line_where_it_opens(tmp_path: Path) -> None:
    good, broken = read_text(tmp_path, 'context,reply\na,b\n"c,d\ne,f\n')
    assert isinstance(good, Conversation)
    assert str(broken) == f"{tmp_path}/p.csv:3: not a row of CSV (unexpected end of data)"


def test_a_wrong_byte_is_named_by_its_line_in_a_cell_of_many(tmp_path: Path) -> None:
    broken, good = read_text(tmp_path, b'context,reply\n"a\nb\xff",c\na,b\n')
    assert isinstance(broken, BrokenRecord)
    assert broken.place == f"{tmp_path}/p.csv:3"
    assert "byte 0xff at position 2 of the line is no utf-8 text" in broken.reason
    assert isinstance(good, Conversation)


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_another_encoding_is_a_setting(tmp_path: Path, format: str) -> None:
    texts = {"csv": "context,reply\né,ï\n", "tsv": "context\treply\né\tï\n", "jsonl": '{"context": "é", "reply": "ï"}'}
    (pair,) = read_text(tmp_path, texts[format].encode("cp1252"), f"p.{format}", encoding="cp1252")
    assert isinstance(pair, Conversation)
    assert [turn.text for turn in pair.turns] == ["é", "ï"]


def test_a_suffix_that_tells_nothing_asks_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"p\.dat: .* set the reader's `format` to csv or tsv or jsonl or parquet"):
        read_text(tmp_path, "context,reply\na,b\n", "p.dat")
    assert len(read_text(tmp_path, "context,reply\na,b\n", "p.dat", format="csv")) == 1


def test_a_parquet_file_that_is_none_or_was_cut_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "parquet")
    for content in (b"nonsense", file.read_bytes()[:-20]):
        file.write_bytes(content)
        with pytest.raises(CorpusError, match=f"^{file}: damaged, or no Parquet file"):
            list(read(Settings(path=str(file))))


def test_numbers_are_text_nulls_are_empty_and_lists_are_broken(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    parquet.write_table(pa.table({"context": [1, None], "reply": [[1], [2]]}), file)
    broken, _ = read(Settings(path=str(file)))
    assert str(broken) == f"{file}: row 1: column 'reply' holds a list instead of text"
    parquet.write_table(pa.table({"context": [1, None], "reply": ["one", "two"]}), file)
    assert [conversation.turns for conversation in read(Settings(path=str(file)))] == [
        (Turn("a", "1"), Turn("b", "one")),
        (Turn("b", "two"),),
    ]
