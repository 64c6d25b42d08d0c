"""The JSON that lists a prepared set's shards: counts, hashes, and where it all came from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from rejoinder.errors import ShardError
from rejoinder.shards.schema import FORMAT
from rejoinder.storage import Folder, sha256_of
from rejoinder.text import Exchanges

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Record):
    """One file."""

    file: str
    sha256: str
    size_bytes: int


class ShardRecord(FileRecord):
    """One shard."""

    num_exchanges: int
    num_context_tokens: int
    num_reply_tokens: int
    num_reply_bytes: int

    @classmethod
    def of(cls, name: str, file: Path, exchanges: Exchanges) -> ShardRecord:
        """Of a shard that was just written to `file` and is to have this name."""
        return cls(
            file=name,
            sha256=sha256_of(file),
            size_bytes=file.stat().st_size,
            num_exchanges=len(exchanges),
            num_context_tokens=len(exchanges.context_ids),
            num_reply_tokens=len(exchanges.reply_ids),
            num_reply_bytes=int(exchanges.reply_num_bytes.sum()),
        )


class CorpusFile(_Record):
    """A file that was read."""

    corpus: int
    """The place of its corpus in the recipe's list."""
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
    """Of at least two turns, that were read."""
    num_turns: int
    left_out: dict[str, int]
    """What is not learnt from, in words, and how much of it there is."""
    left_in: dict[str, int]
    """What was found and is learnt from all the same, because the settings say so."""
    examples: dict[str, list[str]]
    """The first few of each."""
    cleaning: dict[str, Any]
    """What each cleaning step and filter did: a `CleaningReport`."""
    splits: dict[str, list[ShardRecord]]
    indexes: dict[str, FileRecord]
    """Of each split: lengths and order of its rows."""

    def total(self, split: str, field: str) -> int:
        """A count summed over the shards of a split, such as `total("train", "num_exchanges")`."""
        return sum(getattr(shard, field) for shard in self.splits[split])

    def files_of(self, splits: Sequence[str] | None = None) -> list[FileRecord]:
        """All that it vouches for in these splits (None: in all) but the tokenizer."""
        chosen = list(self.splits) if splits is None else splits
        return [
            *(shard for split in chosen for shard in self.splits[split]),
            *(self.indexes[split] for split in chosen),
        ]

    def sha256s(self, splits: Sequence[str] | None = None) -> dict[str, str]:
        """File -> sha256, of these splits (None: of all) and the tokenizer."""
        return {file.file: file.sha256 for file in self.files_of(splits)} | {TOKENIZER: self.tokenizer_sha256}

    def to_json(self) -> str:
        """As text. To be written last: a directory without a manifest is not a prepared set."""
        return json.dumps(self.model_dump(), indent=1, ensure_ascii=False)


def read_manifest(place: Path | Folder, splits: Sequence[str] | None = None) -> Manifest:
    """The manifest of the set in a directory or folder, whose files of these splits (None: of all) have their sizes.

    Raises ShardError when there is none, it is damaged or of another version, or a shard is missing or cut.
    """
    directory = place if isinstance(place, Folder) else Folder(place)
    file = f"{directory}/{MANIFEST}"
    try:
        text = directory.read_text(MANIFEST)
        if text is None:
            raise ShardError(f"{directory}: no prepared set stands here; run jobs/prepare.py")
        data = json.loads(text)
    except ValueError as error:
        raise ShardError(f"{file}: damaged ({error}); delete {directory} and run jobs/prepare.py") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else None
        raise ShardError(f"{file}: shard format {found}, this version reads {FORMAT}; run jobs/prepare.py again")
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        raise ShardError(f"{file}: damaged ({error.error_count()} fields are wrong); delete {directory}") from None
    sizes = directory.sizes()
    for shard in manifest.files_of(splits):
        size = sizes.get(shard.file, -1)
        if size != shard.size_bytes:
            state = "missing" if size < 0 else f"{size:,} bytes long instead of {shard.size_bytes:,}"
            raise ShardError(f"{directory}/{shard.file}: {state}; delete {directory} and run jobs/prepare.py")
    return manifest


def fetched(folder: Folder, splits: Sequence[str] | None = None) -> Path:
    """The directory of this machine in which these splits (None: all) can be read; brought here where they are far.

    Raises ShardError naming what is not what the manifest says.
    """
    manifest = read_manifest(folder, splits)
    if wrong := folder.fetch(manifest.sha256s(splits)):
        raise ShardError(f"{folder}: damaged: {', '.join(wrong)}; delete it and run jobs/prepare.py")
    return folder.directory


def verify(directory: Path) -> list[str]:
    """Reads every byte and compares every sha256: the names of files that are not what the manifest says."""
    expected = read_manifest(directory).sha256s()
    return [
        file for file, sha256 in expected.items()
        if not (directory / file).exists() or sha256_of(directory / file) != sha256
    ]  # fmt: skip
