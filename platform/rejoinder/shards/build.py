"""Corpora in, a prepared set out: tokenizer, Arrow shards, indexes and manifest, built by Ray tasks.

    corpora ─gather─▶ pieces, cleaned, with keys ─select─▶ what is kept ─▶ tokenizer ─write─▶ shards ─▶ index, manifest

A piece is a file or a range of one, and a task; so is a shard. The set's directory is named by the fingerprint of all
that it depends on. What a killed process has finished stands there and is used by the next one; the manifest is
written last, and without it there is no set.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray

from rejoinder import __version__, cluster, console
from rejoinder.corpora import CorpusSettings, ReadReport, fingerprints, pieces, refuse_empty, too_many_broken
from rejoinder.errors import CorpusError, ShardError, TextError
from rejoinder.recipe import DataSection, Recipe
from rejoinder.shards.gather import Record, gather
from rejoinder.shards.gathered import Gathered
from rejoinder.shards.index import write_index
from rejoinder.shards.manifest import (
    MANIFEST,
    TOKENIZER,
    CorpusFile,
    FileRecord,
    Manifest,
    ShardRecord,
    fetched,
    read_manifest,
    verify,
)
from rejoinder.shards.report import FIGURES, PAGE, write_report
from rejoinder.shards.schema import FORMAT
from rejoinder.shards.selection import TRAIN, Selection, select
from rejoinder.shards.write import write_block
from rejoinder.storage import Folder, Storage, locked, sha256_of
from rejoinder.text import SPLITS, CleaningReport, Tokenizer, tokenizer_files, train_tokenizer

REPORT_WAIT_S = 600.0
"""How long a process waits for another one that is still writing the report of the set it has made."""
PIECE_BYTES = 8 * 2**20
"""Raw text that one task reads; a part of a file where the reader can cut it."""


@dataclass(frozen=True)
class Prepared:
    """A prepared set that stands."""

    folder: Folder
    manifest: Manifest
    reused: bool
    phases_s: dict[str, float] = field(default_factory=dict)
    """How long each phase of making it took, in seconds."""

    @property
    def directory(self) -> Path:
        """Where this machine reads it. A remote set's is empty until something of it was `fetched`."""
        return self.folder.directory

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer all shards were made with."""
        return Tokenizer.load(fetched(self.folder, []) / TOKENIZER)


def prepare(recipe: Recipe, *, check_hashes: bool = False) -> Prepared:
    """Makes the prepared set of this recipe, or finds it. Needs a Ray connection only when there is work to do.

    Raises CorpusError, TextError, ShardError or StorageError; what cannot become a set is taken away. Where only the
    place gave out, a full disk or an address that is away, what is finished stays for the next one.
    """
    corpus_files = fingerprints(recipe.data.corpora)
    fingerprint = _fingerprint(recipe, corpus_files)
    folder = Storage(recipe).shards(fingerprint)
    directory = folder.directory
    if folder.has(MANIFEST):
        manifest = read_manifest(folder)
        if check_hashes and (wrong := verify(fetched(folder))):
            raise ShardError(f"{directory}: damaged: {', '.join(wrong)}; delete the directory and run jobs/prepare.py")
        return Prepared(folder, manifest, reused=True)
    build = _Build(recipe, folder)
    with cluster.connect(recipe), locked(directory, "preparing this set"):
        if not folder.has(MANIFEST):  # else another process has just finished it
            try:
                build.run(fingerprint, corpus_files)
            except (CorpusError, TextError, ShardError):
                folder.remove()
                raise
    return Prepared(folder, read_manifest(folder), reused=False, phases_s=build.phases_s)


def report_of(prepared: Prepared) -> Path:
    """The set's page, on this machine. Made now where a process was killed between the manifest and it."""
    folder = prepared.folder
    if not folder.has(PAGE):
        with locked(folder.directory, "preparing this set", REPORT_WAIT_S):
            if not folder.has(PAGE):  # else whoever made the set has just finished it
                _report(folder)
    return folder.path(PAGE)


def _report(folder: Folder) -> None:
    write_report(fetched(folder))
    folder.publish(FIGURES, PAGE, last=PAGE)


