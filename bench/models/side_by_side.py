"""How good is each architecture after the same time, by the length of the context?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.data.corpus import TEXT, write_chitchat
from bench.framework import Figure, Result, markdown_table, number
from bench.plots import lines
from bench.setting import Setting

NEEDS_PEERS = False
WALL_S = 60.0
PREPARE = "bench.training.contenders.ours_prepare"
MEASURE = "bench.models.contenders.train_and_measure"
BUCKETS = [10, 20, 30, 40]
"""The last number of context tokens of each; TEXT cuts a context at the last of all."""
WIDTH = {"width": 256}
MODELS: dict[str, dict[str, Any]] = {
    "RNN, no attention": {"name": "recurrent", "cell": "rnn", "attention": "none", **WIDTH},
    "RNN, attention": {"name": "recurrent", "cell": "rnn", "attention": "general", **WIDTH},
    "GRU, no attention": {"name": "recurrent", "cell": "gru", "attention": "none", **WIDTH},
    "GRU, attention": {"name": "gru_attention", **WIDTH},
    "LSTM, attention": {"name": "recurrent", "cell": "lstm", "attention": "general", **WIDTH},
    "HRED": {"name": "hierarchical", **WIDTH},
    "CNN": {"name": "convolutional", "num_encoder_layers": 3, "num_decoder_layers": 3, **WIDTH},
    "Transformer": {"name": "transformer", "num_encoder_layers": 3, "num_decoder_layers": 3, **WIDTH},
}
"""All of width 256, with a tied output layer."""
RATES = {"rnn": 1e-3, "convolutional": 1e-3, "transformer": 1e-3}
"""Peak learning rates by cell or name; RATE for all others. A plain RNN and deep stacks bear less than gates do."""
RATE = 3e-3


def measure(setting: Setting) -> Result:
    """One run each: bits per byte of the test replies. Lengths are those of a context as the model reads it."""
    made = recipe(setting)
    shards = setting.run(PREPARE, recipe=made | {"model": MODELS["GRU, attention"]})["directory"]
    wall_s = min(setting.wall_s or WALL_S, 2.0) if setting.tiny else setting.wall_s or WALL_S
    found = {}
    for place, (name, model) in enumerate(MODELS.items()):
        rate = RATES.get(model.get("cell", model["name"]), RATE)
        training = made["training"] | {"learning_rate": rate}
        found[name] = setting.run(
            MEASURE, recipe=made | {"model": model, "training": training}, shards=shards,
            folder=str(setting.folder / str(place)), threads=setting.cores, wall_s=wall_s, last_of_buckets=BUCKETS,
        )  # fmt: skip
        print(f"  {name}: {found[name]['bits_per_byte']:.3f} bits per byte", flush=True)
    return Result(
        [Figure(f"{name}: bits per byte", "bits", [one["bits_per_byte"]]) for name, one in found.items()],
        {"wall_s": wall_s, "models": {name: MODELS[name] | one for name, one in found.items()}},
        lambda file: plot(file, found),
        table(found, wall_s),
    )


def recipe(setting: Setting) -> dict[str, Any]:
    """The plain values of the demo's text, without a model."""
    corpus = setting.folder / "chitchat.jsonl"
    write_chitchat(corpus, 1, setting.size(1_000_000, 300))
    return {
        "name": "bench",
        "data": {"corpora": [{"name": "chat_messages", "path": str(corpus)}]},
        "text": TEXT,
        "training": {"batch_tokens": 4_096, "precision": "fp32", "schedule": {"name": "linear"}},
        "storage": {"uri": str(setting.folder / "home")},
        "cluster": {"address": "local", "num_cpus": setting.cores},
    }


def table(found: dict[str, dict[str, Any]], wall_s: float) -> str:
    """Parameters, pace relative to the fastest, steps, and bits per byte, of all and by the context's tokens."""
    firsts = [1, *(last + 1 for last in BUCKETS[:-1])]
    head = ["model", "weights", "pace", "steps", "bits per byte"]
    head += [f"{first}–{last}" for first, last in zip(firsts, BUCKETS, strict=True)]
    fastest = max(one["reply_tokens_per_s"] for one in found.values())
    rows = [
        [
            name, f"{one['num_parameters'] / 1e6:.1f} M", number(one["reply_tokens_per_s"] / fastest),
            f"{one['num_steps']:,}", f"{one['bits_per_byte']:.3f}",
            *("" if value is None else f"{value:.3f}" for value in one["bits_per_byte_of_buckets"]),
        ]
        for name, one in found.items()
    ]  # fmt: skip
    sizes = next(iter(found.values()))["exchanges_of_buckets"]
    foot = (
        f"{wall_s:g} s of training each, one run. Pace: reply tokens a second, the fastest is 1. The last columns: by "
        f"tokens of the context; they have {', '.join(f'{size:,}' for size in sizes)} test replies."
    )
    return f"{markdown_table([head, *rows])}\n{foot}\n"


def plot(file: Path, found: dict[str, dict[str, Any]]) -> None:
    """A line for each model over the middle of each bucket."""
    middles = [(first + last) / 2 for first, last in zip([1, *BUCKETS[:-1]], BUCKETS, strict=True)]
    drawn = {
        name: {
            middle: value
            for middle, value in zip(middles, one["bits_per_byte_of_buckets"], strict=True)
            if value is not None
        }
        for name, one in found.items()
    }
    lines(file, "tokens of the context", [("Replies", "bits per byte", drawn)], log=False, width=7.5)
