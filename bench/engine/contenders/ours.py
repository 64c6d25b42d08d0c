"""Our engine with a model prepared for inference: closed batches, an open loop, or its cost by the context's length."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from bench.engine.contenders.services import Told, closed_rate, highest_rate
from bench.engine.corpus import NEW_TOKENS, Request, model
from bench.setting import answers
from rejoinder.decoding import Decoding
from rejoinder.engine import Engine
from rejoinder.models import prepared_for_inference


class Ours:
    """An engine that is asked for greedy replies."""

    def __init__(self, name: str, precision: str, num_slots: int, max_context: int) -> None:
        made = prepared_for_inference(model(name, max_context), precision)  # type: ignore[arg-type]
        self.engine = Engine(made, num_slots, 100_000)
        self.engine.warm_up()
        self.engine.start()

    def submit(self, request: Request, on_first: Told, on_done: Told) -> None:
        context, length = request
        is_first = True

        def on_token(_id: int) -> None:
            nonlocal is_first
            if is_first:
                is_first = False
                on_first()

        decoding = Decoding(
            temperature=0, top_k=0, top_p=1, repetition_penalty=1, min_reply_tokens=0, max_reply_tokens=length
        )
        self.engine.submit(context, decoding, on_token, lambda _finish: on_done())

    def write(self, requests: Sequence[Request]) -> None:
        """All of them, to the end."""
        left = threading.Semaphore(0)
        for request in requests:
            self.submit(request, lambda: None, left.release)
        for _ in requests:
            left.acquire()


def measure(
    mode: str, threads: int, seconds: float, precision: str, name: str = "transformer", num_rows: int = 32,
    first_rate: float = 20.0, lengths: Sequence[int] = (),
) -> dict[str, Any]:  # fmt: skip
    """`closed`: tokens a second; `open`: the highest rate; `contexts`: bytes a slot and seconds by length."""
    torch.set_num_threads(threads)
    if mode == "contexts":
        return {"by_length": [_by_length(name, precision, length, num_rows) for length in lengths]}
    ours = Ours(name, precision, num_rows, 40)
    try:
        if mode == "closed":
            return {"tokens_per_s": closed_rate(ours.write, num_rows, seconds)}
        best, trials = highest_rate(ours, first_rate, seconds)
        return asdict(best) | {"trials": [asdict(trial) for trial in trials]}
    finally:
        ours.engine.stop()


def _by_length(name: str, precision: str, length: int, num_rows: int) -> dict[str, float]:
    """What one slot costs where contexts have this many tokens."""
    made = prepared_for_inference(model(name, length), precision)  # type: ignore[arg-type]
    ids_BS = torch.randint(16, made.num_ids, (num_rows, length))
    encode_s, step_s = float("inf"), float("inf")
    with torch.inference_mode():
        for _ in range(4):
            begun = time.perf_counter()
            state = made.start(ids_BS, torch.zeros_like(ids_BS, dtype=torch.bool))
            encode_s, ids_B = min(encode_s, time.perf_counter() - begun), torch.ones(num_rows, dtype=torch.long)
            num_bytes = sum(tensor.nbytes for tensor in state.values())
            begun = time.perf_counter()
            for _ in range(NEW_TOKENS):
                logits_BV, state = made.step(ids_B, state)
                ids_B = logits_BV.argmax(1)
            step_s = min(step_s, (time.perf_counter() - begun) / NEW_TOKENS)
    return {
        "context_tokens": length, "bytes_per_slot": num_bytes / num_rows,
        "encode_ms_per_row": 1e3 * encode_s / num_rows, "step_us_per_row": 1e6 * step_s / num_rows,
    }  # fmt: skip


if __name__ == "__main__":
    answers(measure)
