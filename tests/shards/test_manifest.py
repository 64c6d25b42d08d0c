"""A damaged set is refused by the name of the file that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder.errors import ShardError
from rejoinder.shards import read_manifest
from rejoinder.shards.manifest import verify
from rejoinder.text import Exchange

ROWS = [(Exchange([4, 20 + number], [30, 2], 1), "c") for number in range(4)]


@pytest.fixture
def directory(write_set: Callable[..., Path], tmp_path: Path) -> Path:
    return write_set(tmp_path / "set", {"train": [ROWS[:3], ROWS[3:]], "valid": [ROWS[:1]], "test": []})


def refused(directory: Path) -> str:
    with pytest.raises(ShardError) as refusal:
        read_manifest(directory)
    return str(refusal.value)


def change(directory: Path, **changes: object) -> None:
    file = directory / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_whole_set_is_read_and_verified(directory: Path) -> None:
    manifest = read_manifest(directory)
    assert [shard.file for shard in manifest.splits["train"]] == ["train-00000.arrow", "train-00001.arrow"]
    assert verify(directory) == []


def test_counts_are_summed_over_a_splits_shards(directory: Path) -> None:
    manifest = read_manifest(directory)
    assert manifest.total("train", "num_exchanges") == 4
    assert manifest.total("train", "num_reply_tokens") == 8
    assert manifest.total("test", "num_exchanges") == 0


def test_where_no_set_stands_it_is_said_how_to_make_one(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"{tmp_path}: no prepared set stands here; run jobs/prepare.py"


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "fing', b"\xff\xfe"])
def test_a_damaged_manifest_is_named(directory: Path, content: bytes) -> None:
    (directory / "manifest.json").write_bytes(content)
    assert refused(directory).startswith(f"{directory}/manifest.json: damaged (")


def test_a_manifest_of_another_version_is_refused_not_guessed_at(directory: Path) -> None:
    change(directory, format=2)
    assert refused(directory).startswith(f"{directory}/manifest.json: shard format 2, this version reads 3; ")
    (directory / "manifest.json").write_text("[]")
    assert refused(directory).startswith(f"{directory}/manifest.json: shard format None, this version reads 3; ")


def test_a_manifest_with_a_field_too_many_is_damaged(directory: Path) -> None:
    change(directory, more=1)
    assert refused(directory).startswith(f"{directory}/manifest.json: damaged (1 fields are wrong)")


def test_a_missing_shard_is_named(directory: Path) -> None:
    (directory / "train-00001.arrow").unlink()
    assert refused(directory).startswith(f"{directory}/train-00001.arrow: missing; ")


def test_a_shard_that_was_cut_is_named(directory: Path) -> None:
    file = directory / "valid-00000.arrow"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    assert refused(directory).startswith(f"{file}: {size - 1:,} bytes long instead of {size:,}; ")


def test_a_flipped_bit_is_found_by_verifying(directory: Path) -> None:
    file = directory / "train-00000.arrow"
    flip_a_bit(file)
    read_manifest(directory)  # only sizes are looked at
    assert verify(directory) == ["train-00000.arrow"]


def test_the_tokenizer_is_verified_too(directory: Path) -> None:
    """With another one, all ids would mean something else."""
    flip_a_bit(directory / "tokenizer.json")
    assert verify(directory) == ["tokenizer.json"]
    (directory / "tokenizer.json").unlink()
    assert verify(directory) == ["tokenizer.json"]
