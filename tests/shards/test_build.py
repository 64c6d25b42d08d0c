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
from typing import Any

import numpy as np
import pytest

from rejoinder import corpora
from rejoinder.errors import CorpusError, StorageError
from rejoinder.recipe import Recipe
from rejoinder.shards import Prepared, ShardSet, build, prepare, selection
from rejoinder.shards.manifest import verify
from rejoinder.storage import Storage, locked
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


def test_a_full_disk_leaves_what_is_finished_for_the_next_run_and_nothing_that_could_be_taken_for_a_set(
    make_recipe: MakeRecipe, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PIECE_BYTES", 4_000)
    recipe = make_recipe(f"storage.uri={small_disk / 'home'}", "data.corpora.0.num_conversations=400")
    with pytest.raises(StorageError, match=r"no space left on the disk; free some, or set storage\.uri"):
        prepare(recipe)
    (directory,) = (path for path in (small_disk / "home" / "shards").iterdir() if path.is_dir())
    assert not (directory / "manifest.json").exists()
    finished, *_ = directory.glob("gathered/[!.]*.json")
    made, then = finished.stat().st_mtime_ns, list[int]()

    def select(*arguments: Any) -> Any:
        then.append(finished.stat().st_mtime_ns)
        return selection.select(*arguments)

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    monkeypatch.setattr(build, "select", select)
    assert verify(prepare(recipe).directory) == []
    assert then == [made]


def test_a_corpus_read_in_many_pieces_is_the_corpus_read_in_one(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare(make_recipe(f"storage.uri={tmp_path / 'one'}"))
    monkeypatch.setattr(build, "PIECE_BYTES", 300)
    in_pieces = prepare(make_recipe(f"storage.uri={tmp_path / 'two'}"))
    assert len(corpora.pieces(make_recipe().data.corpora, 300)) > 5
    assert in_pieces.manifest == whole.manifest


def write_talks(file: Path, num_talks: int, *, every_broken: int = 0) -> None:
    """JSON lines; one line in so many is broken."""
    lines = []
    for number in range(num_talks):
        turns = [("user", f"question {number}"), ("assistant", f"answer {number}")]
        lines.append(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}))
        if every_broken and number % every_broken == every_broken - 1:
            lines[-1] = "{"
    file.write_text("\n".join(lines))


