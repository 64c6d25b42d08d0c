"""What every corpus reader promises. A reader passes by being in the folder."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from rejoinder import catalog
from rejoinder.corpora import BrokenRecord, Conversation, fingerprints
from rejoinder.errors import CorpusError
from rejoinder.recipe import PluginSettings

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


def test_ids_are_unique(sample: Sample) -> None:
    reader, settings, _ = sample
    ids = [conversation.id for conversation in reader.read(settings)]
    assert len(set(ids)) == len(ids)


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
    for file in reader.files(settings):
        file.write_bytes(b"")
        with pytest.raises(CorpusError, match=f"^{file}: the file is empty"):
            fingerprints([settings])
        file.unlink()
        with pytest.raises(CorpusError, match=f"^{file}: no such file"):
            fingerprints([settings])


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[]", b"nonsense", b'{"a": 1}', b'"a"\n1\nnull'])
def test_what_is_no_corpus_is_refused_or_called_broken_by_its_place(sample: Sample, content: bytes) -> None:
    reader, settings, _ = sample
    for file in reader.files(settings):
        file.write_bytes(content)
        try:
            places = [record.place for record in reader.read(settings) if isinstance(record, BrokenRecord)]
        except CorpusError as error:
            places = [str(error)]
        assert places
        assert all(place.startswith(f"{file}:") for place in places)
