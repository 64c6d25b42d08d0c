"""What every corpus reader promises. A reader passes by being in the folder."""

from __future__ import annotations

import gzip
import math
import pickle
import tracemalloc
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import ValidationError

from rejoinder import catalog
from rejoinder.corpora import BrokenRecord, Conversation, Piece, fingerprints, pieces
from rejoinder.errors import CorpusError
from rejoinder.recipe import PluginSettings

READ_WHOLE = {
    "chitchat": "one JSON object of 50 MB",
    "cornell_movie": "its lines stand in no order, so that all are kept",
}
# And pairs, but for CSV, which its sample is: tests/corpora/test_pieces.py.
CUT = ("chat_messages", "made_up", "persona_chat", "plain_text")
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda content: content,
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "no end of line": lambda content: content.rstrip(b"\n"),
    "broken lines": lambda content: content.replace(b"h", b"\xff", 3),
    "more broken lines": lambda content: content.replace(b"i", b"\xff\n\n"),
    "blank lines": lambda content: b"\n \n" + content.replace(b"\n", b"\n\n", 5),
}
Sample = tuple[ModuleType, PluginSettings, list[Conversation]]


@pytest.fixture(params=catalog.names("rejoinder.corpora"))
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Sample:
    """A reader, the settings of its tiny corpus, and what that holds."""
    reader = catalog.pick("rejoinder.corpora", request.param)
    return reader, *reader.sample(tmp_path)


def test_its_sample_is_read_as_it_says(sample: Sample) -> None:
    reader, settings, conversations = sample
    assert list(reader.read(settings)) == conversations


def test_reading_twice_gives_the_same(sample: Sample) -> None:
    reader, settings, _ = sample
    assert list(reader.read(settings)) == list(reader.read(settings))


def test_it_reads_lazily(sample: Sample) -> None:
    reader, settings, _ = sample
    stream = reader.read(settings)
    assert iter(stream) is stream
    assert isinstance(next(stream), Conversation)


def test_every_turn_has_a_speaker_and_says_something(sample: Sample) -> None:
    reader, settings, _ = sample
    for conversation in reader.read(settings):
        assert len(conversation.turns) >= 2
        assert all(turn.speaker and turn.text.strip() for turn in conversation.turns)


def test_an_id_names_one_content(sample: Sample) -> None:
    reader, settings, _ = sample
    found = list(reader.read(settings))
    assert len({talk.id for talk in found}) == len({(talk.id, talk.turns, talk.split) for talk in found})


def test_a_weight_is_a_setting_of_every_reader(sample: Sample) -> None:
    reader, settings, conversations = sample
    assert settings.weight == 1
    assert list(reader.read(settings.model_copy(update={"weight": 0.5}))) == conversations
    for weight in (0, -1, 1001, math.nan):
        with pytest.raises(ValidationError, match="weight"):
            reader.Settings.model_validate(settings.model_dump() | {"weight": weight})


def test_its_settings_can_be_written_and_read_back(sample: Sample) -> None:
    reader, settings, _ = sample
    assert reader.Settings.model_validate(settings.model_dump(mode="json")) == settings


def test_the_files_it_reads_are_hashed(sample: Sample) -> None:
    reader, settings, _ = sample
    before = fingerprints([settings])
    assert [record["file"] for record in before] == [str(file) for file in reader.files(settings)]
    for file in reader.files(settings):
        file.write_bytes(file.read_bytes() + b"\n")
        assert fingerprints([settings]) != before


def test_a_missing_or_empty_file_is_named(sample: Sample) -> None:
    reader, settings, _ = sample
    num_needed = 0
    for file in reader.files(settings):
        whole = file.read_bytes()
        file.write_bytes(b"")
        with pytest.raises(CorpusError, match=f"^{file}: the file is empty"):
            fingerprints([settings])
        file.unlink()
        if file in reader.files(settings):  # else the corpus does without
            num_needed += 1
            with pytest.raises(CorpusError, match=f"^{file}: no such file"):
                fingerprints([settings])
            with pytest.raises(CorpusError, match=f"^{file}.*: no such file"):
                list(reader.read(settings))
        file.write_bytes(whole)
    assert num_needed or not reader.files(settings)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[]", b"nonsense", b'{"a": 1}', b'"a"\n1\nnull'])
def test_what_is_no_corpus_is_refused_or_called_broken_by_its_place_or_said_as_it_stands(
    sample: Sample, content: bytes
) -> None:
    reader, settings, _ = sample
    for file in reader.files(settings):
        whole = file.read_bytes()
        file.write_bytes(content)
        records, refused = read_until_refused(reader, settings)
        file.write_bytes(whole)
        broken = [str(record) for record in records if isinstance(record, BrokenRecord)] + refused
        said = [turn.text for record in records if isinstance(record, Conversation) for turn in record.turns]
        is_named = any(is_about(file, place) for place in broken)
        assert is_named or said == content.decode().splitlines()


def test_a_line_of_another_encoding_is_named_and_the_lines_before_it_are_read(sample: Sample) -> None:
    reader, settings, conversations = sample
    lines = b"\n\xe9\xff\n"
    for file in filter(is_text, reader.files(settings)):
        whole = file.read_bytes()
        file.write_bytes(whole.rstrip(b"\n") + lines)
        records, refused = read_until_refused(reader, settings)
        file.write_bytes(whole)
        number = whole.rstrip(b"\n").count(b"\n") + 2
        places = [str(record) for record in records if isinstance(record, BrokenRecord)] + refused
        assert any(is_about(file, place) for place in places)
        if len(reader.files(settings)) == 1 and not refused:
            assert any(place.startswith(f"{file}:{number}: ") for place in places)
            assert [record for record in records if record in conversations]


