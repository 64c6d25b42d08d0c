"""The bare tokenizers library: `encode_batch` of every turn, cleaned and in memory, on all cores, and nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import tokenizers

from bench.setting import answers
from rejoinder.text import clean

SLAB = 10_000
"""Turns of one call."""


def measure(corpus: str, tokenizer: str) -> dict[str, Any]:
    """Seconds of the calls alone: reading and cleaning stand before them."""
    library = tokenizers.Tokenizer.from_str(json.dumps(json.loads(Path(tokenizer).read_text())["tokenizer"]))
    with Path(corpus).open(encoding="utf-8") as lines:
        texts = [clean(message["content"]) for line in lines for message in json.loads(line)["messages"]]
    library.encode_batch(texts[:1000])
    started = time.perf_counter()
    for first in range(0, len(texts), SLAB):
        library.encode_batch(texts[first : first + SLAB], add_special_tokens=False)
    seconds = time.perf_counter() - started
    return {"encode_s": seconds, "num_turns": len(texts), "num_bytes": sum(len(text.encode()) for text in texts)}


if __name__ == "__main__":
    answers(measure)