class _Build:
    """The phases of making one set."""

    def __init__(self, recipe: Recipe, folder: Folder) -> None:
        self.recipe, self.folder = recipe, folder
        self.phases_s: dict[str, float] = {}

    def run(self, fingerprint: str, corpus_files: list[dict[str, Any]]) -> None:
        """All of them, then the manifest."""
        recipe, folder = self.recipe, self.folder
        with self._phase("gather"):
            gathered, met = self._gather()
        with self._phase("select"):
            selection = select(gathered, recipe.data)
        with self._phase("tokenizer"):
            tokenizer = self._tokenizer(gathered, selection)
        with self._phase("write"):
            splits = self._write(gathered, selection, tokenizer)
        left_in, examples = selection.left_in, {"broken records": met.read.first_broken} | selection.examples
        selected = selection.left_out
        del gathered, selection  # some hundred bytes a conversation, which nothing after this needs
        _require_every_split(splits, recipe.data, met.read)
        with self._phase("index"):
            indexes = {split: self._index(split, shards) for split, shards in splits.items()}
        left_out = {
            "conversations nobody replied in": met.read.num_unanswered,
            "broken records": met.read.num_broken,
            "conversations that cleaning empties": met.num_emptied,
            "conversations that a filter refuses": met.num_filtered,
        }
        manifest = Manifest(
            format=FORMAT,
            fingerprint=fingerprint,
            tokenizer_sha256=tokenizer.sha256,
            vocabulary_size=tokenizer.num_ids,
            corpora=[CorpusFile(**file) for file in corpus_files],
            settings=_settings(recipe),
            num_conversations=met.read.num_conversations,
            num_turns=met.read.num_turns,
            left_out=left_out | selected,
            left_in=left_in,
            examples=examples,
            cleaning=asdict(met.cleaning),
            splits=splits,
            indexes=indexes,
        )
        folder.flush(file.file for file in manifest.files_of(None))
        with self._phase("report"):
            folder.write_text(MANIFEST, manifest.to_json())
            _report(folder)
        folder.remove("gathered")
        folder.remove("records")

    def _gather(self) -> tuple[Gathered, Record]:
        """Reads the corpora, a task for each piece."""
        recipe = self.recipe
        todo = pieces(recipe.data.corpora, PIECE_BYTES)
        records: list[Record] = [Record()] * len(todo)
        num_broken: Counter[int] = Counter()
        with console.ProgressLine("reading", None, "conversations") as progress:
            calls = [(self.folder, number, piece, recipe) for number, piece in enumerate(todo)]
            for number, record in _in_parallel(gather, calls):
                records[number] = record
                progress.update(sum(record.num_conversations for record in records))
                num_broken[todo[number].corpus] += record.read.num_broken
                if num_broken[todo[number].corpus] > recipe.data.max_broken_lines:
                    last = record.read.first_broken[-1]
                    raise too_many_broken(last, num_broken[todo[number].corpus], recipe.data.max_broken_lines)
        met = _merged(records)
        for corpus, settings in enumerate(recipe.data.corpora):
            if not any(
                record.read.num_conversations
                for piece, record in zip(todo, records, strict=True)
                if piece.corpus == corpus
            ):
                refuse_empty(settings)
        if met.num_conversations == 0:
            raise CorpusError(
                f"text.cleaning and text.filters leave none of the {met.read.num_conversations:,} conversations; the "
                "steps that took most: "
                + (", ".join(f"{name} ({effect.count:,} turns)" for name, effect in _strongest(met.cleaning)) or "none")
            )
        counts, corpora = [record.num_conversations for record in records], [piece.corpus for piece in todo]
        return Gathered(self.folder, counts, corpora), met

    def _tokenizer(self, gathered: Gathered, selection: Selection) -> Tokenizer:
        """Learnt from the training split alone: it must know nothing of what is held out."""
        if self.folder.has(TOKENIZER):
            return Tokenizer.load(self.folder.path(TOKENIZER))
        text = self.recipe.text
        kept = np.flatnonzero(selection.is_kept & (gathered.splits == TRAIN))[: text.max_tokenizer_conversations]

        def texts() -> Iterator[list[str]]:
            for start in range(0, len(kept), 4_096):
                for _, rows in gathered.rows(kept[start : start + 4_096], ["texts"]):
                    for said in rows["texts"].chunks:
                        yield said.flatten().to_pylist()

        with console.ProgressLine("learning the tokenizer", None, "conversations"):
            tokenizer = train_tokenizer(text.tokenizer, texts(), text.vocabulary_size)
        self.folder.write_text(TOKENIZER, tokenizer.to_json())
        return tokenizer

    def _write(self, gathered: Gathered, selection: Selection, tokenizer: Tokenizer) -> dict[str, list[ShardRecord]]:
        """Writes the shards, a task for each."""
        bare = Gathered(gathered.folder, gathered.num_conversations, gathered.corpora)  # without what is cached
        shared, tokens, text = ray.put(bare), ray.put(tokenizer.to_json()), self.recipe.text
        calls, num_exchanges = list[tuple[Any, ...]](), self.recipe.data.exchanges_per_shard
        for split, name in enumerate(SPLITS):
            for number, block in enumerate(selection.blocks(gathered, split, num_exchanges)):
                turns = np.concatenate(
                    [selection.is_skipped[slice(*gathered.turn_offsets[[c, c + 1]])] for c in block.tolist()]
                )
                calls.append((shared, f"{name}-{number:05d}.arrow", block, turns, tokens, text))
        records: dict[str, ShardRecord] = {}
        with console.ProgressLine("tokenizing", len(calls), "shards") as progress:
            for number, record in _in_parallel(write_block, calls):
                records[calls[number][1]] = record
                progress.update(len(records))
        shards: dict[str, list[ShardRecord]] = {split: [] for split in SPLITS}
        for name in sorted(records):
            if records[name].num_exchanges:
                shards[name.rsplit("-", 1)[0]].append(records[name])
        return shards

    def _index(self, split: str, shards: list[ShardRecord]) -> FileRecord:
        if wrong := self.folder.fetch({shard.file: shard.sha256 for shard in shards}):
            raise ShardError(f"{self.folder}: damaged: {', '.join(wrong)}; delete it and run jobs/prepare.py")
        name = write_index(self.folder.directory, split, [shard.file for shard in shards])
        self.folder.publish(name)
        file = self.folder.path(name)
        return FileRecord(file=name, sha256=sha256_of(file), size_bytes=file.stat().st_size)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.phases_s[name] = time.monotonic() - started


