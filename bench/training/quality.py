"""How many bits per byte after the same time, against Seq2SeqTrainer, JoeyNMT and Eole?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.framework import Figure, Result
from bench.plots import bars
from bench.setting import Setting
from bench.training.corpus import (
    BATCH_TOKENS,
    CONTENDERS,
    TEXT,
    TRANSFORMER,
    WARMUP_STEPS,
    folder_of,
    prepared,
    recipe,
    speed_steps,
)

WALL_S = 120.0
RATE = 1e-3
TRAINER = {"per_device_train_batch_size": 32, "learning_rate": RATE, "warmup_steps": 0.05}
"""What differs from its defaults: 8 rows a process and a rate of 5e-5 without warm-up are for fine-tuning."""


def measure(setting: Setting) -> Result:
    """Validation bits per byte; one round, since the runs are long. A contender's own start is not its time."""
    shards, wall_s = prepared(setting), setting.wall_s or WALL_S
    if setting.tiny:
        wall_s = min(wall_s, 3.0)
    sizes = {name: size for name, size in TRANSFORMER.items() if name != "name"}
    told: dict[str, Any] = {"shards": shards, "model": sizes, "text": TEXT, "wall_s": wall_s}

    def peer(name: str) -> dict[str, Any]:
        folder = str(folder_of(setting, name))
        return setting.run(
            f"{CONTENDERS}.{name}", python=setting.peers, folder=folder, rate=RATE, batch_tokens=BATCH_TOKENS,
            threads=setting.cores, **told,
        )  # fmt: skip

    asked: dict[str, Callable[[], dict[str, Any]]] = {
        "Rejoinder": lambda: ours(setting, wall_s),
        "Seq2SeqTrainer": lambda: setting.run(
            f"{CONTENDERS}.seq2seq_trainer", num_processes=2, folder=str(folder_of(setting, "trainer")), threads=1,
            warmup_steps=4, measured_steps=setting.size(30, 4), settings=TRAINER, **told,
        ),
    }  # fmt: skip
    if setting.peers is not None:
        asked |= {"JoeyNMT": lambda: peer("joeynmt_train"), "Eole": lambda: peer("eole_train")}
    found = {name: contender() for name, contender in asked.items()}
    bits = {name: [one["bits_per_byte"]] for name, one in found.items()}
    return Result(
        [
            Figure(
                f"bits per byte after the same time against {name}", "bits", bits["Rejoinder"], bits.get(name, []),
                less_is_better=True, note=f"{wall_s:g} s of training each",
            )
            for name in ("Seq2SeqTrainer", "JoeyNMT", "Eole")
        ],
        {"wall_s": wall_s, "runs": found},
        lambda file: bars(
            file, f"After {wall_s:g} s", "bits per byte of the validation replies",
            {name: value for name, (value,) in bits.items()}, ["Rejoinder"],
        ),
    )  # fmt: skip


def ours(setting: Setting, wall_s: float) -> dict[str, Any]:
    """A short run to know the pace, then as many steps as fit into the time, with a rate that ends at 0."""
    short = setting.run(f"{CONTENDERS}.ours_ray", recipe=recipe(setting, TRANSFORMER), **speed_steps(setting))
    num_steps = int(wall_s / short["trained_s"] * short["num_steps"])
    num_steps = max(2, num_steps // WARMUP_STEPS) * WARMUP_STEPS
    warmup_steps = max(1, num_steps // 20)
    training: dict[str, Any] = {"learning_rate": RATE, "warmup_steps": warmup_steps, "schedule": {"name": "linear"}}
    return setting.run(
        f"{CONTENDERS}.ours_ray", recipe=recipe(setting, TRANSFORMER, **training),
        warmup_steps=WARMUP_STEPS, measured_steps=num_steps - WARMUP_STEPS,
    )  # fmt: skip
