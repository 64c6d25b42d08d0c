"""What all questions of this bench ask: real first turns, replies of given lengths, one size of model."""

from __future__ import annotations

import functools
import itertools
import random
from pathlib import Path
from typing import Any

from bench.setting import Setting
from bench.training.corpus import TEXT, TRANSFORMER
from rejoinder.corpora import Conversation, chitchat

CONTENDERS = "bench.serving.contenders"
NEW_TOKENS = 24
"""Of each reply where lengths do not matter."""
SHORTEST, LONGEST = 3, 40
"""Where they do, drawn evenly."""
SLOTS, BATCH = 32, 32
THREADS = 1
"""Of a replica's engine, as by default: proxy and client need cores too."""
Body = dict[str, Any]


def recipe(home: Path, port: int, **serving: Any) -> dict[str, Any]:
    """The plain values of a recipe that serves on this port."""
    return {
        "name": "bench",
        "data": {"corpora": [{"name": "chitchat"}]},
        "text": TEXT,
        "model": TRANSFORMER,
        "storage": {"uri": str(home)},
        "cluster": {"address": "local", "num_cpus": 8},
        "registry": {"tracking_uri": None},
        "serving": {
            "port": port, "num_slots": SLOTS, "max_queued_requests": 256, "precision": "int8",
            "max_replicas": 1, "cpus_per_replica": THREADS, **serving,
        },
    }  # fmt: skip


@functools.cache
def texts(most: int = 2_000) -> tuple[str, ...]:
    """What people said."""
    found = (
        turn.text
        for talk in chitchat.read(chitchat.Settings())
        if isinstance(talk, Conversation)
        for turn in talk.turns
    )
    return tuple(itertools.islice((text for text in found if 2 < len(text) < 120), most))


def bodies(stream: bool, num_tokens: int | None = NEW_TOKENS, seed: int = 0) -> itertools.cycle[Body]:
    """Chat requests without end. Each reply has so many tokens; None draws its length."""
    chance = random.Random(seed)
    made = []
    for text in texts():
        length = num_tokens or chance.randint(SHORTEST, LONGEST)
        made.append(
            {"model": "chat", "messages": [{"role": "user", "content": text}], "stream": stream,
             "max_tokens": length, "min_reply_tokens": length, "temperature": 0}
        )  # fmt: skip
    chance.shuffle(made)
    return itertools.cycle(made)


def seconds(setting: Setting, full: float, share: float = 1.0) -> float:
    """How long something is measured: --wall-s is for all of a question, of which this is a share."""
    return 1.0 if setting.tiny else full if setting.wall_s is None else max(1.0, share * setting.wall_s)
