"""What all questions of this bench train: chitchat prepared once, one size of model, the recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.data.corpus import write_chitchat
from bench.setting import Setting

CONTENDERS = "bench.training.contenders"
TEXT = {"vocabulary_size": 8192, "max_context_turns": 4, "max_context_tokens": 40, "max_reply_tokens": 40}
"""As in jobs/recipes/demo.yaml, but for the vocabulary."""
BATCH_TOKENS = 4_096
WARMUP_STEPS, MEASURED_STEPS = 8, 24
"""Steps that nobody counts, and those that are timed; a multiple of the first."""
TRANSFORMER: dict[str, Any] = {
    "name": "transformer", "width": 256, "num_heads": 4, "num_encoder_layers": 3, "num_decoder_layers": 3,
    "feedforward_width": 1024,
}  # fmt: skip
GRU: dict[str, Any] = {"name": "gru_attention", "width": 256, "hidden_width": 256}


def recipe(setting: Setting, model: dict[str, Any], num_workers: int = 2, **training: Any) -> dict[str, Any]:
    """The plain values of a recipe that trains this model on chitchat, a thread a worker, in fp32."""
    corpus = setting.folder / "chitchat.jsonl"
    if not corpus.exists():
        write_chitchat(corpus, 1, setting.size(1_000_000, 300))
    return {
        "name": "bench",
        "data": {"corpora": [{"name": "chat_messages", "path": str(corpus)}]},
        "text": TEXT,
        "model": model,
        "training": {
            "batch_tokens": BATCH_TOKENS, "precision": "fp32", "log_every_steps": WARMUP_STEPS, "warmup_steps": 4,
            **training,
        },
        "scaling": {"num_workers": num_workers, "cpus_per_worker": 1},
        "storage": {"uri": str(setting.folder / "home")},
        "cluster": {"address": "local", "num_cpus": max(num_workers, 2)},
    }  # fmt: skip


def prepared(setting: Setting) -> str:
    """The directory of the prepared set that every recipe of `recipe` finds in its home; made by its own program."""
    made = setting.run(f"{CONTENDERS}.ours_prepare", recipe=recipe(setting, TRANSFORMER))
    directory: str = made["directory"]
    return directory


def speed_steps(setting: Setting) -> dict[str, Any]:
    """How many steps a contender of a speed makes: those before the clock, and those on it."""
    return {"warmup_steps": WARMUP_STEPS, "measured_steps": setting.size(MEASURED_STEPS, WARMUP_STEPS)}


def folder_of(setting: Setting, name: str) -> Path:
    """An empty place for one contender's own files."""
    folder = setting.folder / name
    folder.mkdir(exist_ok=True)
    return folder
