"""What all questions of this bench ask: made-up contexts, replies of given lengths, one size of model."""

from __future__ import annotations

import random
from typing import Any

from bench.training.corpus import GRU, TRANSFORMER

NUM_IDS, MAX_CONTEXT, MAX_REPLY = 8192, 40, 40
NEW_TOKENS = 24
"""What a closed batch writes for each row."""
BATCH = 32
SHORTEST, LONGEST = 3, 40
"""Tokens of a reply in the open-loop trace, drawn evenly; contexts have 5 to 40."""
FIRST_TOKEN_S = 0.2
CONTENDERS = "bench.engine.contenders"
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824",
}  # fmt: skip
"""Told to every contender: memory that was given back is taken again without page faults."""

Request = tuple[list[int], int]
"""A context, and how many tokens its reply has."""


def closed(num: int, seed: int = 0) -> list[Request]:
    """A batch of contexts of 40 tokens."""
    chance = random.Random(seed)
    return [([chance.randrange(16, NUM_IDS) for _ in range(MAX_CONTEXT)], NEW_TOKENS) for _ in range(num)]


def mixed(num: int, seed: int = 0) -> list[Request]:
    """Requests of an open loop."""
    chance = random.Random(seed)
    return [
        ([chance.randrange(16, NUM_IDS) for _ in range(chance.randint(5, MAX_CONTEXT))],
         chance.randint(SHORTEST, LONGEST))
        for _ in range(num)
    ]  # fmt: skip


def model(name: str, max_context: int = MAX_CONTEXT) -> Any:
    """Our model with fresh weights, the same each time, that never ends a reply by itself."""
    import torch

    from rejoinder import catalog
    from rejoinder.text import END_ID

    sizes = TRANSFORMER if name == "transformer" else GRU
    plugin = catalog.pick("rejoinder.models", name)
    torch.manual_seed(0)
    made = plugin.build(plugin.Settings(**sizes), NUM_IDS, max_context, MAX_REPLY).eval()
    with torch.no_grad():
        made.output.bias[END_ID] = -1e4
    return made
