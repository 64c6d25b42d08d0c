"""A model whose right reply is known, and a listener."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rejoinder.batches import Batch
from rejoinder.decoding import Decoding
from rejoinder.engine import Engine, Finish
from rejoinder.models import Seq2Seq, State
from rejoinder.text import END_ID, NUM_CONTROL_IDS, PAD_ID

POISON = NUM_CONTROL_IDS


class Echo(Seq2Seq):
    """Says its context, token by token, then the end: a row that was mixed up with another would say that one's.

    `gate` can be closed to hold the engine before a step; a step that sees POISON in a context fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_ids, self.max_context_tokens, self.max_reply_tokens = 100, 20, 30
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.gate = threading.Event()
        self.gate.set()
        self.batch_sizes: list[int] = []

    def hidden(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        room = self.max_context_tokens + 1 - context_ids_BS.shape[1]
        said_next_BP = F.pad(context_ids_BS.masked_fill(context_is_pad_BS, END_ID), [0, room], value=END_ID)
        return {"said_next_BP": said_next_BP, "place_B": torch.zeros(len(context_ids_BS), dtype=torch.long)}

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        self.gate.wait(10)
        self.batch_sizes.append(len(ids_B))
        if (state["said_next_BP"] == POISON).any():
            raise ArithmeticError("poison")
        # Whoever says something else than the echo may go on behind the end.
        place_B = state["place_B"].clamp(max=self.max_context_tokens)
        next_B = state["said_next_BP"].gather(1, place_B[:, None])[:, 0]
        assert PAD_ID not in next_B
        return F.one_hot(next_B, self.num_ids).float(), state | {"place_B": state["place_B"] + 1}


def greedy(max_reply_tokens: int = 30, **changes: Any) -> Decoding:
    """The most probable tokens."""
    settings = {"temperature": 0, "top_k": 0, "top_p": 1, "repetition_penalty": 1, "min_reply_tokens": 0}
    return Decoding(max_reply_tokens=max_reply_tokens, **(settings | changes))


@dataclass
class Listener:
    """What was told of one request."""

    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None
    num_finishes: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    cancel: Callable[[], None] = lambda: None

    def on_finish(self, finish: Finish) -> None:
        self.finish = finish
        self.num_finishes += 1
        self.done.set()

    def wait(self) -> Listener:
        assert self.done.wait(20), "no end was told"
        return self


def ask(engine: Engine, context_ids: list[int], decoding: Decoding | None = None) -> Listener:
    """Submits a request with a listener of its own."""
    listener = Listener()
    listener.cancel = engine.submit(context_ids, decoding or greedy(), listener.ids.append, listener.on_finish)
    return listener


@dataclass
class Kit:
    """What the tests of the engine work with: a test module cannot import from a conftest."""

    model: Echo
    start: Callable[..., Engine]
    ask = staticmethod(ask)
    greedy = staticmethod(greedy)
    Listener = Listener
    poison = POISON


@pytest.fixture
def kit() -> Iterator[Kit]:
    """`kit.start(num_slots, max_queued)` starts an engine; all of them are stopped at the end."""
    engines: list[Engine] = []
    model = Echo()

    def start(num_slots: int, max_queued: int, model: Seq2Seq = model, **limits: int) -> Engine:
        engines.append(Engine(model, num_slots, max_queued, **limits).start())
        return engines[-1]

    yield Kit(model, start)
    model.gate.set()
    for engine in engines:
        engine.stop()


def eventually(claim: Any) -> bool:
    """Whether a claim comes true within some seconds."""
    deadline = time.monotonic() + 10
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def is_idle(engine: Engine) -> bool:
    now = engine.statistics()
    return (now.num_running, now.num_waiting) == (0, 0)
