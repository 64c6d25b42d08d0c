"""A prepared set in, the pace or the quality of Hugging Face's Seq2SeqTrainer out: BART of our size, the same ids."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import BartConfig, BartForConditionalGeneration, Seq2SeqTrainer, Seq2SeqTrainingArguments
from transformers.utils import logging as transformers_logging

from bench.setting import answers
from bench.training.ended import measured_bits
from rejoinder.batches import Batch
from rejoinder.shards import ShardSet
from rejoinder.text import END_ID, PAD_ID, START_ID

NOT_LEARNT = -100


class Timed(Seq2SeqTrainer):  # type: ignore[misc]
    """Notes, before each step, when it begins and how many tokens of the replies are in it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.begun: list[float] = []
        self.num_tokens: list[int] = []

    def training_step(self, model: Any, inputs: dict[str, Any], *more: Any, **others: Any) -> Any:
        self.begun.append(time.perf_counter())
        self.num_tokens.append(int((inputs["labels"] != NOT_LEARNT).sum()))
        return super().training_step(model, inputs, *more, **others)


def measure(
    shards: str, model: dict[str, int], text: dict[str, int], folder: str, threads: int, warmup_steps: int,
    measured_steps: int, wall_s: float | None = None, settings: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Tokens of replies a second; with `wall_s`, bits per byte after as many steps as fit into it.

    `settings` are what differs from the defaults of Seq2SeqTrainingArguments.
    """
    torch.set_num_threads(threads)
    transformers_logging.set_verbosity_error()
    rows = rows_of(ShardSet(Path(shards), "train"))
    num_ids = ShardSet(Path(shards), "train").tokenizer().num_ids

    def train(max_steps: int) -> Timed:
        torch.manual_seed(0)
        trainer = Timed(
            model=bart(model, text, num_ids), train_dataset=rows, data_collator=collate,
            args=Seq2SeqTrainingArguments(
                output_dir=folder, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
                max_steps=max_steps, ddp_backend="gloo" if "WORLD_SIZE" in os.environ else None, **settings or {},
            ),
        )  # fmt: skip
        trainer.train()
        return trainer

    trained = train(warmup_steps + measured_steps + 1)
    begun = trained.begun
    step_s = (begun[-1] - begun[warmup_steps]) / measured_steps
    num_tokens = over_all_ranks(sum(trained.num_tokens[warmup_steps:-1]))
    found = {"tokens_per_s": num_tokens / (step_s * measured_steps), "num_steps": measured_steps, "rank": _rank()}
    if wall_s is not None:
        num_steps = max(1, int(over_all_ranks(wall_s / step_s) / _world_size()))
        trained = train(num_steps)
        took_s = time.perf_counter() - trained.begun[0]
        found |= {"num_steps": num_steps, "trained_s": took_s}
        if _rank() == 0:
            learnt, valid_set = trained.model.eval(), ShardSet(Path(shards), "valid")
            found["bits_per_byte"] = measured_bits(lambda batch: nats(learnt, batch), valid_set)
    return found


def bart(model: dict[str, int], text: dict[str, int], num_ids: int) -> Any:
    """Our Transformer's sizes; all else as BART has it, its dropout too."""
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=num_ids, d_model=model["width"],
            encoder_layers=model["num_encoder_layers"], decoder_layers=model["num_decoder_layers"],
            encoder_attention_heads=model["num_heads"], decoder_attention_heads=model["num_heads"],
            encoder_ffn_dim=model["feedforward_width"], decoder_ffn_dim=model["feedforward_width"],
            max_position_embeddings=max(text["max_context_tokens"], text["max_reply_tokens"]),
            pad_token_id=PAD_ID, bos_token_id=START_ID, eos_token_id=END_ID, decoder_start_token_id=START_ID,
            forced_eos_token_id=None,
        )
    )  # fmt: skip


def rows_of(shard_set: ShardSet) -> list[dict[str, torch.Tensor]]:
    """All exchanges in memory, as tensors: the peer need not read or convert anything."""
    rows = shard_set.rows(np.arange(len(shard_set)))
    return [
        {"input_ids": torch.tensor(context, dtype=torch.long), "labels": torch.tensor(reply, dtype=torch.long)}
        for context, reply in zip(rows.context_ids, rows.reply_ids, strict=True)
    ]


def collate(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """What DataCollatorForSeq2Seq makes of them."""
    contexts = pad_sequence([row["input_ids"] for row in rows], batch_first=True, padding_value=PAD_ID)
    labels = pad_sequence([row["labels"] for row in rows], batch_first=True, padding_value=NOT_LEARNT)
    return {"input_ids": contexts, "attention_mask": (contexts != PAD_ID).long(), "labels": labels}


@torch.inference_mode()
def nats(model: Any, batch: Batch) -> float:
    """The loss of a batch, summed, in nats."""
    logits = model(
        input_ids=batch.context_ids_BS, attention_mask=(~batch.context_is_pad_BS).long(),
        decoder_input_ids=batch.reply_input_ids_BT,
    ).logits[~batch.reply_is_pad_BT]  # fmt: skip
    return F.cross_entropy(logits, batch.reply_ids_BT[~batch.reply_is_pad_BT], reduction="sum").item()


def over_all_ranks(number: float) -> float:
    """Its sum."""
    if not dist.is_initialized():
        return number
    total = torch.tensor(number, dtype=torch.double)
    dist.all_reduce(total)
    return total.item()


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


if __name__ == "__main__":
    answers(measure)
