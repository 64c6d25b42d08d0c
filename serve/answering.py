"""A question in, the parts of its reply out: in its session's order, within its caller's quota, kept before it counts.

    queue up in the session ─▶ newest turns ─▶ context ─▶ reserve tokens ─▶ engine ─▶ one transaction ─▶ the last part

The last part is given when the turn and the reply are on the disk: whoever has seen a reply's end can rely on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from rejoinder.corpora import Turn
from rejoinder.decoding import Decoding
from rejoinder.dialogue import Reply, ReplyPart
from rejoinder.engine import Finish
from serve.errors import Refused
from serve.messages import new_id
from serve.replica import TooSlow
from serve.service import Caller, Service
from serve.store import sessions, tickets, turns, usage
from serve.store.turns import KeptReply, Said

NEW_SESSION = "new"
FINISH_REASONS = {Finish.END: "stop", Finish.LENGTH: "length"}
_TURN_TOKENS = 2
"""No turn of a context has fewer ids: whose it is, and something that was said."""
_MAX_TURNS = 256
_LOOK_AGAIN_S = (0.01, 0.1)
"""How soon whoever waits in a session looks whether it is its turn: first, and in the end."""


@dataclass(frozen=True)
class Question:
    """What is asked of the model, by whichever route it came."""

    model: str
    said: list[Said]
    """Roles and texts: all of the conversation, or what is new in its session."""
    system: list[str] = field(default_factory=list)
    control: list[tuple[str, str]] = field(default_factory=list)
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """What to change of the recipe's settings."""
    session_id: str | None = None
    keep: bool = False
    """Whether the reply is kept though it belongs to no session."""