def _in_parallel(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
    """(number of the call, its result) as they come; two for each CPU are under way at a time."""
    task = ray.remote(_with_one_thread).options(num_cpus=1)
    waiting: dict[Any, int] = {}
    todo = iter(enumerate(calls))
    most = 2 * cluster.num_cpus()
    while True:
        for number, call in todo:
            waiting[task.remote(function, *call)] = number
            if len(waiting) >= most:
                break
        if not waiting:
            return
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        (result,) = cluster.results([done])
        yield waiting.pop(done), result


def _with_one_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    # The tokenizers library takes all cores of the machine otherwise, in each of the tasks.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    return function(*arguments)


def _merged(records: Sequence[Record]) -> Record:
    met = Record(read=ReadReport(), cleaning=CleaningReport())
    for record in records:
        met.num_conversations += record.num_conversations
        met.num_turns += record.num_turns
        met.num_filtered += record.num_filtered
        met.num_emptied += record.num_emptied
        met.read.merge(record.read)
        met.cleaning.merge(record.cleaning)
    return met


def _strongest(cleaning: CleaningReport) -> list[tuple[str, Any]]:
    return sorted((cleaning.steps | cleaning.filters).items(), key=lambda item: -item[1].count)[:3]


def _require_every_split(splits: dict[str, list[ShardRecord]], data: DataSection, report: ReadReport) -> None:
    fractions = {"train": 1.0, "valid": data.valid_fraction, "test": data.test_fraction}
    for split, fraction in fractions.items():
        if fraction > 0 and not splits[split]:
            raise CorpusError(
                f"none of the {report.num_conversations} conversations fell into the {split} split "
                f"(data.{split}_fraction = {fraction}); give more conversations or a larger fraction"
                if split != "train"
                else f"the {report.num_conversations} conversations leave nothing to train on; give more"
            )


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide the bytes of the set. Not where files lie: a moved corpus is the same corpus."""
    settings = recipe.model_dump(mode="json", include={"data", "text"})
    settings["data"].pop("max_broken_lines")
    settings["text"]["tokenizer"].pop("path", None)  # of a file that is hashed
    of_all_readers = set(CorpusSettings.model_fields) - {"name"}  # the weight, which is the training's
    for corpus in settings["data"]["corpora"]:
        for name in [name for name in corpus if name in of_all_readers or name == "path" or name.endswith("_path")]:
            corpus.pop(name)
    return settings


def _fingerprint(recipe: Recipe, corpus_files: list[dict[str, Any]]) -> str:
    content = {
        "version": __version__,
        "format": FORMAT,
        "settings": _settings(recipe),
        "corpora": [(file["reader"], file["sha256"]) for file in corpus_files],
        "tokenizer_files": [sha256_of(file) for file in tokenizer_files(recipe.text.tokenizer)],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
