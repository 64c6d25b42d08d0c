"""A prepared set in, JoeyNMT's bits per byte after so many seconds of training out: a Transformer of our size."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from joeynmt import training
from joeynmt.prediction import predict

from bench.setting import answers
from bench.training.ended import bits_of, num_tokens
from bench.training.ids_as_words import write_words
from rejoinder.shards import ShardSet


def measure(
    shards: str, model: dict[str, int], text: dict[str, int], folder: str, threads: int, wall_s: float, rate: float,
    batch_tokens: int,
) -> dict[str, Any]:  # fmt: skip
    """One process: JoeyNMT's own spreads over GPUs only."""
    torch.set_num_threads(threads)
    write_words(Path(shards), Path(folder))
    found: dict[str, Any] = {"num_steps": 0}
    make_step, make_all = training.TrainManager._train_step, training.TrainManager.train_and_validate

    def step(manager: Any, batch: Any) -> Any:
        found.setdefault("begun", time.perf_counter())
        if time.perf_counter() - found["begun"] >= wall_s:
            raise KeyboardInterrupt  # its own way of ending early
        found["num_steps"] += 1
        return make_step(manager, batch)

    def all_steps(manager: Any, train_data: Any, valid_data: Any) -> None:
        make_all(manager, train_data, valid_data)
        found["trained_s"] = time.perf_counter() - found["begun"]
        scoring = manager.dev_cfg._replace(return_prob="ref", return_attention=True)  # it fails without the second
        scores, *_ = predict(
            model=manager.model, data=valid_data, compute_loss=True, device=manager.device, n_gpu=0,
            normalization="none", args=scoring, autocast=manager.autocast,
        )  # fmt: skip
        found["nats_per_token"] = math.log(scores["ppl"])

    training.TrainManager._train_step, training.TrainManager.train_and_validate = step, all_steps
    training.train(0, 1, settings(Path(folder), model, text, rate, batch_tokens), skip_test=True)
    valid_set = ShardSet(Path(shards), "valid")
    bits = bits_of(found["nats_per_token"] * num_tokens(valid_set), valid_set)
    return {"bits_per_byte": bits, "trained_s": found["trained_s"], "num_steps": found["num_steps"]}


def settings(folder: Path, model: dict[str, int], text: dict[str, int], rate: float, batch_tokens: int) -> Any:
    """As its Transformer examples have them, in our sizes and with our peak rate."""

    def half(num_layers: int) -> dict[str, Any]:
        return {
            "type": "transformer", "num_layers": num_layers, "num_heads": model["num_heads"],
            "embeddings": {"embedding_dim": model["width"], "scale": True, "dropout": 0.0},
            "hidden_size": model["width"], "ff_size": model["feedforward_width"], "dropout": 0.1, "layer_norm": "pre",
        }  # fmt: skip

    def side(name: str, max_length: int) -> dict[str, Any]:
        vocabulary = str(folder / "vocabulary.txt")
        return {"lang": name, "level": "word", "max_length": max_length, "voc_file": vocabulary}

    return {
        "name": "bench", "joeynmt_version": "2.3.0", "model_dir": str(folder), "use_cuda": False, "random_seed": 0,
        "data": {
            "train": str(folder / "train"), "dev": str(folder / "valid"), "dataset_type": "plain",
            "src": side("context", text["max_context_tokens"] + 1), "trg": side("reply", text["max_reply_tokens"] + 1),
        },
        "testing": {"batch_size": batch_tokens, "batch_type": "token", "beam_size": 1, "eval_metrics": []},
        "training": {
            "optimizer": "adamw", "adam_betas": [0.9, 0.98], "learning_rate": rate, "clip_grad_norm": 1.0,
            "scheduling": "warmupinversesquareroot", "learning_rate_warmup": 50, "normalization": "tokens",
            "batch_size": batch_tokens // 2, "batch_type": "token", "epochs": 10_000, "validation_freq": 10**9,
            "logging_freq": 100, "early_stopping_metric": "ppl", "overwrite": True,
        },
        "model": {
            "initializer": "xavier_uniform", "embed_initializer": "xavier_uniform", "bias_initializer": "zeros",
            "tied_embeddings": True, "tied_softmax": True,
            "encoder": half(model["num_encoder_layers"]), "decoder": half(model["num_decoder_layers"]),
        },
    }  # fmt: skip


if __name__ == "__main__":
    answers(measure)