class Answer:
    """One reply in the making. Read `parts` to its end, or close it to cancel."""

    def __init__(self, service: Service, caller: Caller, question: Question, timeout_s: float, kind: str = "chatcmpl"):
        """Raises Refused for a model or a turn that is not taken."""
        self.id = new_id(kind)
        self.num_context_tokens = 0
        """Known with the first part, as is the session."""
        self.num_reply_tokens = 0
        self.session_id: str | None = None
        self.replies: list[Reply] = []
        """All of them, where several were asked for; known with the last part."""
        self._service, self._caller, self._question = service, caller, question
        self._begun, self._timeout_s = time.monotonic(), timeout_s
        self._holder: str | None = None
        self._queued: Future[bool] | None = None
        self._day = self._reserved = 0
        self._require_model()
        self._require_short_turns()

    async def parts(self) -> AsyncGenerator[ReplyPart]:
        """The reply's parts. Raises what `serve.errors.refusal` explains; before the first part nothing was said."""
        service, renewing = self._service, None
        replica, metrics, version = service.replica, service.metrics, str(service.replica.version)
        text: list[str] = []
        last_at = self._begun
        try:
            said, system = self._question.said, self._question.system
            if self._question.session_id is not None:
                stored = await self._enter_session(self._question.session_id)
                renewing = asyncio.create_task(self._keep_lease())
                said, system = [*stored[0], *said], system or stored[1]
            context = replica.responder.context(
                [Turn(role, words) for role, words in said], "assistant", self._asked(system)
            )
            self.num_context_tokens = len(context)
            decoding = replica.responder.decoding(**self._question.decoding)
            await self._reserve(decoding)
            async for part in replica.stream(context, decoding, self._time_left(), self.replies.extend):
                now = time.monotonic()
                metric = metrics.between_tokens if text else metrics.first_token
                metric.of(version).observe(now - last_at)
                text.append(part.text)
                last_at = now
                self.num_reply_tokens = sum(reply.num_reply_tokens for reply in self.replies) or part.num_tokens
                if part.finish is not None:
                    whole = "".join(text)
                    await self._keep(whole, part.finish)
                    metrics.duration.of(version).observe(now - self._begun)
                    if not any(text[:-1]) and whole == service.serving.fallback_reply:
                        metrics.fallbacks.of(version).inc()
                yield part
        except TooSlow as error:
            if self._timeout_s < service.serving.request_timeout_s:  # it was the request that had no more time
                raise Refused(408, str(error), kind="timeout_error", code="timeout") from None
            raise
        finally:
            if renewing is not None:
                renewing.cancel()
            metrics.tokens.of("context", version).inc(self.num_context_tokens)
            metrics.tokens.of("reply", version).inc(self.num_reply_tokens)
            self._leave()

    def _require_model(self) -> None:
        names, asked = self._service.replica.model_names, self._question.model
        if asked not in names:
            there_are = ", ".join(names)
            raise Refused(
                404, f"no model is called {asked!r}; there are: {there_are}", param="model", code="model_not_found"
            )

    def _require_short_turns(self) -> None:
        limit = self._service.serving.max_turn_characters
        texts = [text for _, text in self._question.said] + self._question.system
        texts += [text for _, text in self._question.control]
        if (longest := max(map(len, texts), default=0)) > limit:
            raise Refused(
                400, f"messages: a turn of {longest} characters; this service reads up to {limit}", param="messages"
            )

    def _asked(self, system: list[str]) -> list[tuple[str, str]]:
        """What is asked of the reply. A model that learnt without system messages is not told of them."""
        reads_system = "system" in self._service.replica.responder.trained.recipe.text.control_tokens
        return [("system", text) for text in system if reads_system] + self._question.control

    def _time_left(self) -> float:
        left_s = self._begun + self._timeout_s - time.monotonic()
        if left_s <= 0:
            raise TooSlow(f"no turn to speak within {self._timeout_s:g} s; try again later, or give it more time")
        return left_s

    async def _enter_session(self, name: str) -> tuple[list[Said], list[str]]:
        """Waits until those who asked before have been answered; what was said, as far as it can fit, and the system
        messages."""
        service, owner = self._service, self._caller.owner
        id, ttl_s = sessions.new_session_id() if name == NEW_SESSION else name, service.serving.session_ttl_s
        holder = self._holder = new_id("ticket")

        def take(rows: Connection) -> bool:
            now = time.time()
            if name == NEW_SESSION:
                sessions.create(rows, id, owner, now, ttl_s, [])
            return tickets.take(rows, id, owner, holder, now)

        try:
            self._queued = service.database.start(take)
            is_ours, wait_s = await asyncio.wrap_future(self._queued), _LOOK_AGAIN_S[0]
            while not is_ours:
                await asyncio.sleep(min(wait_s, self._time_left()))
                wait_s = min(2 * wait_s, _LOOK_AGAIN_S[1])
                is_ours = await service.database.run(
                    lambda rows: tickets.is_next(rows, id, holder, time.time()), writes=False
                ) and await service.database.run(lambda rows: tickets.claim(rows, id, holder, time.time()))
        except LookupError:
            raise unknown_session(name) from None
        limit = min(_MAX_TURNS, service.replica.responder.trained.recipe.text.max_context_tokens // _TURN_TOKENS)

        def read(rows: Connection) -> tuple[list[Said], list[str]]:
            session = sessions.find(rows, id, owner, time.time())
            if session is None:
                raise unknown_session(name)
            newest = sessions.turns_before(rows, id, session.num_turns, limit)
            return [(turn.role, turn.text) for turn in newest], list(session.system)

        found = await service.database.run(read, writes=False)
        self.session_id = id
        return found

    async def _keep_lease(self) -> None:
        """As long as the reply is being written, nobody else's turn comes."""
        session, holder = self.session_id, self._holder
        assert session is not None
        assert holder is not None
        while True:
            await asyncio.sleep(tickets.LEASE_S / 3)
            try:
                await self._service.database.run(lambda rows: tickets.claim(rows, session, holder, time.time()))
            except (LookupError, Exception):  # keeping the reply will find out, and say so
                return

    async def _reserve(self, decoding: Decoding) -> None:
        if (key := self._caller.key) is None:
            return
        tokens = self.num_context_tokens + decoding.max_reply_tokens * decoding.num_replies
        quota = self._caller.tokens_per_day(self._service.serving)
        self._day = await self._service.database.run(
            lambda rows: usage.reserve_tokens(rows, key.id, tokens, quota, time.time())
        )
        self._reserved = tokens

    async def _keep(self, text: str, finish: Finish) -> None:
        """Turn, reply and count in one transaction; nothing to do for a reply that nobody keeps or counts."""
        question, version = self._question, self._service.replica.version
        is_kept = self.session_id is not None or question.keep
        key, unused = self._caller.key, self._reserved - self.num_context_tokens - self.num_reply_tokens
        if not is_kept and key is None:
            return
        messages = [("system", words) for words in question.system] + question.said
        reply = KeptReply(
            self.id, self._caller.owner, version.model, str(version), text, self.num_context_tokens,
            self.num_reply_tokens, FINISH_REASONS[finish], self.session_id, None, messages,
        )  # fmt: skip
        new = [(role, words) for role, words in question.said if words.strip()]

        def write(rows: Connection) -> None:
            if is_kept:
                turns.finish(
                    rows, reply, new, question.system or None, self._holder, time.time(),
                    self._service.serving.session_ttl_s,
                )  # fmt: skip
            if key is not None and self._reserved:
                usage.settle(rows, key.id, self._day, unused)

        await self._service.database.run(write)
        self._holder, self._reserved = None, 0

    def _leave(self) -> None:
        """Lets the next in the session speak and gives tokens back. Nothing is awaited: the client may be gone."""
        holder, queued, key, reserved = self._holder, self._queued, self._caller.key, self._reserved
        unused = reserved - self.num_context_tokens - self.num_reply_tokens

        def leave(rows: Connection) -> None:
            if holder is not None:
                tickets.release(rows, holder)
            if key is not None and reserved:
                usage.settle(rows, key.id, self._day, unused)

        def after_queuing(_: object) -> None:
            self._service.database.start(leave)

        if holder is not None and queued is not None:
            queued.add_done_callback(after_queuing)  # a ticket that is still being taken is released after that
        elif key is not None and reserved:
            self._service.database.start(leave)
        self._holder, self._reserved = None, 0


def unknown_session(name: str) -> Refused:
    """The same words for a session that is not there and one of somebody else."""
    return Refused(
        404, f"no session of yours is called {name!r}; begin one with session_id = \"new\", or POST /v1/sessions",
        param="session_id", code="session_not_found",
    )  # fmt: skip
