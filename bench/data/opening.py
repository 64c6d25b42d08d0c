"""How long from nothing open to the first batch of a set of 1,000 shards, at any position of a run?"""

from __future__ import annotations

from statistics import median

from bench.data.corpus import BATCH_TOKENS, CONTENDERS, recipe
from bench.framework import Figure, Result
from bench.plots import bars
from bench.setting import Setting

EXCHANGES_PER_SHARD = 128


def measure(setting: Setting) -> Result:
    """Milliseconds to open, go to the position, and read its batch."""
    talk = {"name": "made_up", "num_conversations": setting.size(25_000, 500)}
    made = recipe(talk, setting.folder / "home", setting.cores, exchanges_per_shard=EXCHANGES_PER_SHARD)
    directory = setting.run(f"{CONTENDERS}.ours_prepare", recipe=made)["directory"]
    found = setting.run(
        f"{CONTENDERS}.ours_opening", directory=directory, batch_tokens=BATCH_TOKENS, rounds=3 * setting.rounds
    )
    assert setting.tiny or found["num_shards"] >= 1_000, f"only {found['num_shards']} shards; make more conversations"
    times: dict[str, list[float]] = found.pop("milliseconds")
    medians = {name: median(values) for name, values in times.items()}
    slowest, fastest = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
    return Result(
        [
            *(Figure(f"open and seek: {name}", "ms", values) for name, values in times.items()),
            Figure("open and seek, slowest position", "ms", times[slowest], note=slowest),
            Figure("slowest position by fastest", "times", [medians[slowest] / medians[fastest]]),
        ],
        found,
        lambda file: bars(file, f"To the first batch of {found['num_shards']:,} shards", "ms", medians, list(medians)),
    )
