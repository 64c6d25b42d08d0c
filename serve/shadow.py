"""Questions that were answered in, what another version would have said out: kept and counted, given to nobody.

It asks while a replica has hardly anything else to do (`serving.shadow.max_fill`), one question at a time, and leaves
off as soon as somebody else asks: a shadow makes nobody wait for longer than a few steps of its model.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rejoinder.corpora import Turn
from rejoinder.dialogue import ReplyPart
from rejoinder.engine import Finish
from rejoinder.errors import EngineError
from rejoinder.recipe import ServingSection
from serve.metrics import Metrics
from serve.replica import ChatReplica
from serve.store import Database, shadows
from serve.store.shadows import ShadowReply
from serve.store.turns import Said, storable
from serve.tallies import repetition_of
from serve.versions import Versions

log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.02
_GIVEN_UP = object()


@dataclass(frozen=True)
class Answered:
    """A question with the reply that was given."""

    reply_id: str
    session_id: str | None
    is_kept: bool
    """Whether what was said is kept; a shadow keeps no more."""
    version: int
    said: Sequence[Said]
    system: Sequence[str]
    control: Sequence[tuple[str, str]]
    decoding: Mapping[str, Any]
    text: str


class Shadow:
    """Asks `serving.shadow.to` in a thread of its own."""

    def __init__(self, versions: Versions, database: Database, serving: ServingSection, metrics: Metrics) -> None:
        self._versions, self._database, self._serving, self._metrics = versions, database, serving, metrics
        self._waiting: deque[tuple[float, Answered]] = deque()
        self._wake, self._is_closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, answered: Answered) -> None:
        """Takes a question and returns at once; of too many, the oldest is dropped."""
        with self._wake:
            if len(self._waiting) == self._serving.shadow.max_waiting:
                self._count_dropped(self._waiting.popleft()[1])
            self._waiting.append((time.monotonic(), answered))
            self._wake.notify()

    def close(self) -> None:
        """Asks nothing any more."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._waiting or self._is_closed):
                    self._wake.wait()
                if self._is_closed:
                    return
                asked_at, answered = self._waiting.popleft()
            try:
                self._ask(asked_at, answered)
            except Exception:
                log.exception("a shadow's reply failed")

    def _ask(self, asked_at: float, answered: Answered) -> None:
        """Until it is answered, or has waited too long."""
        while time.monotonic() < asked_at + self._serving.shadow.max_wait_s and not self._is_closed:
            if self._is_busy(0):
                time.sleep(_LOOK_EVERY_S)
                continue
            number = self._versions.names.get(self._serving.shadow.to or "")
            if number is None or number == answered.version or (replica := self._versions.lend(number)) is None:
                break
            try:
                if self._answer(replica, answered) is not _GIVEN_UP:
                    return
            finally:
                self._versions.give_back(replica)
        self._count_dropped(answered)

    def _answer(self, replica: ChatReplica, answered: Answered) -> object:
        responder, parts, begun = replica.responder, queue.SimpleQueue[ReplyPart](), time.monotonic()
        version, text, first_token_s, num_tokens = str(replica.version), "", 0.0, 0
        finish: Finish | None = None
        kinds = responder.trained.recipe.text.control_tokens
        asked = [("system", words) for words in answered.system if "system" in kinds] + list(answered.control)
        try:
            context = responder.context([Turn(role, words) for role, words in answered.said], "assistant", asked)
            decoding = responder.decoding(**dict(answered.decoding) | {"num_logprobs": None}).one_reply
            cancel = responder.submit(context, decoding, parts.put, timeout_s=replica.request_timeout_s)
        except EngineError:  # it learnt other things than the version that was asked
            self._metrics.shadows.of(version, "failed").inc()
            return None
        while finish is None:
            if self._is_busy(1) or self._is_closed:
                cancel()
                return _GIVEN_UP
            try:
                part = parts.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                continue
            first_token_s = first_token_s or time.monotonic() - begun
            text, num_tokens, finish = text + part.text, part.num_tokens, part.finish
        if finish not in (Finish.END, Finish.LENGTH):
            self._metrics.shadows.of(version, "failed").inc()
            return None
        self._count(version, text, first_token_s, answered)
        now = time.time()
        kept = ShadowReply(
            f"{answered.reply_id}-{replica.version.number}"[-64:], answered.reply_id, answered.session_id,
            replica.version.model, version, storable(text) if answered.is_kept else None, text == answered.text,
            num_tokens, first_token_s, time.monotonic() - begun, now, now + self._serving.session_ttl_s,
        )  # fmt: skip
        self._database.start(lambda rows: shadows.add(rows, kept))
        return None

    def _is_busy(self, num_own: int) -> bool:
        allowed = self._serving.shadow.max_fill * self._serving.num_slots
        return self._versions.num_replies - num_own > allowed

    def _count(self, version: str, text: str, first_token_s: float, answered: Answered) -> None:
        said_before = [words for role, words in answered.said if role == "assistant"]
        self._metrics.shadows.of(version, "same" if text == answered.text else "other").inc()
        self._metrics.shadow_first_token.of(version).observe(first_token_s)
        self._metrics.shadow_repetition.of(version).observe(repetition_of(text, said_before))

    def _count_dropped(self, answered: Answered) -> None:
        number = self._versions.names.get(self._serving.shadow.to or "")
        model = self._versions.champion.version.model
        self._metrics.shadows.of(f"models:/{model}/{number}" if number else "none", "dropped").inc()
