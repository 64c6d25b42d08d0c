"""Requests enter and leave the running batch at every step; each row has its own decoding settings.

    submit ─▶ waiting ─admit: encode together─▶ running ─step: one token for every row─▶ on_token, on_finish

One thread owns the model. Whoever waits for tokens waits elsewhere: callbacks run on the engine's thread and must
return at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

from rejoinder.batches import pad
from rejoinder.decoding import Decoding, DecodingRows
from rejoinder.errors import EngineError
from rejoinder.models import Seq2Seq, State, select_rows
from rejoinder.text import END_ID, PAD_ID, START_ID

log = logging.getLogger(__name__)


class EngineFull(EngineError):
    """All slots are taken and the queue is at its limit; try again later."""


class Finish(Enum):
    """Why a reply ended."""

    END = "end"
    """The model said it all."""
    LENGTH = "length"
    """It reached the request's max_reply_tokens."""
    CANCELLED = "cancelled"
    """Nobody waits for it any more."""
    FAILED = "failed"
    """The model could not compute it; the log says why."""


@dataclass(frozen=True)
class Statistics:
    """What the engine is doing now."""

    num_running: int
    num_waiting: int
    num_tokens: int
    """Tokens said since the start."""
    seconds_since_step: float
    """Since the thread last came round: large means stuck."""


@dataclass(eq=False)
class _Request:
    context_ids: Sequence[int]
    decoding: Decoding
    on_token: Callable[[int], None]
    on_finish: Callable[[Finish], None]
    cancelled: bool = False
    slot: int = -1
    last_id: int = START_ID
    num_said: int = 0


class Engine:
    """Owns a model and writes replies with it. `start` before the first request, `stop` at the end."""

    def __init__(self, model: Seq2Seq, num_slots: int, max_queued: int) -> None:
        """At most `num_slots` replies are written at a time, and `max_queued` requests wait."""
        self.model = model.eval()
        self._device = next(model.parameters()).device
        self._max_queued = max_queued
        self._free_slots = list(reversed(range(num_slots)))
        self._decoding = DecodingRows(num_slots, model.num_ids, self._device)
        self._waiting: deque[_Request] = deque()
        self._running: list[_Request] = []
        self._state: State = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._num_tokens = 0
        self._stepped_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> Engine:
        """Starts the engine's thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends all requests as cancelled, and the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        for request in [*self._running, *self._waiting]:
            _tell(request, request.on_finish, Finish.CANCELLED)
        self._running.clear()
        self._waiting.clear()

    def submit(
        self, context_ids: Sequence[int], decoding: Decoding,
        on_token: Callable[[int], None], on_finish: Callable[[Finish], None],
    ) -> Callable[[], None]:  # fmt: skip
        """Asks for a reply; the end token is not among the tokens given. Returns what cancels it.

        Raises EngineError for a context that is empty or too long, EngineFull when too many wait.
        """
        longest, longest_reply = self.model.max_context_tokens, self.model.max_reply_tokens
        if not 0 < len(context_ids) <= longest:
            raise EngineError(f"a context of {len(context_ids)} tokens; this model reads 1 to {longest}")
        if not 0 < decoding.max_reply_tokens <= longest_reply:
            raise EngineError(f"max_reply_tokens = {decoding.max_reply_tokens}; this model writes 1 to {longest_reply}")
        request = _Request(context_ids, decoding, on_token, on_finish)
        with self._wake:
            if self._stopping:
                raise EngineError("the engine has stopped; ask another replica")
            self._drop_cancelled()
            if len(self._waiting) >= self._max_queued + len(self._free_slots):
                raise EngineFull(f"{len(self._waiting)} requests wait already; try again in a moment")
            self._waiting.append(request)
            self._wake.notify()
        return lambda: setattr(request, "cancelled", True)

    def statistics(self) -> Statistics:
        """A look from any thread; a number may be a step old."""
        idle = not self._running and not self._waiting
        waited_s = 0.0 if idle else time.monotonic() - self._stepped_at
        return Statistics(len(self._running), len(self._waiting), self._num_tokens, waited_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._waiting or self._running):
                    self._wake.wait()
                if self._stopping:
                    return
                admitted = self._take_waiting()
            self._stepped_at = time.monotonic()
            try:
                with torch.inference_mode():
                    self._admit(admitted)
                    self._step()
            except Exception:
                log.exception("a step of the engine failed; its %d requests end", len(self._running))
                self._leave(dict.fromkeys(self._running, Finish.FAILED))

    def _drop_cancelled(self) -> None:
        """Whoever went away while waiting must not keep others out."""
        gone = [request for request in self._waiting if request.cancelled]
        self._waiting = deque(request for request in self._waiting if not request.cancelled)
        for request in gone:
            _tell(request, request.on_finish, Finish.CANCELLED)

    def _take_waiting(self) -> list[_Request]:
        self._drop_cancelled()
        taken = []
        while self._waiting and self._free_slots:
            request = self._waiting.popleft()
            request.slot = self._free_slots.pop()
            taken.append(request)
        return taken

    def _admit(self, requests: list[_Request]) -> None:
        if not requests:
            return
        self._running += requests
        for request in requests:
            self._decoding.put(request.slot, request.decoding, request.context_ids)
        context_ids_BS = pad([request.context_ids for request in requests]).to(self._device)
        new = self.model.start(context_ids_BS, context_ids_BS == PAD_ID)
        self._state = {name: torch.cat([self._state[name], new[name]]) for name in new} if self._state else new

    def _step(self) -> None:
        """One token for every running request."""
        self._leave({request: Finish.CANCELLED for request in self._running if request.cancelled})
        if not self._running:
            return
        ids_B = torch.tensor([request.last_id for request in self._running], device=self._device)
        slots_B = torch.tensor([request.slot for request in self._running], device=self._device)
        logits_BV, self._state = self.model.step(ids_B, self._state)
        finished: dict[_Request, Finish] = {}
        for request, id in zip(self._running, self._decoding.choose(logits_BV, slots_B).tolist(), strict=True):
            if id == END_ID:
                finished[request] = Finish.END
                continue
            request.last_id, request.num_said = id, request.num_said + 1
            self._num_tokens += 1
            _tell(request, request.on_token, id)
            if request.num_said == request.decoding.max_reply_tokens:
                finished[request] = Finish.LENGTH
        self._leave(finished)

    def _leave(self, finished: dict[_Request, Finish]) -> None:
        """Takes requests out of the batch and tells whoever waits for them."""
        if not finished:
            return
        kept = [row for row, request in enumerate(self._running) if request not in finished]
        self._running = [self._running[row] for row in kept]
        self._state = select_rows(self._state, torch.tensor(kept, device=self._device)) if kept else {}
        with self._wake:
            self._free_slots += [request.slot for request in finished]
        for request, reason in finished.items():
            _tell(request, request.on_finish, reason)


def _tell(request: _Request, callback: Callable[[Any], None], news: object) -> None:
    """A listener that fails, such as one whose event loop was closed, ends its own request and no other."""
    try:
        callback(news)
    except Exception as error:
        log.warning("nobody listens to a reply any more: %r", error)
        request.cancelled = True
