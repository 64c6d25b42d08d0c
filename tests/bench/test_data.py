"""What the data bench measures on, and that padding is counted as it is computed on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.data.corpus import recipe, write_chitchat
from bench.data.padding import padding_percent
from bench.plots import bars
from rejoinder.recipe import validate
from rejoinder.shards import ShardSet


def test_no_two_copies_of_the_corpus_are_alike(tmp_path: Path) -> None:
    write_chitchat(tmp_path / "corpus.jsonl", num_copies=3, max_conversations=20)
    lines = [json.loads(line) for line in (tmp_path / "corpus.jsonl").read_text().splitlines()]
    assert len(lines) == 60
    assert len({json.dumps(line["messages"]) for line in lines}) == 60
    assert len({line["id"] for line in lines}) == 60


def test_the_recipe_keeps_every_conversation(tmp_path: Path) -> None:
    made = validate(recipe({"name": "made_up"}, tmp_path, cores=2, exchanges_per_shard=128))
    assert (made.data.on_duplicate, made.data.on_leak) == ("keep", "warn")
    assert made.data.exchanges_per_shard == 128
    assert made.cluster.num_cpus == 2


def test_padding_is_what_a_rectangle_holds_beside_its_rows(prepared_set: Path) -> None:
    shard_set = ShardSet(prepared_set, "train")
    rows = np.array([0, 1, 2])
    contexts, replies = shard_set.context_lengths[rows], shard_set.reply_lengths[rows]
    computed_on = 3 * (max(contexts) + max(replies))
    expected = 100 * (computed_on - sum(contexts) - sum(replies)) / computed_on
    assert padding_percent(shard_set, [rows]) == expected
    assert padding_percent(shard_set, [rows[:1], rows[1:2]]) == 0


def test_a_plot_names_its_bars_and_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        bars(tmp_path / f"{name}.svg", "Speed", "MB/s", {"theirs": 1.0, "ours": 2.0}, ["ours"])
    drawn = (tmp_path / "first.svg").read_text()
    assert all(word in drawn for word in ("Speed", "MB/s", "theirs", "ours"))
    assert drawn == (tmp_path / "second.svg").read_text()