def test_broken_lines_are_counted_over_all_pieces(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PIECE_BYTES", 500)
    file = tmp_path / "talks.jsonl"
    write_talks(file, 100, every_broken=20)
    words = [f"data.corpora=[{{name: chat_messages, path: {file}}}]", "data.valid_fraction=0.2"]
    manifest = prepare(make_recipe(*words)).manifest
    assert manifest.left_out["broken records"] == 5
    assert [line.split(": ")[0] for line in manifest.examples["broken records"]] == [
        f"{file}:{number}" for number in (20, 40, 60, 80, 100)
    ]
    with pytest.raises(CorpusError, match=r"with this one 5 broken records were met, more than data.max_broken_lines"):
        prepare(make_recipe(*words, "data.max_broken_lines=4", "data.split_seed=1"))


def test_a_corpus_that_is_cleaned_or_filtered_away_is_refused(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe("text.filters=[{name: length, min_words: 50, what: conversation}]")
    with pytest.raises(CorpusError, match=r"leave none of the 40 conversations; .*: length \(conversation\)"):
        prepare(recipe)
    assert not [path for path in (Storage(recipe).root / "shards").iterdir() if path.is_dir()]


def test_two_corpora_are_mixed_and_each_exchange_knows_its_own(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    file = tmp_path / "talks.jsonl"
    write_talks(file, 30)
    both = f"data.corpora=[{{name: made_up, num_conversations: 40}}, {{name: chat_messages, path: {file}}}]"
    train = ShardSet(prepare(make_recipe(both)).directory, "train")
    by_corpus = {train.conversation_id(row).startswith("made_up"): train.corpora[row] for row in range(len(train))}
    assert by_corpus == {True: 0, False: 1}
    alone = ShardSet(prepare(make_recipe()).directory, "train")
    of = {alone.conversation_id(row) for row in range(len(alone))}
    assert of == {train.conversation_id(row) for row in range(len(train)) if train.corpora[row] == 0}


def test_a_weight_is_no_reason_to_prepare_again(make_recipe: MakeRecipe) -> None:
    assert not prepare(make_recipe()).reused
    assert prepare(make_recipe("data.corpora.0.weight=3")).reused


def test_what_the_corpus_knows_stands_before_the_context_as_the_recipe_asks(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    file = tmp_path / "talks.jsonl"
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    lines = [
        json.dumps({"messages": [*turns, {"role": "assistant", "content": f"Hello {number}"}]}) for number in range(40)
    ]
    file.write_text("\n".join(lines))
    prepared = prepare(
        make_recipe(f"data.corpora=[{{name: chat_messages, path: {file}}}]", "text.control_tokens=[system, speaker]")
    )
    train = ShardSet(prepared.directory, "train")
    (context,), (reply,) = train.rows(np.array([0]))
    shown = prepared.tokenizer.with_markers(context.tolist())
    assert shown == "<system> Be kind. <speaker> assistant <other> Hi"
    assert prepared.tokenizer.with_markers(reply.tolist()).startswith("Hello")


def test_two_processes_do_not_make_one_set_at_once(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe()
    directory = Storage(recipe).shards(build._fingerprint(recipe, [])).directory
    with (
        locked(directory, "x"),
        pytest.raises(StorageError, match="preparing this set is already being done"),
    ):
        prepare(recipe)
    assert not prepare(recipe).reused


@pytest.mark.parametrize("damaged", ["gathered/00002.arrow", "gathered/00002.json", "train-00001.arrow"])
def test_what_a_lost_machine_left_damaged_is_made_again(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    monkeypatch.setattr(build, "PIECE_BYTES", 1000)
    words = ["data.exchanges_per_shard=20"]
    whole = prepare(make_recipe(*words, f"storage.uri={tmp_path / 'whole'}"))
    recipe = make_recipe(*words)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "write_index", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare(recipe)
    (directory,) = (path for path in (Storage(recipe).root / "shards").iterdir() if path.is_dir())
    content = bytearray((directory / damaged).read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)  # as if the disk had never had the rest
    (directory / damaged).write_bytes(content)
    assert prepare(recipe).manifest == whole.manifest
    assert verify(directory) == []


class Killed:
    """A `jobs/prepare.py` that is killed as soon as its folder shows what is waited for."""

    def __init__(self, recipe: Recipe, file: Path, pattern: str, num_files: int) -> None:
        file.write_text(recipe.to_yaml())
        process = subprocess.Popen(
            [sys.executable, "jobs/prepare.py", str(file)], stdout=subprocess.DEVNULL, start_new_session=True
        )
        shards, deadline = Storage(recipe).root / "shards", time.monotonic() + 120
        while len(list(shards.glob(pattern))) < num_files:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(1)  # Ray's workers notice that their driver has gone
        self.whole = {path: path.stat().st_mtime_ns for path in shards.rglob("*") if is_whole(path)}


def is_whole(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_redoes_what_is_missing_and_makes_the_same_bytes(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    words = ["data.corpora.0.num_conversations=80000", "data.exchanges_per_shard=3000"]
    recipe, file = make_recipe(*words), tmp_path / "recipe.yaml"
    reading = Killed(recipe, file, "*/gathered/*.json", 3)
    assert not list(Storage(recipe).root.glob("shards/*/*.arrow"))
    writing = Killed(recipe, file, "*/records/train-*.json", 3)
    assert writing.whole.items() >= reading.whole.items()
    assert not list(Storage(recipe).root.glob("shards/*/manifest.json"))
    again = prepare(recipe)
    assert not again.reused
    made_before = {path.name: made for path, made in writing.whole.items() if path.suffix == ".arrow"}
    kept = [shard for shard in made_before if shard in hashes(again)]
    assert len(kept) >= 3
    for shard in kept:
        assert (again.directory / shard).stat().st_mtime_ns == made_before[shard]
    whole = prepare(make_recipe(*words, f"storage.uri={tmp_path / 'elsewhere'}"))
    assert again.manifest == whole.manifest
    assert sorted(path.name for path in again.directory.iterdir()) == sorted(
        path.name for path in whole.directory.iterdir()
    )
