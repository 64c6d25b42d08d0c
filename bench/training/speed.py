"""How many reply tokens a second, against a DDP loop written by hand and against Hugging Face's Seq2SeqTrainer?"""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.framework import Figure, Result, interleaved
from bench.plots import bars
from bench.setting import Setting
from bench.training.corpus import CONTENDERS, TEXT, TRANSFORMER, folder_of, prepared, recipe, speed_steps
from rejoinder.cluster import runtime_env

PROCESSES = 2
NAMED = "seq2seq_trainer"


def measure(setting: Setting) -> Result:
    """A Transformer in fp32, 2 processes of a thread each. Every start is nobody's time."""
    shards, made, steps = prepared(setting), recipe(setting, TRANSFORMER, PROCESSES), speed_steps(setting)
    # What our workers are told of oneDNN and malloc: a hand that writes loops may know that too.
    told = runtime_env()["env_vars"]
    sizes = {name: size for name, size in TRANSFORMER.items() if name != "name"}
    # Of 8 rows a process each.
    small_steps: dict[str, Any] = {"warmup_steps": setting.size(20, 4), "measured_steps": setting.size(150, 8)}
    answers = interleaved(
        {
            "ours": lambda: setting.run(f"{CONTENDERS}.ours_ray", recipe=made, **steps),
            "ddp": lambda: setting.run(
                f"{CONTENDERS}.torchrun_ddp", num_processes=PROCESSES, extra=told, recipe=made, shards=shards, **steps
            ),
            "quick_ddp": lambda: setting.run(
                f"{CONTENDERS}.torchrun_ddp", num_processes=PROCESSES, extra=told, recipe=made, shards=shards,
                quick=True, **steps
            ),
            "trainer": lambda: setting.run(
                f"{CONTENDERS}.{NAMED}", num_processes=PROCESSES, shards=shards, model=sizes, text=TEXT,
                folder=str(folder_of(setting, NAMED)), threads=1, **small_steps,
            ),
        },
        setting.rounds,
    )  # fmt: skip
    ours, ddp, quick_ddp, trainer = ([one["tokens_per_s"] for one in found] for found in answers.values())
    same = {one["num_tokens"] for name in ("ours", "ddp", "quick_ddp") for one in answers[name]}
    assert len(same) == 1, f"ours and DDP did not learn from the same batches: {same}"
    shown = {
        "DDP by hand, batches in memory": median(ddp),
        "the same with our matrix products": median(quick_ddp),
        "Rejoinder on Ray Train": median(ours),
        "Seq2SeqTrainer, BART, defaults": median(trainer),
    }
    return Result(
        [
            Figure("Transformer against DDP by hand", "tokens/s", ours, ddp),
            Figure("Transformer against DDP by hand with our matrix products", "tokens/s", ours, quick_ddp),
            Figure("Transformer against Seq2SeqTrainer", "tokens/s", ours, trainer, note="default: 8 rows a process"),
        ],
        {"steps": steps, "steps_of_the_trainer": small_steps, "tokens_of_a_round": same.pop()},
        lambda file: bars(file, "Transformer, 2 x 1 thread", "reply tokens/s", shown, ["Rejoinder on Ray Train"]),
    )
