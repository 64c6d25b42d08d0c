"""A recipe in, the pace of our Ray Train loop out, taken from the times at which rank 0 tells the tracker its steps."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from bench.setting import answers
from bench.training.ended import measured_bits
from rejoinder import checkpoints, cluster
from rejoinder.batches import Batch, Position, epochs_from
from rejoinder.loss import loss_sum
from rejoinder.recipe import Recipe, validate
from rejoinder.shards import ShardSet, prepare
from rejoinder.training import NoTracker, train


@dataclass
class StepLog(NoTracker):
    """A tracker that writes a line for each report: when it came, on the machine's clock, and of which step."""

    file: str

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Validations are no steps."""
        if "train_loss" in metrics:
            with open(self.file, "a", encoding="utf-8") as out:
                out.write(json.dumps([step, time.time()]) + "\n")


def measure(recipe: dict[str, Any], warmup_steps: int, measured_steps: int) -> dict[str, Any]:
    """Reply tokens a second between the reports of two steps: all that the loop does is in it."""
    never = {"validate_every_steps": 10**6, "checkpoint_every_steps": 10**6}
    training = recipe["training"] | never | {"num_steps": warmup_steps + measured_steps}
    wanted = validate(recipe | {"training": training})
    log = Path(wanted.storage.uri) / "steps.jsonl"
    log.unlink(missing_ok=True)
    with cluster.connect(wanted):
        prepared = prepare(wanted)
        asked_at = time.time()
        run = train(wanted, prepared, StepLog(str(log)), fresh=True)
    times = dict(json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    first, last = warmup_steps, warmup_steps + measured_steps
    num_tokens = tokens_of_steps(wanted, prepared.directory, first, last)
    return {
        "tokens_per_s": num_tokens / (times[last] - times[first]),
        "num_tokens": num_tokens,
        "to_the_last_step_s": times[last] - asked_at,
        "trained_s": (times[last] - times[first]) * last / (last - first),
        "bits_per_byte": bits_of_checkpoint(run.checkpoint, prepared.directory),
        "num_steps": last,
    }


@torch.inference_mode()
def bits_of_checkpoint(checkpoint: Path, shards: Path) -> float:
    """Bits per byte of the validation replies."""
    model = checkpoints.load(checkpoint).model.eval()

    def nats(batch: Batch) -> float:
        return loss_sum(model(batch), batch.reply_ids_BT[~batch.reply_is_pad_BT]).item()

    return measured_bits(nats, ShardSet(shards, "valid"))


def tokens_of_steps(recipe: Recipe, shards: Path, first: int, last: int) -> int:
    """Reply tokens, over all workers, of the steps after `first` up to `last`."""
    training = recipe.training
    batches = epochs_from(
        Position(), ShardSet(shards, "train"), training.batch_tokens, training.seed, None, training.pieces_per_batch
    )
    return sum(batch.num_reply_tokens for _, batch in islice(batches, first, last))


if __name__ == "__main__":
    answers(measure)
