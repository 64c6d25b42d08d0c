"""Prepared sets: the same bytes for the same inputs, found when they stand, never taken for whole when they are not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder.errors import CorpusError, StorageError
from rejoinder.recipe import Recipe
from rejoinder.shards import Prepared, ShardSet, prepare
from rejoinder.storage import Storage
from rejoinder.text import SPLITS

pytestmark = pytest.mark.usefixtures("ray_cluster")
MakeRecipe = Callable[..., Recipe]


def hashes(prepared: Prepared) -> dict[str, str]:
    """File -> sha256 of every shard."""
    return {shard.file: shard.sha256 for shards in prepared.manifest.splits.values() for shard in shards}


def test_every_conversation_lands_whole_in_the_split_its_hash_says(recipe: Recipe) -> None:
    prepared = prepare(recipe)
    seen: dict[str, str] = {}
    for split in SPLITS:
        shard_set = ShardSet(prepared.directory, split)
        for row in range(len(shard_set)):
            assert seen.setdefault(shard_set.conversation_id(row), split) == split
    assert len(seen) == prepared.manifest.num_conversations == 40
    assert prepared.manifest.num_turns == 40 + sum(prepared.manifest.total(split, "num_exchanges") for split in SPLITS)


def test_the_same_inputs_and_settings_give_the_same_bytes(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    small_shards = "data.exchanges_per_shard=20"
    one = prepare(make_recipe(small_shards, f"storage.uri={tmp_path / 'one'}"))
    two = prepare(make_recipe(small_shards, f"storage.uri={tmp_path / 'two'}"))
    assert len(one.manifest.splits["train"]) > 3
    assert hashes(one) == hashes(two)
    assert one.manifest == two.manifest
    assert one.tokenizer.sha256 == two.tokenizer.sha256


def test_a_set_that_stands_is_used_and_a_changed_setting_makes_another(make_recipe: MakeRecipe) -> None:
    first, second = prepare(make_recipe()), prepare(make_recipe())
    assert (first.reused, second.reused) == (False, True)
    assert not prepare(make_recipe("text.max_reply_tokens=10")).reused
    assert not prepare(make_recipe("data.split_seed=1")).reused
    assert prepare(make_recipe("training.num_steps=9")).reused


def test_a_corpus_that_moved_is_the_same_corpus_and_one_that_changed_is_not(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    def line(number: int) -> str:
        turns = [
            {"role": "user", "content": f"question {number}"},
            {"role": "assistant", "content": f"answer {number}"},
        ]
        return json.dumps({"messages": turns})

    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    here.write_text("\n".join(map(line, range(40))))
    there.write_text(here.read_text())

    def recipe(file: Path) -> Recipe:
        return make_recipe(f"data.corpora=[{{name: chat_messages, path: {file}}}]")

    assert not prepare(recipe(here)).reused
    assert prepare(recipe(there)).reused
    there.write_text(here.read_text() + "\n" + line(41))
    assert not prepare(recipe(there)).reused


def test_a_split_that_nothing_fell_into_is_refused_and_nothing_is_left(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe("data.corpora.0.num_conversations=2", "data.valid_fraction=0.001")
    with pytest.raises(CorpusError, match=r"none of the 2 conversations fell into the valid split"):
        prepare(recipe)
    assert [path.name for path in (Storage(recipe).root / "shards").iterdir() if path.is_dir()] == []


def test_a_full_disk_leaves_nothing_that_could_be_taken_for_a_set(make_recipe: MakeRecipe, small_disk: Path) -> None:
    recipe = make_recipe(f"storage.uri={small_disk / 'home'}", "data.corpora.0.num_conversations=2000")
    with pytest.raises(StorageError, match=r"no space left on the disk; free some, or set storage\.uri"):
        prepare(recipe)
    assert not [path for path in (small_disk / "home" / "shards").iterdir() if path.is_dir()]


@pytest.mark.slow
def test_killed_in_the_middle_the_next_run_makes_the_same_bytes(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    words = ["data.corpora.0.num_conversations=20000", "data.exchanges_per_shard=500"]
    recipe = make_recipe(*words)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    process = subprocess.Popen(
        [sys.executable, "jobs/prepare.py", str(file)], stdout=subprocess.DEVNULL, start_new_session=True
    )
    shards = Storage(recipe).root / "shards"
    deadline = time.monotonic() + 120
    while len(list(shards.glob("*.partial/*.arrow"))) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(shards.glob("*/manifest.json"))
    again = prepare(recipe)
    whole = prepare(make_recipe(*words, f"storage.uri={tmp_path / 'elsewhere'}"))
    assert hashes(again) == hashes(whole)
    assert not list(shards.glob("*.partial"))
