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
from itertools import chain

import torch

from rejoinder.batches import pad
from rejoinder.decoding import (
    Candidate,
    Decoding,
    Row,
    TokenLogprob,
    advance_beams,
    ends_with,
    rank,
)
from rejoinder.engine.batch import Batch, longest_reply
from rejoinder.engine.door import problems
from rejoinder.engine.places import Places
from rejoinder.engine.request import Finish, Request
from rejoinder.engine.slots import Slots
from rejoinder.engine.statistics import Meter, Statistics
from rejoinder.engine.warming import warm_up
from rejoinder.errors import EngineError
from rejoinder.models import Seq2Seq, give_back_helpers
from rejoinder.text import END_ID, PAD_ID

log = logging.getLogger(__name__)
IDLE_S = 0.5
"""After so long without a request the CPUs are left to others: to an engine that has taken this one's place."""


class EngineFull(EngineError):
    """All slots are taken and the queue is at its limit; try again later."""


class Engine:
    """Owns a model and writes replies with it. `start` before the first request, `stop` at the end."""

    def __init__(
        self, model: Seq2Seq, num_slots: int, max_queued: int, *,
        max_running_tokens: int | None = None, admission_tokens: int = 2048,
    ) -> None:  # fmt: skip
        """At most `num_slots` replies are written at a time, and `max_queued` requests wait.

        `max_running_tokens` limits the contexts of those that are written, all together. `admission_tokens` limits what
        is encoded between two steps, padding included, so that running replies do not stand still; where nothing runs,
        or one context alone is longer, it does not.
        """
        self.model = model.eval()
        self._device = next(model.parameters()).device
        self._max_queued, self._num_slots = max_queued, num_slots
        self._max_running_tokens: float = max_running_tokens or float("inf")
        self._admission_tokens = admission_tokens
        self._slots = Slots(num_slots, model.max_context_tokens)
        self._waiting: deque[Request] = deque()
        self._running: dict[Request, None] = {}
        self._places = Places()
        self._num_used = self._num_running_tokens = 0
        self._batch: Batch | None = None
        self._wake = threading.Condition()
        self._stopping = self._somebody_left = False
        self._soonest_deadline = float("inf")
        self._turned_at, self._meter = time.monotonic(), Meter(num_slots)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> Engine:
        """Starts the engine's thread. From now on it computes, and the caller, who has loaded the model, does not."""
        give_back_helpers()
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
            self._end(request, Finish.CANCELLED)
        self._waiting.clear()

    def warm_up(self) -> float:
        """So that no request is the first of its shape; before `start`. Returns the seconds it took."""
        assert not self._thread.is_alive(), "the engine has started"
        begun_at = time.monotonic()
        warm_up(self.model, self._slots)
        return time.monotonic() - begun_at

    def submit(
        self, context_ids: Sequence[int], decoding: Decoding,
        on_token: Callable[[int], object], on_finish: Callable[[Finish], object], *,
        on_logprob: Callable[[TokenLogprob], object] | None = None,
        on_candidates: Callable[[list[Candidate]], object] | None = None,
        on_admit: Callable[[float], object] | None = None,
        timeout_s: float | None = None, draw: int = 0,
    ) -> Callable[[], None]:  # fmt: skip
        """Asks for a reply; the end token is not among the tokens given. Returns what cancels it.

        An `on_token` that returns True ends the reply there. Where `decoding` asks for log-probabilities, `on_logprob`
        is told each token's before the token. Of several candidates nothing is told before all are done: then
        `on_candidates` gets the `num_replies` best ones, and `on_token` the tokens of the best. `on_admit` is told the
        `time.monotonic()` of when its waiting ended. `draw` counts replies that are drawn apart with one seed: the same
        as the candidates of one request.

        Raises EngineError with all that the model or the engine cannot do, EngineFull when too many wait.
        """
        found = list(problems(self.model, self._num_slots, self._max_running_tokens, context_ids, decoding))
        if found:
            raise EngineError("\n".join(found))
        now = time.monotonic()
        deadline = float("inf") if timeout_s is None else now + timeout_s
        request = Request(
            context_ids, decoding, on_token, on_finish, on_logprob, on_candidates, on_admit, now, deadline, draw
        )
        with self._wake:
            if self._stopping:
                raise EngineError("the engine has stopped; ask another replica")
            self._drop_gone(now)
            num_staying = self._num_staying(request)
            if num_staying > self._max_queued:
                raise EngineFull(f"{num_staying - 1} requests wait already; try again in a moment")
            if not (self._running or self._waiting):  # its thread has slept since its last turn
                self._turned_at = now
            self._waiting.append(request)
            self._soonest_deadline = min(self._soonest_deadline, deadline)
            self._wake.notify()

        def cancel() -> None:
            request.leaves = request.leaves or Finish.CANCELLED
            self._somebody_left = True

        return cancel

    def statistics(self) -> Statistics:
        """A look from any thread; a number may be a step old."""
        idle = not self._running and not self._waiting
        waited_s = 0.0 if idle else time.monotonic() - self._turned_at
        # Copied at one blow: the engine's thread goes on meanwhile.
        running, waiting = list(self._running), list(self._waiting)
        return self._meter.statistics(
            self._num_used, len(waiting), waited_s,
            sum(request.num_tokens for request in running), sum(request.num_tokens for request in waiting),
        )  # fmt: skip

    @property
    def bytes_per_slot(self) -> int:
        """Memory of what the model keeps for one row; 0 before the first request."""
        return self._slots.bytes_per_slot

    def _num_staying(self, request: Request) -> int:
        """Requests that would not be admitted at the next step, this one among them."""
        num_free, num_staying = self._num_slots - self._num_used, len(self._waiting) + 1
        for waiting in chain(self._waiting, [request]):
            num_free -= waiting.decoding.num_rows
            if num_free < 0:
                break
            num_staying -= 1
        return num_staying

    def _run(self) -> None:
        while True:
            try:
                if not self._turn():
                    return
            except Exception:
                log.exception("the engine has lost its way; all its requests end, and it begins anew")
                self._begin_anew()

    def _turn(self) -> bool:
        """Waits for something to do, and does it; False when it is to stop."""
        patience_s: float | None = IDLE_S
        with self._wake:
            # Looked at anew after each wait: a request that comes as the time runs out has told nobody else.
            while not (self._stopping or self._waiting or self._running):
                self._meter.is_idle()
                if not self._wake.wait(patience_s):
                    give_back_helpers()
                    patience_s = None
            if self._stopping:
                return False
            self._turned_at = now = time.monotonic()
            if self._somebody_left or now >= self._soonest_deadline:
                self._let_go(now)
            admitted = self._take_waiting(now)
        try:
            with torch.inference_mode():
                if admitted:
                    self._admit(admitted)
                self._close_gaps()
                if self._places.rows:
                    self._step(sum(len(request.rows) for request in admitted))
        except Exception:
            log.exception("a step of the engine failed; its %d requests end", len(self._running))
            self._end_all(list(self._running), Finish.FAILED)
        self._meter.busy_s += time.monotonic() - now
        return True

    def _begin_anew(self) -> None:
        """Takes everybody out, wherever they stand: nobody is to wait for a thread that has died."""
        with self._wake:
            requests = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
            self._places, self._batch = Places(), None
            self._num_used = self._num_running_tokens = 0
            self._meter.finishes[Finish.FAILED.value] += len(requests)
        for request in requests:
            request.tell(request.on_finish, Finish.FAILED)

    def _let_go(self, now: float) -> None:
        """Ends who was cancelled or whose time is over."""
        self._somebody_left = False
        self._drop_gone(now)
        for request in self._running:
            if request.leaves is None and now >= request.deadline:
                request.leaves = Finish.TIMED_OUT
        for request in [request for request in self._running if request.leaves]:
            self._end(request, request.leaves or Finish.CANCELLED)
        self._soonest_deadline = min(
            (request.deadline for request in chain(self._running, self._waiting)), default=float("inf")
        )

    def _drop_gone(self, now: float) -> None:
        """Whoever went away while waiting must not keep others out."""
        for request in self._waiting:
            if request.leaves is None and now >= request.deadline:
                request.leaves = Finish.TIMED_OUT
        gone = [request for request in self._waiting if request.leaves]
        if gone:
            self._waiting = deque(request for request in self._waiting if not request.leaves)
            for request in gone:
                self._end(request, request.leaves or Finish.CANCELLED)

    def _take_waiting(self, now: float) -> list[Request]:
        """Who comes first is admitted first: one that needs many rows is not overtaken."""
        taken: list[Request] = []
        longest = 0
        while self._waiting:
            request = self._waiting[0]
            num_rows, num_tokens = request.decoding.num_rows, len(request.context_ids)
            longest = max(longest, num_tokens)
            if self._num_used + num_rows > self._num_slots:
                break
            if self._num_running_tokens + num_tokens * num_rows > self._max_running_tokens:
                break
            if taken and len(self._running) > len(taken) and longest * (len(taken) + 1) > self._admission_tokens:
                break
            request.begin()
            self._waiting.popleft()
            self._running[request] = None
            self._num_used += num_rows
            self._num_running_tokens += num_tokens * num_rows
            self._meter.queue_wait_s.add(now - request.asked_at)
            if request.on_admit:
                request.tell(request.on_admit, now)
            taken.append(request)
        return taken

    def _admit(self, requests: list[Request]) -> None:
        """Encodes contexts together and writes them into the slots, first where somebody has left."""
        self._batch = None
        rows = [(number, row) for number, request in enumerate(requests) for row in request.rows]
        places = [self._places.take(row, requests[number]) for number, row in rows]
        try:
            context_ids_BS = pad([request.context_ids for request in requests]).to(self._device)
            self._slots.put(
                self.model.start(context_ids_BS, context_ids_BS == PAD_ID), [number for number, _ in rows], places
            )
        except Exception:
            log.exception("the contexts of %d requests cannot be encoded", len(requests))
            self._end_all(requests, Finish.FAILED)

    def _close_gaps(self) -> None:
        """The last rows take the places of those that have left and whom nobody has followed."""
        places = self._places
        if None not in places.rows:
            return
        self._batch, before = None, len(places.rows)
        if copies := places.close_gaps():
            rows = [row for row in places.rows if row is not None]
            view = self._slots.view(before, max(len(row.context_ids) for row in rows), longest_reply(rows))
            self._slots.copy(copies, view)

    def _step(self, num_new: int) -> None:
        """One token for every row."""
        batch = self._batch = self._batch or Batch(self._places.rows, self._places.requests, self._device)
        rows = batch.rows
        ids_B = torch.tensor([row.last_id for row in rows], device=self._device)
        view = self._slots.view(len(rows), batch.num_context_tokens, batch.num_reply_tokens)
        logits_BV, after = self.model.step(ids_B, view)
        self._slots.keep(view, after)
        logprobs_NV = batch.model_logprobs(logits_BV)
        logits_BV = batch.decoding.ruled(logits_BV)
        batch.num_reply_tokens += 1
        if batch.searching:
            copies = advance_beams([request.search for request in batch.searching if request.search], logits_BV)
            self._slots.copy(copies, view, same_context=True)
        if len(batch.saying) > 0:
            ids = batch.decoding.choose(logits_BV)
            if logprobs_NV is not None:
                batch.tell_logprobs(logprobs_NV, ids)
            self._say(batch, ids)
        for request in batch.searching:
            if request.search and request.search.is_done:
                request.found = request.search.candidates
                self._conclude(request)
        self._meter.stepped(len(rows), num_new)

    def _say(self, batch: Batch, ids: list[int]) -> None:
        """Gives each row its token."""
        now = time.monotonic()
        for row, request, is_streamed in batch.saying:
            id = ids[row.place]
            if id == END_ID:
                self._complete(request, row, Finish.END)
                continue
            said_ids, decoding, is_enough = row.said_ids, row.decoding, False
            said_ids.append(id)
            if is_streamed:
                self._meter.num_tokens += 1
                if not request.has_said:
                    request.has_said = True
                    self._meter.first_token_s.add(now - request.asked_at)
                is_enough = request.tell(request.on_token, id) is True
                if request.leaves:
                    self._somebody_left = True
                    continue
            if is_enough or (decoding.stop_ids and any(ends_with(said_ids, run) for run in decoding.stop_ids)):
                self._complete(request, row, Finish.END)
            elif len(said_ids) == decoding.max_reply_tokens:
                self._complete(request, row, Finish.LENGTH)

    def _complete(self, request: Request, row: Row, reason: Finish) -> None:
        """A row has said all it will."""
        if not row.decoding.chooses:
            self._end(request, reason)
            return
        self._free(row, request)
        unknown = -float("inf")
        request.found.append(Candidate(tuple(row.said_ids), reason is Finish.END, unknown, unknown))
        if not request.rows:
            self._conclude(request)

    def _conclude(self, request: Request) -> None:
        """All candidates are there: the best are given."""
        try:
            found = rank(self.model, request.context_ids, request.found, request.decoding)
        except Exception:
            log.exception("the candidates of a reply cannot be compared")
            self._end(request, Finish.FAILED)
            return
        best = found[0]
        self._meter.first_token_s.add(time.monotonic() - request.asked_at)
        self._meter.num_tokens += len(best.ids)
        if request.on_candidates:
            request.tell(request.on_candidates, found[: request.decoding.num_replies])
        reason = Finish.END if request.tell_all(best) or best.has_ended else Finish.LENGTH
        self._end(request, request.leaves or reason)

    def _free(self, row: Row, request: Request) -> None:
        if row.place >= 0:
            self._places.leave(row)
            self._batch = None
        request.rows.remove(row)
        self._num_used -= 1
        self._num_running_tokens -= len(request.context_ids)

    def _end(self, request: Request, reason: Finish) -> None:
        """Takes a request out, wherever it is, and tells whoever waits for it."""
        for row in list(request.rows):
            self._free(row, request)
        self._running.pop(request, None)
        with self._wake:  # whoever asks may end those that went away while they waited
            self._meter.finishes[reason.value] += 1
        request.tell(request.on_finish, reason)

    def _end_all(self, requests: Sequence[Request], reason: Finish) -> None:
        for request in requests:
            self._end(request, reason)
