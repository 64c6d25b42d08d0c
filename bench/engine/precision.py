"""What do int8 and bf16 cost in quality: tokens that differ from fp32's, and BLEU?"""

from __future__ import annotations

from bench.engine.corpus import CONTENDERS, ENVIRONMENT
from bench.framework import Figure, Result
from bench.setting import Setting
from bench.training.corpus import TRANSFORMER, folder_of, prepared, recipe

NEEDS_PEERS = False
WALL_S = 120.0


def measure(setting: Setting) -> Result:
    """One Transformer, trained for two minutes on chitchat; greedy replies to its test split. One round."""
    shards = prepared(setting)
    found = setting.run(
        f"{CONTENDERS}.ours_precision", extra=ENVIRONMENT, recipe=recipe(setting, TRANSFORMER, 1), shards=shards,
        folder=str(folder_of(setting, "precision")), threads=setting.cores,
        wall_s=3.0 if setting.tiny else setting.wall_s or WALL_S, num_rows=setting.size(1_000, 16),
    )  # fmt: skip
    figures = []
    for one in ("bf16", "int8"):
        figures.append(Figure(f"tokens of {one} that are not fp32's", "%", [100 * (1 - found[one]["same_tokens"])]))
        figures.append(Figure(f"BLEU lost by {one}", "BLEU", [found["bleu"] - found[one]["bleu"]]))
    figures.append(Figure("replies of int8 that company changes", "%", [100 * (1 - found["int8"]["same_alone"])]))
    return Result(figures, found)
