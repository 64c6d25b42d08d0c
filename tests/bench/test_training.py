"""What the training bench's contenders learn from, how a peer's measure is counted, and what is said of a start."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.framework import read_floors
from bench.setting import Setting
from bench.training import corpus
from bench.training.contenders import ours_gpu, tutorial_loop
from bench.training.contenders.ours_ray import tokens_of_steps
from bench.training.contenders.seq2seq_trainer import NOT_LEARNT, bart, collate, nats, rows_of
from bench.training.ended import bits_of, ended_rows, measured_bits, num_tokens
from bench.training.ids_as_words import write_words
from bench.training.starting import MARK, processes
from rejoinder.batches import Position, epochs_from, load
from rejoinder.recipe import validate
from rejoinder.shards import ShardSet

SIZES = {"width": 8, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "feedforward_width": 16}
TEXT = {"max_context_tokens": 64, "max_reply_tokens": 24}


def test_the_floors_are_the_promised_ones_or_higher() -> None:
    """Never lowered to pass."""
    speed, recurrent, quality = (read_floors(f"training.{name}") for name in ("speed", "recurrent", "quality"))
    assert (speed["Transformer against DDP by hand"].ratio or 0) >= 0.97
    assert (speed["Transformer against Seq2SeqTrainer"].ratio or 0) >= 2.5
    assert (recurrent["GRU with attention against a loop over tokens"].ratio or 0) >= 10
    assert len(quality) == 3
    assert all((floor.ratio or 0) >= 1 for floor in quality.values())


def test_the_recipes_are_valid_and_differ_in_what_is_asked(tmp_path: Path) -> None:
    setting = Setting(tmp_path, cores=2, tiny=True)
    one, two = (validate(corpus.recipe(setting, corpus.TRANSFORMER, workers)) for workers in (1, 2))
    assert (one.scaling.num_workers, two.scaling.num_workers) == (1, 2)
    assert one.training == two.training
    assert one.training.precision == "fp32"
    assert validate(corpus.recipe(setting, corpus.GRU)).model.name == "gru_attention"


def test_the_tokens_of_steps_are_those_of_their_batches(prepared_set: Path, tmp_path: Path) -> None:
    made = validate(corpus.recipe(Setting(tmp_path, cores=2, tiny=True), corpus.TRANSFORMER))
    shard_set = ShardSet(prepared_set, "train")
    training = made.training
    batches = epochs_from(Position(), shard_set, training.batch_tokens, training.seed, None, training.pieces_per_batch)
    tokens = [int(shard_set.reply_lengths[next(batches)[1].rows].sum()) for _ in range(4)]
    assert tokens_of_steps(made, prepared_set, 1, 4) == sum(tokens[1:])


def test_ids_as_words_are_the_ids(prepared_set: Path, tmp_path: Path) -> None:
    write_words(prepared_set, tmp_path)
    shard_set = ShardSet(prepared_set, "valid")
    kept = ended_rows(shard_set)
    rows = shard_set.rows(kept)
    contexts, replies = ((tmp_path / f"valid.{name}").read_text().splitlines() for name in ("context", "reply"))
    assert contexts == [" ".join(f"t{id}" for id in ids) for ids in rows.context_ids]
    # One word less than ids: the end token is each toolkit's own.
    assert [len(reply.split()) for reply in replies] == (shard_set.reply_lengths[kept] - 1).tolist()
    words = (tmp_path / "vocabulary.txt").read_text().split()
    assert len(words) == len(set(words)) == shard_set.tokenizer().num_ids


def test_a_model_that_knows_nothing_has_the_bits_of_a_uniform_guess(prepared_set: Path) -> None:
    shard_set = ShardSet(prepared_set, "valid")
    num_ids = shard_set.tokenizer().num_ids
    model = bart(SIZES, TEXT, num_ids)
    torch.nn.init.zeros_(model.get_input_embeddings().weight)  # the output layer too: they are tied
    expected = bits_of(math.log(num_ids) * num_tokens(shard_set), shard_set)
    assert measured_bits(lambda batch: nats(model, batch), shard_set) == pytest.approx(expected, rel=1e-5)


def test_the_trainer_is_given_the_same_exchanges(prepared_set: Path) -> None:
    shard_set = ShardSet(prepared_set, "train")
    batch, own = collate(rows_of(shard_set)[:5]), load(shard_set, np.arange(5))
    assert torch.equal(batch["input_ids"], own.context_ids_BS)
    assert torch.equal(batch["labels"] != NOT_LEARNT, ~own.reply_is_pad_BT)
    assert torch.equal(batch["labels"][~own.reply_is_pad_BT], own.reply_ids_BT[~own.reply_is_pad_BT])


def test_the_tutorials_loop_learns(prepared_set: Path) -> None:
    """A peer that does not learn would be no peer."""
    torch.manual_seed(0)
    shard_set, width = ShardSet(prepared_set, "train"), 32
    num_ids = shard_set.tokenizer().num_ids
    embedding = torch.nn.Embedding(num_ids, width)
    encoder, decoder = tutorial_loop.Encoder(embedding, width), tutorial_loop.Decoder(embedding, width, num_ids)
    optimizers = [torch.optim.Adam(half.parameters(), lr=1e-2) for half in (encoder, decoder)]
    rows = np.arange(16)
    batch = load(shard_set, rows[np.argsort(-shard_set.context_lengths[rows], kind="stable")])
    losses = [tutorial_loop.learn(batch, encoder, decoder, optimizers) for _ in range(12)]
    assert losses[0] == pytest.approx(math.log(num_ids), rel=0.1)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
def test_the_gpu_contender_runs_on_a_cpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be tried here is the GPU; all else of it can."""
    small = validate({
        "name": "test", "data": {"corpora": [{"name": "made_up"}]}, "text": {"vocabulary_size": 400},
        "model": {"name": "transformer"}, "training": {"batch_tokens": 512},
    })  # fmt: skip
    monkeypatch.setattr(ours_gpu, "load_recipe", lambda file: small)
    found = ours_gpu.measure("base", 1, 2, device="cpu")
    assert found["tokens_per_s"] > found["reply_tokens_per_s"] > 0
    # Forward and backward of a weight in a matrix product: 6 FLOPs for each token that it reads, of 512 or fewer.
    assert 0 < found["flops_of_a_step"] < 6 * found["num_parameters"] * 512 * 1.5
    assert found["utilisation_percent"] > 0


def test_processes_are_known_by_their_mark() -> None:
    command = [sys.executable, "-c", "input()"]
    child = subprocess.Popen(command, env=os.environ | {MARK: "of-this-test"}, stdin=subprocess.PIPE)
    try:
        while not (found := processes("of-this-test")):
            assert child.poll() is None
    finally:
        child.communicate(b"\n")
    assert [pid for pid, _ in found] == [child.pid]