def test_a_packed_file_is_read_as_the_plain_one(sample: Sample) -> None:
    reader, settings, conversations = sample
    for file in reader.files(settings):
        if getattr(settings, "path", None) != str(file):
            continue  # a path of a folder: its files have names of their own
        packed = file.with_name(f"{file.name}.gz")
        packed.write_bytes(gzip.compress(file.read_bytes()))
        assert list(reader.read(settings.model_copy(update={"path": str(packed)}))) == conversations
        packed.write_bytes(packed.read_bytes()[:-9])
        with pytest.raises(CorpusError, match=f"^{packed}: damaged, cut short"):
            list(reader.read(settings.model_copy(update={"path": str(packed)})))


def test_an_id_does_not_come_from_the_position_in_the_file(sample: Sample) -> None:
    """Everything twice: what stands elsewhere has the same id, so that it falls into the same split."""
    reader, settings, conversations = sample
    lengthen(reader, settings, 2)
    found = [record for record in reader.read(settings) if isinstance(record, Conversation) and len(record.turns) > 1]
    assert found[: len(conversations)] == conversations or len(reader.files(settings)) > 1
    others = {record.id for record in found} - {conversation.id for conversation in conversations}
    assert {conversation.id for conversation in conversations} <= {record.id for record in found}
    assert len(others) <= 1  # a header that stands again is a row


def test_memory_does_not_grow_with_the_file(sample: Sample) -> None:
    reader, settings, _ = sample
    if name_of(reader) in READ_WHOLE or not any(map(is_text, reader.files(settings))):
        pytest.skip(READ_WHOLE.get(name_of(reader), "reads no text file"))
    size = sum(file.stat().st_size for file in filter(is_text, reader.files(settings)))
    lengthen(reader, settings, 600_000 // size)
    deque(reader.read(settings), maxlen=1)  # what is imported and made once
    tracemalloc.start()
    num_records = sum(1 for _ in reader.read(settings))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_records > 1_000
    assert peak_bytes < 250_000


@pytest.mark.parametrize("max_bytes", [1, 40, 100, 1_000, 10**9])
@pytest.mark.parametrize("change", CHANGES)
def test_its_pieces_in_order_are_the_whole(sample: Sample, max_bytes: int, change: str) -> None:
    """Whatever the file: what is broken is named by the same lines."""
    reader, settings, _ = sample
    lengthen(reader, settings, 7)
    for file in filter(is_text, reader.files(settings)):
        file.write_bytes(CHANGES[change](file.read_bytes()))
    whole = read_until_refused(reader, settings)
    found: list[object] = []
    for piece in pieces([settings, settings], max_bytes):
        if piece.corpus == 1:
            assert pickle.loads(pickle.dumps(piece)) == piece
            assert hash(piece) is not None
            records, refused = read_until_refused(reader, settings, piece)
            found += records
            if refused:
                assert whole == (found, refused)
                return
    assert (found, []) == whole


def test_what_can_be_cut_has_many_pieces(sample: Sample) -> None:
    reader, settings, _ = sample
    lengthen(reader, settings, 7)
    found = pieces([settings], 100)
    assert len(found) > 2 if name_of(reader) in CUT else len(found) == 1
    assert len(pieces([settings], 10**9)) == 1


@pytest.mark.parametrize("other", ["packed", "remote"])
def test_what_is_packed_or_far_is_one_piece(sample: Sample, other: str) -> None:
    reader, settings, _ = sample
    lengthen(reader, settings, 7)
    for file in reader.files(settings):
        if getattr(settings, "path", None) != str(file):
            continue
        packed = file.with_name(f"{file.name}.gz")
        packed.write_bytes(gzip.compress(file.read_bytes()))
        there = settings.model_copy(update={"path": str(packed) if other == "packed" else f"file://{file}"})
        (piece,) = pieces([there], 10)
        assert list(reader.read(there, piece)) == list(reader.read(there))


def name_of(reader: ModuleType) -> str:
    """The reader's name in a recipe."""
    return reader.__name__.rsplit(".", 1)[-1]


def is_about(file: Path, sentence: str) -> bool:
    """Whether it begins with the file, or its member or line, or names it beside another one."""
    return sentence.startswith((f"{file}:", f"{file}!")) or any(f" {file}{end}" in sentence for end in " !")


def is_text(file: Path) -> bool:
    return file.suffix != ".zip"


def lengthen(reader: ModuleType, settings: PluginSettings, times: int) -> None:
    """Every text file, that many times behind itself."""
    for file in filter(is_text, reader.files(settings)):
        content = file.read_bytes()
        if file.suffix != ".json":
            file.write_bytes((content.rstrip(b"\n") + b"\n" * (2 if b"\n\n" in content else 1)) * times)


def read_until_refused(
    reader: ModuleType, settings: PluginSettings, piece: Piece | None = None
) -> tuple[list[object], list[str]]:
    """All records that came, and the sentence of the error that ended them, if one did."""
    records: list[object] = []
    try:
        for record in reader.read(settings, piece):
            records.append(record)  # noqa: PERF402
    except CorpusError as error:
        return records, [str(error)]
    return records, []
