"""A prepared set in, Eole's bits per byte after so many seconds of training out: a Transformer of our size."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from eole.bin.main import main
from eole.trainer import Trainer

from bench.setting import answers
from bench.training.ended import bits_of, num_tokens
from bench.training.ids_as_words import write_words
from rejoinder.shards import ShardSet


class Enough(Exception):
    """The time is over."""


def measure(
    shards: str, model: dict[str, int], text: dict[str, int], folder: str, threads: int, wall_s: float, rate: float,
    batch_tokens: int,
) -> dict[str, Any]:  # fmt: skip
    """One process: Eole's own spreads over GPUs only."""
    torch.set_num_threads(threads)
    write_words(Path(shards), Path(folder))
    file = Path(folder) / "train.yaml"
    file.write_text(yaml.safe_dump(settings(Path(folder), model, text, rate, batch_tokens)), encoding="utf-8")
    found: dict[str, Any] = {"num_steps": 0}
    make_step, make_all = Trainer._train_step, Trainer.train

    def step(trainer: Any, *batches: Any, **more: Any) -> None:
        found.setdefault("begun", time.perf_counter())
        if time.perf_counter() - found["begun"] >= wall_s:
            raise Enough
        found["num_steps"] += 1
        make_step(trainer, *batches, **more)

    def all_steps(trainer: Any, *words: Any, valid_iter: Any = None, **more: Any) -> None:
        try:
            make_all(trainer, *words, valid_iter=valid_iter, **more)
        except Enough:
            found["trained_s"] = time.perf_counter() - found["begun"]
        stats = trainer.validate(valid_iter)
        found["nats"], found["num_tokens"] = float(stats.loss), int(stats.n_tokens)
        raise Enough

    Trainer._train_step, Trainer.train = step, all_steps
    sys.argv = ["eole", "train", "--config", str(file)]
    with suppress(Enough):
        main()
    valid_set = ShardSet(Path(shards), "valid")
    expected = num_tokens(valid_set)
    assert found["num_tokens"] == expected, f"measured on {found['num_tokens']} tokens, the split has {expected}"
    bits = bits_of(found["nats"], valid_set)
    return {"bits_per_byte": bits, "trained_s": found["trained_s"], "num_steps": found["num_steps"]}


def settings(folder: Path, model: dict[str, int], text: dict[str, int], rate: float, batch_tokens: int) -> Any:
    """As its Transformer recipes have them, in our sizes and with our peak rate."""
    vocabulary = str(folder / "vocabulary.txt")

    def files(split: str) -> dict[str, str]:
        return {"path_src": str(folder / f"{split}.context"), "path_tgt": str(folder / f"{split}.reply")}

    return {
        "seed": 1, "share_vocab": True, "src_vocab": vocabulary, "tgt_vocab": vocabulary, "save_data": str(folder),
        "data": {"corpus_1": files("train"), "valid": files("valid")}, "transforms": [],
        "model": {
            "architecture": "transformer", "hidden_size": model["width"], "heads": model["num_heads"],
            "transformer_ff": model["feedforward_width"], "share_embeddings": True, "share_decoder_embeddings": True,
            "embeddings": {
                "word_vec_size": model["width"], "position_encoding_type": "SinusoidalInterleaved",
            },
            "encoder": {"encoder_type": "transformer", "layers": model["num_encoder_layers"]},
            "decoder": {"decoder_type": "transformer", "layers": model["num_decoder_layers"]},
        },
        "training": {
            "model_path": str(folder / "model"), "world_size": 1, "gpu_ranks": [], "num_workers": 0,
            "compute_dtype": "fp32", "batch_type": "tokens", "batch_size": batch_tokens // 2, "normalization": "tokens",
            "valid_batch_size": batch_tokens, "bucket_size": 100_000, "train_steps": 10**7, "valid_steps": 10**7,
            "save_checkpoint_steps": 0, "optim": "adamw", "adam_beta2": 0.98, "learning_rate": rate,
            "decay_method": "rsqrt", "warmup_steps": 50, "max_grad_norm": 1.0, "dropout": [0.1],
            "attention_dropout": [0.1], "param_init_method": "xavier_uniform",
        },
    }  # fmt: skip


if __name__ == "__main__":
    answers(measure)
