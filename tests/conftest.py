"""What many tests need: recipes that stay inside the test's own directory, and a prepared set without Ray."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from rejoinder import cluster
from rejoinder.corpora import made_up
from rejoinder.recipe import Recipe, TextSection, override, validate
from rejoinder.shards import Manifest, write_index
from rejoinder.shards.manifest import MANIFEST, TOKENIZER, FileRecord, ShardRecord
from rejoinder.shards.schema import FORMAT, write_shard
from rejoinder.storage import sha256_of
from rejoinder.text import Exchange, Exchanges, Tokenizer, exchanges_of, split_of, train_tokenizer
from rejoinder.text.tokenizers import byte_bpe

CHECKOUT = Path(__file__).resolve().parents[1]
TEXT = {"vocabulary_size": 320, "max_context_tokens": 48, "max_reply_tokens": 20}

# The same examples every time: a run that fails on one machine fails on all.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=60)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests share two cores; results must not depend on how many threads a sum was divided among."""
    import torch

    torch.set_num_threads(1)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """The plain values of a small recipe whose storage is the test's own directory."""
    return {
        "name": "test",
        "data": {
            "corpora": [{"name": "made_up", "num_conversations": 40}],
            "valid_fraction": 0.2,
            "test_fraction": 0.2,
        },
        "text": dict(TEXT),
        "model": {"name": "gru_attention", "width": 16},
        "training": {"num_steps": 4, "batch_tokens": 512, "warmup_steps": 1},
        "evaluation": {"batch_tokens": 512, "behaviour": [], "num_self_chats": 0, "num_attention_maps": 0},
        "storage": {"uri": str(tmp_path / "home")},
        "cluster": {"address": "local", "num_cpus": 4},
        "registry": {"tracking_uri": None},
    }


@pytest.fixture
def make_recipe(tree: dict[str, Any]) -> Callable[..., Recipe]:
    """`make_recipe("model.width=8", ...)`: the small recipe with some settings changed."""
    return lambda *words: validate(override(tree, words))


@pytest.fixture
def recipe(make_recipe: Callable[..., Recipe]) -> Recipe:
    """The small recipe."""
    return make_recipe()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """320 ids learnt from made-up small talk."""
    talk = made_up.read(made_up.Settings(num_conversations=40))
    texts = ([turn.text for turn in conversation.turns] for conversation in talk)
    return train_tokenizer(byte_bpe.Settings(), texts, TEXT["vocabulary_size"])


WriteSet = Callable[[Path, dict[str, Sequence[Sequence[tuple[Exchange, str]]]]], Path]


@pytest.fixture(scope="session")
def write_set(tokenizer: Tokenizer) -> WriteSet:
    """`write_set(directory, {split: [[(exchange, conversation id), ...] of a shard, ...]})`: a prepared set."""

    def write(directory: Path, splits: dict[str, Sequence[Sequence[tuple[Exchange, str]]]]) -> Path:
        directory.mkdir(parents=True)
        tokenizer.save(directory / TOKENIZER)
        records = {
            split: [_write_shard(directory / f"{split}-{number:05d}.arrow", rows) for number, rows in enumerate(shards)]
            for split, shards in splits.items()
        }
        indexes = {}
        for split, written in records.items():
            file = directory / write_index(directory, split, [shard.file for shard in written])
            indexes[split] = FileRecord(file=file.name, sha256=sha256_of(file), size_bytes=file.stat().st_size)
        manifest = Manifest(
            format=FORMAT, fingerprint="0123456789abcdef", tokenizer_sha256=tokenizer.sha256,
            vocabulary_size=tokenizer.num_ids, corpora=[], settings={}, num_conversations=0, num_turns=0,
            left_out={}, left_in={}, examples={}, cleaning={}, splits=records, indexes=indexes,
        )  # fmt: skip
        (directory / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        return directory

    return write


def _write_shard(file: Path, rows: Sequence[tuple[Exchange, str]]) -> ShardRecord:
    made = Exchanges.of([exchange for exchange, _ in rows])
    write_shard(file, made, [id for _, id in rows], [0] * len(made))
    return ShardRecord.of(file.name, file, made)


@pytest.fixture(scope="session")
def prepared_set(tokenizer: Tokenizer, write_set: WriteSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 made-up conversations as `prepare` would split and write them, 128 exchanges a shard."""
    rows: dict[str, list[tuple[Exchange, str]]] = {"train": [], "valid": [], "test": []}
    for talk in made_up.read(made_up.Settings(num_conversations=300)):
        split = split_of(talk.id, 0, 0.1, 0.1)
        rows[split] += [(exchange, talk.id) for exchange in exchanges_of([talk], tokenizer, TextSection(**TEXT))]
    shards = {split: [of[i : i + 128] for i in range(0, len(of), 128)] for split, of in rows.items()}
    return write_set(tmp_path_factory.mktemp("prepared") / "set", shards)


@pytest.fixture
def make_checkpoint(recipe: Recipe, tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., Path]:
    """`make_checkpoint(seed, recipe, tokenizer)`: the checkpoint of an untrained model, in a directory of its own."""
    import torch

    from rejoinder import checkpoints
    from rejoinder.batches import Position
    from rejoinder.models import build_model
    from rejoinder.optimizers import build_optimizer

    def make(seed: int = 0, recipe: Recipe = recipe, tokenizer: Tokenizer = tokenizer) -> Path:
        torch.manual_seed(seed)
        model = build_model(recipe, tokenizer.num_ids)
        directory = Path(tempfile.mkdtemp(dir=tmp_path)) / "checkpoint"
        progress = checkpoints.Progress(4, Position(), "0123456789abcdef", {"valid_loss": 2.0})
        optimizer = build_optimizer(model, recipe.training)
        checkpoints.save(directory, model, optimizer, tokenizer.to_json(), recipe, progress)
        return directory

    return make


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a new MLflow store in SQLite: making its tables takes seconds, copying them nothing."""
    from rejoinder.registry.connection import open_client

    home = tmp_path_factory.mktemp("store")
    tree = {"name": "x", "data": {"corpora": ["made_up"]}, "model": "gru_attention", "storage": {"uri": str(home)}}
    open_client(validate(tree | {"registry": {"tracking_uri": None}}))
    return home / "mlflow"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 64 kB of its own."""
    place = tmp_path / "small_disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray with 4 (logical) CPUs for all tests that need one; `cluster.connect` joins it."""
    tree = {"name": "x", "data": {"corpora": ["made_up"]}, "model": "gru_attention"}
    with cluster.connect(validate(tree | {"cluster": {"address": "local", "num_cpus": 4}})):
        yield
