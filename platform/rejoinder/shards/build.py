"""Corpora in, a prepared set out: tokenizer, Arrow shards and manifest, built by Ray tasks.

    conversations ─▶ split by a stable hash ─▶ blocks of one split ─▶ a Ray task each: tokenize, write one shard

The set's directory is named by the fingerprint of all it depends on; a set that stands is used as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from rejoinder import __version__, cluster, console
from rejoinder.corpora import ReadReport, fingerprints, read_corpora
from rejoinder.errors import CorpusError, ShardError
from rejoinder.recipe import DataSection, Recipe, TextSection
from rejoinder.shards.manifest import TOKENIZER, CorpusFile, Manifest, ShardRecord, read_manifest, verify
from rejoinder.shards.report import write_report
from rejoinder.shards.schema import FORMAT, write_shard
from rejoinder.shards.selection import Selected, SelectionReport, select, split_for
from rejoinder.storage import Storage, disk_errors, locked, sha256_of, written_whole
from rejoinder.text import SPLITS, Tokenizer, clean, exchanges, train_tokenizer


@dataclass(frozen=True)
class Prepared:
    """A prepared set that stands on disk."""

    directory: Path
    manifest: Manifest
    reused: bool

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer all shards were made with."""
        return Tokenizer.load(self.directory / TOKENIZER)


def prepare(recipe: Recipe, *, check_hashes: bool = False) -> Prepared:
    """Makes the prepared set of this recipe, or finds it. Needs a Ray connection only when there is work to do.

    Raises CorpusError, TextError, ShardError or StorageError; nothing half-written is left in the set's place.
    """
    corpus_files = fingerprints(recipe.data.corpora)
    fingerprint = _fingerprint(recipe, corpus_files)
    directory = Storage(recipe).shards(fingerprint)
    if directory.exists():
        manifest = read_manifest(directory)
        if check_hashes and (wrong := verify(directory)):
            raise ShardError(f"{directory}: damaged: {', '.join(wrong)}; delete the directory and run jobs/prepare.py")
        return Prepared(directory, manifest, reused=True)
    with cluster.connect(recipe), locked(directory, "preparing this set"):
        if not directory.exists():  # else another process has just finished it
            with written_whole(directory) as partial:
                _build(recipe, fingerprint, corpus_files, partial)
    return Prepared(directory, read_manifest(directory), reused=False)


def _build(recipe: Recipe, fingerprint: str, corpus_files: list[dict[str, str]], directory: Path) -> None:
    data = recipe.data
    tokenizer = train_tokenizer(_training_texts(recipe), recipe.text.vocabulary_size)
    tokenizer.save(directory / TOKENIZER)
    report, left_out = ReadReport(), SelectionReport()
    selected = select(recipe, report, left_out)
    write = ray.remote(_write_block).options(num_cpus=1)
    shared = [ray.put(tokenizer.to_json()), ray.put(recipe.text)]
    splits: dict[str, list[ShardRecord]] = {split: [] for split in SPLITS}
    waiting: dict[Any, str] = {}
    with console.ProgressLine("tokenizing", None, "conversations") as progress:
        for split, number, block in _blocks(selected, data):
            file = directory / f"{split}-{number:05d}.arrow"
            waiting[write.remote(file, block, *shared)] = split
            if len(waiting) >= 2 * cluster.num_cpus():  # bounds the conversations that are in memory
                _collect(waiting, splits, num_left=cluster.num_cpus())
            progress.update(report.num_conversations)
        _collect(waiting, splits, num_left=0)
    _require_every_split(splits, data, report)
    Manifest(
        format=FORMAT,
        fingerprint=fingerprint,
        tokenizer_sha256=tokenizer.sha256,
        vocabulary_size=tokenizer.num_ids,
        corpora=[CorpusFile(**file) for file in corpus_files],
        settings=_settings(recipe),
        num_conversations=report.num_conversations,
        num_turns=report.num_turns,
        num_unanswered=report.num_unanswered,
        num_broken=report.num_broken,
        first_broken=report.first_broken,
        num_leaks=left_out.num_leaks,
        num_duplicates=left_out.num_duplicates,
        num_capped_replies=left_out.num_capped_replies,
        left_out_examples=left_out.examples,
        splits={split: sorted(shards, key=lambda shard: shard.file) for split, shards in splits.items()},
    ).write(directory)
    write_report(directory)


def _blocks(selected: Iterable[Selected], data: DataSection) -> Iterator[tuple[str, int, list[Selected]]]:
    """(split, number of the block in its split, conversations) with about `exchanges_per_shard` exchanges each."""
    filling: dict[str, list[Selected]] = {split: [] for split in SPLITS}
    sizes, numbers = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    for one in selected:
        split = one.split
        filling[split].append(one)
        sizes[split] += len(one.conversation.turns) - 1
        if sizes[split] >= data.exchanges_per_shard:
            yield split, numbers[split], filling[split]
            filling[split], sizes[split], numbers[split] = [], 0, numbers[split] + 1
    for split in SPLITS:
        if filling[split]:
            yield split, numbers[split], filling[split]


def _write_block(file: Path, block: list[Selected], tokenizer_json: str, settings: TextSection) -> ShardRecord | None:
    """The Ray task: one shard from one block. None when cleaning leaves no exchange."""
    tokenizer = Tokenizer.from_json(tokenizer_json)
    pairs = [
        (exchange, one.conversation.id)
        for one in block
        for exchange in exchanges(one.conversation, tokenizer, settings, one.skipped)
    ]
    if not pairs:
        return None
    made = [exchange for exchange, _ in pairs]
    with disk_errors(file):
        write_shard(file, made, [id for _, id in pairs])
    return ShardRecord(
        file=file.name,
        sha256=sha256_of(file),
        size_bytes=file.stat().st_size,
        num_exchanges=len(made),
        num_context_tokens=sum(len(exchange.context_ids) for exchange in made),
        num_reply_tokens=sum(len(exchange.reply_ids) for exchange in made),
        num_reply_bytes=sum(exchange.reply_num_bytes for exchange in made),
    )


def _collect(waiting: dict[Any, str], splits: dict[str, list[ShardRecord]], num_left: int) -> None:
    while len(waiting) > num_left:
        (reference,), _ = ray.wait(list(waiting), num_returns=1)
        (record,) = cluster.results([reference])
        split = waiting.pop(reference)
        if record is not None:
            splits[split].append(record)


def _training_texts(recipe: Recipe) -> Iterator[str]:
    """Turns of the training split, for the tokenizer: it must learn nothing from what is held out."""
    data, num_left = recipe.data, recipe.text.max_tokenizer_conversations
    for conversation in read_corpora(data.corpora, data.max_broken_lines, ReadReport()):
        if split_for(conversation, recipe) != "train":
            continue
        yield from (text for turn in conversation.turns if (text := clean(turn.text, recipe.text.cleaning)))
        num_left -= 1
        if num_left == 0:
            return


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
    for corpus in settings["data"]["corpora"]:
        for name in [name for name in corpus if name == "path" or name.endswith("_path")]:
            corpus.pop(name)
    return settings


def _fingerprint(recipe: Recipe, corpus_files: list[dict[str, str]]) -> str:
    content = {
        "version": __version__,
        "format": FORMAT,
        "settings": _settings(recipe),
        "corpora": [(file["reader"], file["sha256"]) for file in corpus_files],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
