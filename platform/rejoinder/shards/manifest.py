"""The JSON that lists a prepared set's shards: counts, hashes, and where it all came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from rejoinder.errors import ShardError
from rejoinder.shards.schema import FORMAT
from rejoinder.storage import sha256_of, write_text_whole

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardRecord(_Record):
    """One file."""

    file: str
    sha256: str
    size_bytes: int
    num_exchanges: int
    num_context_tokens: int
    num_reply_tokens: int
    num_reply_bytes: int


class CorpusFile(_Record):
    """A file that was read."""

    reader: str
    file: str
    sha256: str


class Manifest(_Record):
    """A prepared set. `fingerprint` changes with any input or setting that could change a byte of it."""

    format: int
    fingerprint: str
    tokenizer_sha256: str
    vocabulary_size: int
    corpora: list[CorpusFile]
    settings: dict[str, Any]
    num_conversations: int
    num_turns: int
    num_unanswered: int
    num_broken: int
    first_broken: list[str]
    num_leaks: int = 0
    num_duplicates: int = 0
    num_capped_replies: int = 0
    left_out_examples: dict[str, list[str]] = {}
    splits: dict[str, list[ShardRecord]]

    def total(self, split: str, field: str) -> int:
        """A count summed over the shards of a split, such as `total("train", "num_exchanges")`."""
        return sum(getattr(shard, field) for shard in self.splits[split])

    def write(self, directory: Path) -> None:
        """Written last: a directory without a manifest is not a prepared set."""
        write_text_whole(directory / MANIFEST, json.dumps(self.model_dump(), indent=1, ensure_ascii=False))


def read_manifest(directory: Path) -> Manifest:
    """Raises ShardError when there is none, it is damaged or of another version, or a shard is missing or cut."""
    file = directory / MANIFEST
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ShardError(f"{directory}: no prepared set stands here; run jobs/prepare.py") from None
    except ValueError as error:
        raise ShardError(f"{file}: damaged ({error}); delete {directory} and run jobs/prepare.py") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else None
        raise ShardError(f"{file}: shard format {found}, this version reads {FORMAT}; run jobs/prepare.py again")
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        raise ShardError(f"{file}: damaged ({error.error_count()} fields are wrong); delete {directory}") from None
    for shard in (shard for shards in manifest.splits.values() for shard in shards):
        size = (directory / shard.file).stat().st_size if (directory / shard.file).exists() else -1
        if size != shard.size_bytes:
            state = "missing" if size < 0 else f"{size:,} bytes long instead of {shard.size_bytes:,}"
            raise ShardError(f"{directory / shard.file}: {state}; delete {directory} and run jobs/prepare.py")
    return manifest


def verify(directory: Path) -> list[str]:
    """Reads every byte and compares every sha256: the names of files that are not what the manifest says."""
    manifest = read_manifest(directory)
    expected = {shard.file: shard.sha256 for shards in manifest.splits.values() for shard in shards}
    expected[TOKENIZER] = manifest.tokenizer_sha256
    return [
        file for file, sha256 in expected.items()
        if not (directory / file).exists() or sha256_of(directory / file) != sha256
    ]  # fmt: skip
