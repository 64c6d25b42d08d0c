"""A recipe's name in, its pace on one GPU out: our updates on full batches of random ids, one microbatch a step."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.setting import answers
from rejoinder.batches import Batch, Position, RankStep
from rejoinder.command_line import RECIPES
from rejoinder.models import build_model
from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import Recipe, load_recipe
from rejoinder.text import OTHER_ID, START_ID
from rejoinder.training.objective import Objective
from rejoinder.training.plain import PlainContext
from rejoinder.training.update import Updater

MATRIX = 8_192


def measure(recipe: str, warmup_steps: int, measured_steps: int, device: str = "cuda") -> dict[str, Any]:
    """Tokens a second; FLOPs are those of matrix products and attention, counted by torch in one step."""
    place = torch.device(device)
    wanted = load_recipe(RECIPES / f"{recipe}.yaml")
    torch.manual_seed(0)
    model = build_model(wanted, wanted.text.vocabulary_size).to(place)
    optimizer, settings = build_optimizer(model, wanted.training), wanted.training
    context = PlainContext(0, 1, place)
    updater = Updater(Objective(model, settings), model, optimizer, settings, context, None)
    batch = full_batch(wanted)
    num_reply_tokens, num_tokens = batch.reply_ids_BT.numel(), batch.num_padded_tokens
    share = RankStep(Position(), num_reply_tokens, [batch], is_idle=False)

    def step(number: int) -> None:
        updater.make(number, share, settings.learning_rate, 0.0, lambda read: None)

    with FlopCounterMode(display=False) as counter:
        step(1)
    for number in range(warmup_steps):
        step(number + 2)
    _wait(place)
    started = time.perf_counter()
    for number in range(measured_steps):
        step(number + warmup_steps + 2)
    _wait(place)
    step_s = (time.perf_counter() - started) / measured_steps
    matmul = matmul_flops_per_s(place)
    return {
        "tokens_per_s": num_tokens / step_s,
        "reply_tokens_per_s": num_reply_tokens / step_s,
        "step_s": step_s,
        "flops_of_a_step": counter.get_total_flops(),
        "matmul_tflops": matmul / 1e12,
        "utilisation_percent": 100 * counter.get_total_flops() / step_s / matmul,
        "num_parameters": model.num_parameters,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if place.type == "cuda" else 0.0,
    }


def full_batch(recipe: Recipe) -> Batch:
    """As many exchanges of the recipe's greatest lengths as one worker holds at a time; in pinned memory with a GPU."""
    text, training = recipe.text, recipe.training
    num_rows = (training.max_microbatch_tokens or training.batch_tokens) // (
        text.max_context_tokens + text.max_reply_tokens
    )
    contexts, replies = (
        torch.randint(OTHER_ID + 1, text.vocabulary_size, (num_rows, width))
        for width in (text.max_context_tokens, text.max_reply_tokens)
    )
    inputs = torch.cat([torch.full((num_rows, 1), START_ID), replies[:, :-1]], dim=1)
    batch = Batch(
        contexts, torch.zeros_like(contexts, dtype=torch.bool), inputs, replies, torch.zeros_like(replies).bool()
    )
    return batch.pin_memory() if torch.cuda.is_available() else batch


def matmul_flops_per_s(device: torch.device, size: int = MATRIX, num: int = 50) -> float:
    """What the card does in bf16 when it multiplies large matrices and nothing else."""
    size, num = (size, num) if device.type == "cuda" else (512, 3)
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    _wait(device)
    started = time.perf_counter()
    for _ in range(num):
        a @ b
    _wait(device)
    return 2 * size**3 * num / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    answers(measure)
