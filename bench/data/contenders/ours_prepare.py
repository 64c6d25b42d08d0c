"""A recipe in, the seconds of `prepare` out, by its parts: Ray's start, learning the tokenizer, all the rest."""

from __future__ import annotations

import time
from typing import Any

from bench.setting import answers
from rejoinder import cluster
from rejoinder.recipe import validate
from rejoinder.shards import prepare


def measure(recipe: dict[str, Any]) -> dict[str, Any]:
    """Starts Ray and its workers with a small set that is not counted, then prepares what is asked."""
    wanted, small = validate(recipe), validate(recipe | {"data": warm_up(recipe["data"])})
    started = time.perf_counter()
    with cluster.connect(wanted):
        prepare(small)
        ready = time.perf_counter()
        prepared = prepare(wanted)
        done = time.perf_counter()
    assert not prepared.reused, "the set of an earlier round stands here: nothing was measured"
    manifest, splits = prepared.manifest, list(prepared.manifest.splits)
    return {
        "start_s": ready - started,
        "prepare_s": done - ready,
        "phases_s": prepared.phases_s,
        "learning_s": prepared.phases_s["tokenizer"],
        "directory": str(prepared.directory),
        "num_turns": manifest.num_turns,
        "num_exchanges": sum(manifest.total(split, "num_exchanges") for split in splits),
        "num_tokens": sum(
            manifest.total(split, field) for split in splits for field in ("num_context_tokens", "num_reply_tokens")
        ),
    }


def warm_up(data: dict[str, Any]) -> dict[str, Any]:
    """A set of several seconds' work, so that every worker is started and has imported what it needs: Ray starts a
    second one only when the first has been busy for a while."""
    return data | {"corpora": [{"name": "made_up", "num_conversations": 120_000}], "exchanges_per_shard": 10_000}


if __name__ == "__main__":
    answers(measure)
