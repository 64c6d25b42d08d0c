"""A recipe and a time in; how often a trained model says the same in int8 and bf16 as in fp32, and its BLEU, out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu
import torch

from bench.models.contenders.train_and_measure import SHORT_STEPS, run, with_steps
from bench.setting import answers
from rejoinder import checkpoints
from rejoinder.batches import Batch, load, plan_epoch
from rejoinder.decoding import forbid_control_tokens
from rejoinder.models import Seq2Seq, prepared_for_inference
from rejoinder.shards import ShardSet
from rejoinder.text import END_ID, START_ID

PRECISIONS = ("fp32", "bf16", "int8")
ROWS_AT_ONCE = 32


def measure(
    recipe: dict[str, Any], shards: str, folder: str, threads: int, wall_s: float, num_rows: int
) -> dict[str, Any]:
    """Trains for about `wall_s`, then replies greedily to `num_rows` exchanges of the test split."""
    torch.set_num_threads(threads)
    train_set, test_set = ShardSet(Path(shards), "train"), ShardSet(Path(shards), "test")
    short = with_steps(recipe, 2 * SHORT_STEPS)
    pace, _ = run(short, shards, Path(folder) / "short")
    planned = plan_epoch(train_set, short.training.batch_tokens, short.training.seed, 0)
    tokens_of_a_step = int(train_set.reply_lengths.sum()) / len(planned)
    num_steps = max(2 * SHORT_STEPS, int(wall_s * pace / tokens_of_a_step))
    _, best = run(with_steps(recipe, num_steps), shards, Path(folder) / "long")
    trained = checkpoints.load(best)
    rows = np.sort(np.random.default_rng(0).choice(len(test_set), min(num_rows, len(test_set)), replace=False))
    batches = [load(test_set, rows[first : first + ROWS_AT_ONCE]) for first in range(0, len(rows), ROWS_AT_ONCE)]
    to_text = trained.tokenizer.to_text
    human = [to_text([id for id in ids.tolist() if id != END_ID]) for ids in test_set.rows(rows).reply_ids]
    expected = [greedy(trained.model, batch) for batch in batches]
    found: dict[str, Any] = {"num_steps": num_steps, "num_replies": len(rows)}
    for precision in PRECISIONS:
        model = prepared_for_inference(trained.model, precision)  # type: ignore[arg-type]
        same = [agreement(model, batch, said_BT) for batch, said_BT in zip(batches, expected, strict=True)]
        replies = [to_end(row) for batch in batches for row in greedy(model, batch).tolist()]
        alone = [
            to_end(greedy(model, load(test_set, rows[row : row + 1])).tolist()[0]) for row in range(0, len(rows), 8)
        ]
        found[precision] = {
            "same_tokens": sum(one for one, _ in same) / sum(all for _, all in same),
            "same_alone": float(np.mean([one == replies[8 * place] for place, one in enumerate(alone)])),
            "bleu": sacrebleu.corpus_bleu([to_text(ids) for ids in replies], [human]).score,
        }
    replies = [to_end(row) for said_BT in expected for row in said_BT.tolist()]
    return found | {"bleu": sacrebleu.corpus_bleu([to_text(ids) for ids in replies], [human]).score}


@torch.inference_mode()
def greedy(model: Seq2Seq, batch: Batch) -> torch.Tensor:
    """said_BT, END_ID and what comes after it included."""
    state = model.start(batch.context_ids_BS, batch.context_is_pad_BS)
    ids_B, said = torch.full((len(batch.context_ids_BS),), START_ID), []
    for _ in range(model.max_reply_tokens):
        logits_BV, state = model.step(ids_B, state)
        ids_B = forbid_control_tokens(logits_BV).argmax(1)
        said.append(ids_B)
    return torch.stack(said, dim=1)


@torch.inference_mode()
def agreement(model: Seq2Seq, batch: Batch, said_BT: torch.Tensor) -> tuple[int, int]:
    """(tokens that are the same, all tokens), up to each reply's end, where every token follows what fp32 said."""
    state = model.start(batch.context_ids_BS, batch.context_is_pad_BS)
    ids_B = torch.full((len(said_BT),), START_ID)
    counts_B, same = torch.ones(len(said_BT), dtype=torch.bool), torch.zeros(2, dtype=torch.long)
    for expected_B in said_BT.unbind(1):
        logits_BV, state = model.step(ids_B, state)
        is_same_B = forbid_control_tokens(logits_BV).argmax(1) == expected_B
        same += torch.stack([(is_same_B & counts_B).sum(), counts_B.sum()])
        counts_B, ids_B = counts_B & (expected_B != END_ID), expected_B
    return int(same[0]), int(same[1])


def to_end(ids: list[int]) -> list[int]:
    """What stands before the end token."""
    return ids[: ids.index(END_ID)] if END_ID in ids else ids


if __name__ == "__main__":
    answers(measure)
