"""The bare engine in one process, with the endpoint's model: what a reply takes where nothing stands around it."""

from __future__ import annotations

import time
from typing import Any

import torch

from bench.engine.contenders.ours import Ours
from bench.engine.corpus import closed
from bench.serving.corpus import NEW_TOKENS, SLOTS
from bench.setting import answers


def measure(threads: int, seconds: float) -> dict[str, Any]:
    """Seconds of each reply, one after the other."""
    torch.set_num_threads(threads)
    ours = Ours("transformer", "int8", SLOTS, 40)
    took: list[float] = []
    try:
        requests = [(context[:12], NEW_TOKENS) for context, _ in closed(512)]
        ours.write(requests[:8])
        begun = time.perf_counter()
        for request in requests:
            at = time.perf_counter()
            ours.write([request])
            took.append(time.perf_counter() - at)
            if time.perf_counter() - begun > seconds:
                break
        return {"reply_s": sorted(took)[len(took) // 2], "num": len(took)}
    finally:
        ours.engine.stop()


if __name__ == "__main__":
    answers(measure)
