"""A file in ranges: read in order, they are the file, whatever its lines and wherever it is cut."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rejoinder.corpora import (
    BrokenRecord,
    ReadReport,
    chat_messages,
    pairs,
    persona_chat,
    pieces,
    plain_text,
    read_corpora,
    read_piece,
    refuse_empty,
)
from rejoinder.corpora.files import Source, cut
from rejoinder.corpora.lines import Begins, every_line, lines_of
from rejoinder.errors import CorpusError

LINES = st.lists(
    st.sampled_from([b"", b" ", b"1 a\tb", b"2 c\td", b"10 e", b"1", b" 1 f", b"\xff", b"\r", "什么".encode()])
    | st.binary(max_size=40).filter(lambda line: b"\n" not in line)
    | st.integers(4000, 9000).map(lambda length: b"x" * length)
)
BEGINNINGS = {"every line": every_line, "persona_chat": persona_chat.begins, "plain_text": plain_text.begins}


@pytest.mark.parametrize("begins", BEGINNINGS.values(), ids=BEGINNINGS)
@given(LINES, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans(), st.data())
def test_the_lines_of_all_ranges_are_the_lines_of_the_file(
    begins: Begins, content: list[bytes], end: bytes, ends: bool, has_mark: bool, data: st.DataObject
) -> None:
    whole = b"\xef\xbb\xbf" * has_mark + end.join(content) + end * ends
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "talk")
        file.write_bytes(whole)
        expected = [(line.number, line.content) for line in lines_of(Source(str(file)))]
        inner = data.draw(st.lists(st.integers(0, len(whole)), max_size=6).map(sorted))
        ranges = [Source(str(file), start=start, stop=stop) for start, stop in pairwise([None, *inner, None])]
        found = [list(lines_of(part, begins)) for part in ranges]
    assert [line.content for part in found for line in part] == [content for _, content in expected]


@settings(max_examples=20)  # counting lines before each of hundreds of ranges takes its time
@given(LINES, st.integers(10, 300))
def test_a_line_of_a_range_has_its_number_in_the_file(content: list[bytes], max_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "talk")
        file.write_bytes(b"\n".join(content))
        expected = [line.place for line in lines_of(Source(str(file)))]
        found = [line.place for part in cut(Source(str(file)), max_bytes) for line in lines_of(part)]
    assert found == expected


def test_cutting_reads_nothing_and_ranges_are_even(tmp_path: Path) -> None:
    file = tmp_path / "sparse.jsonl"
    with file.open("wb") as stream:
        stream.truncate(10**12)  # would take an hour to read
    found = cut(Source(str(file)), 64 * 2**20)
    assert len(found) == -(-(10**12) // (64 * 2**20))
    assert all(right.start == left.stop for left, right in pairwise(found))
    assert all(part.stop - (part.start or 0) <= 64 * 2**20 for part in found[:-1])


def test_a_byte_order_mark_is_one_only_at_the_beginning_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "talk").write_bytes(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    found = [line.content for part in cut(Source(str(tmp_path / "talk")), 5) for line in lines_of(part)]
    assert found == [b"a", b"\xef\xbb\xbfb"]


def test_a_range_in_which_nothing_begins_is_not_read_past(tmp_path: Path) -> None:
    file = tmp_path / "talk"
    file.write_bytes(b"2 a\tb\n" * 1_000)
    asked = []
    part = Source(str(file), start=100, stop=200)
    assert not list(lines_of(part, lambda previous, line: bool(asked.append(line))))
    assert len(asked) <= 100 / len(b"2 a\tb\n") + 1


def test_a_file_that_is_not_there_is_one_piece_which_says_so(tmp_path: Path) -> None:
    corpus = chat_messages.Settings(path=str(tmp_path / "none.jsonl"))
    (piece,) = pieces([corpus], 10)
    with pytest.raises(CorpusError, match=r"none\.jsonl: no such file"):
        list(read_piece([corpus], piece, 0, ReadReport()))


ROWS = "".join(f"question {number}\tan{'s' * (number % 90)}wer {number}\tid{number}\n" for number in range(60))
TABLES = {
    "header": b"context\treply\tn\n" + ROWS.encode(),
    "header after blank lines": b"\n" * 300 + b"context\treply\tn\r\n" + ROWS.replace("\n", "\r\n").encode(),
    "broken rows": b"\xef\xbb\xbfcontext\treply\tn\n" + ROWS.replace("7\t", "\t\t").encode() + b"\xff\ta\tb",
}


@pytest.mark.parametrize("max_bytes", [1, 30, 200, 10_000])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_pieces_of_tsv_know_the_header(tmp_path: Path, table: bytes, max_bytes: int) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_bytes(table)
    corpus = pairs.Settings(path=str(file), id_column="n")
    whole = list(pairs.read(corpus))
    parts = pieces([corpus], max_bytes)
    assert [record for piece in parts for record in pairs.read(corpus, piece)] == whole
    assert len(parts) == -(-len(table) // max_bytes)


@pytest.mark.parametrize("max_bytes", [1, 30, 200, 10_000])
@pytest.mark.parametrize("start", [b"", b"\xff\n\n", b"\xff\n" * 100])
def test_pieces_of_tsv_without_a_header_know_the_width(tmp_path: Path, start: bytes, max_bytes: int) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_bytes(start + ROWS.replace("5\t", "5").encode())
    corpus = pairs.Settings(path=str(file), header=False, context_column=1, reply_column=2)
    whole = list(pairs.read(corpus))
    found = [record for piece in pieces([corpus], max_bytes) for record in pairs.read(corpus, piece)]
    assert found == whole
    assert sum(isinstance(record, BrokenRecord) for record in whole) > start.count(b"\xff")


def test_csv_is_one_piece_and_json_lines_are_many(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("context,reply\n" + '"a\nb",c\n' * 50)
    (tmp_path / "b.jsonl").write_text('{"context": "a", "reply": "b"}\n' * 50)
    corpora = [pairs.Settings(path=str(tmp_path / name)) for name in ("a.csv", "b.jsonl")]
    found = pieces(corpora, 300)
    assert [piece.corpus for piece in found] == [0, 1, 1, 1, 1, 1, 1]
    one_by_one, whole = ReadReport(), ReadReport()
    talks = []
    for piece in found:
        report = ReadReport()
        talks += list(read_piece(corpora, piece, 0, report))
        one_by_one.merge(report)
    assert talks == list(read_corpora(corpora, 0, whole))
    assert one_by_one == whole


def test_a_piece_counts_what_it_meets_and_names_the_line_in_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    good = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
    alone = {"messages": good["messages"][:1]}
    content = [*[json.dumps(good)] * 20, json.dumps(alone), "{", *[json.dumps(good)] * 20, "[]"]
    file.write_text("\n".join(content))
    corpus = chat_messages.Settings(path=str(file))
    *_, last = found = pieces([corpus], 500)
    report = ReadReport()
    for piece in found:
        one = ReadReport()
        list(read_piece([corpus], piece, 5, one))
        report.merge(one)
    assert (report.num_conversations, report.num_turns, report.num_unanswered, report.num_broken) == (40, 80, 1, 2)
    assert [place.split(": ")[0] for place in report.first_broken] == [f"{file}:22", f"{file}:43"]
    with pytest.raises(CorpusError, match=rf"^{file}:43: .*; with this one 1 broken records were met, more than"):
        list(read_piece([corpus], last, 0, ReadReport()))
    with pytest.raises(CorpusError, match=rf"^the corpus 'chat_messages' \({file}\) holds no conversation of at least"):
        refuse_empty(corpus)


def test_reports_of_pieces_keep_the_first_broken_records() -> None:
    report = ReadReport()
    for number in range(4):
        report.merge(ReadReport(num_broken=4, first_broken=[f"{number}:{place}" for place in range(4)]))
    assert (report.num_broken, report.first_broken[-1], len(report.first_broken)) == (16, "2:1", 10)
