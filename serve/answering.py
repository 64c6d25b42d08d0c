"""A question in, the parts of its reply out: in its session's order, within its caller's quota, kept before it counts.

    queue up in the session ─▶ a version ─▶ newest turns ─▶ context ─▶ reserve tokens ─▶ engine ─▶ kept ─▶ last part

A reply stays with the version that it began with, whatever becomes the champion meanwhile.
The last part is given when the turn and the reply are on the disk: whoever has seen a reply's end can rely on it.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from rejoinder.corpora import Turn
from rejoinder.decoding import Decoding
from rejoinder.dialogue import Reply, ReplyPart
from rejoinder.engine import Finish
from rejoinder.registry import Version
from serve import answered_by
from serve.attempts import Told, next_reply
from serve.errors import Refused
from serve.messages import new_id
from serve.outcome import Outcome
from serve.place import NEW_SESSION, Place
from serve.replica import ChatReplica, TooSlow
from serve.service import Caller, Service
from serve.shadow import Answered
from serve.store import sessions, tickets, turns, usage
from serve.store.turns import KeptReply, Said, SessionMovedOn
from serve.traffic import asker_of, is_shadowed
from serve.versions import NotLoaded, UnknownVersion

FINISH_REASONS = {Finish.END: "stop", Finish.LENGTH: "length"}
_TURN_TOKENS = 2
"""No turn of a context has fewer ids: whose it is, and something that was said."""
_MAX_TURNS = 256
_SHORT_CHARACTERS = 5_000
"""Conversations up to here are read in a few milliseconds, which is less than a step of the model."""


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
    user: str | None = None
    """Whom a request without a session is from: the canary's, or not, every time."""


class Answer:
    """One reply in the making. Read `parts` to its end, or close it to cancel."""

    def __init__(self, service: Service, caller: Caller, question: Question, timeout_s: float, kind: str = "chatcmpl"):
        """Raises Refused for a model or a turn that is not taken."""
        self._told = told = next_reply()
        if told is not None:
            question = _as_told(question, told)
        self.id = f"{kind}-{told.name}" if told else new_id(kind)
        self.num_context_tokens = 0
        """Known with the first part, as is the session."""
        self.num_reply_tokens = 0
        self.session_id: str | None = None
        self.version: Version | None = None
        """Which one answers; known with the first part."""
        self.replies: list[Reply] = []
        """All of them, where several were asked for at once; known with the last part."""
        self.finish: Finish | None = None
        """Why the reply, of several the first, has ended."""
        self._service, self._caller, self._question = service, caller, question
        self._begun, self._timeout_s = time.monotonic(), timeout_s
        self._place: Place | None = None
        self._reserving: Future[int] | None = None
        self._keeping: Future[None] | None = None
        self._reserved = 0
        self._require_model()
        self._require_short_turns()

    async def parts(self, *, at_once: bool = False) -> AsyncGenerator[ReplyPart]:
        """The reply's parts; `at_once` is for those who need it whole. Of several replies, `at_once` gives the best,
        and all of them as `replies`; otherwise each has parts of its own, by their `index`.

        Raises what `serve.errors.refusal` explains; before the first part nothing was said.
        """
        if self._told and self._told.number and (kept := await self._kept_before(self.id)):
            yield kept
            return
        service, replica = self._service, None
        texts: defaultdict[int, list[str]] = defaultdict(list)
        num_tokens: dict[int, int] = {}
        try:
            said, system = self._question.said, self._question.system
            if (session := self._question.session_id) is not None:
                self._place = Place(service.database, self._caller.owner, service.serving.session_ttl_s, self._told)
                session = await self._place.enter(session, self._time_left)
            replica = await self._borrow(session)
            metrics, version = service.metrics, str(replica.version)
            last_at: defaultdict[int, float] = defaultdict(lambda: self._begun)
            if session is not None:
                stored = await self._read_session(session, replica)
                said, system = [*stored[0], *said], system or stored[1]
            context = await self._context(replica, said, system)
            decoding = replica.responder.decoding(**self._question.decoding)
            await self._reserve(len(context), decoding)
            outcome = Outcome(service, replica, said, self._timeout_s < service.serving.request_timeout_s)
            on_replies = self.replies.extend if at_once else None
            stream = replica.stream(context, decoding, self._time_left(), on_replies, at_once=at_once)
            async with aclosing(stream) as parts:
                async for part in outcome.watched(parts):
                    self.num_context_tokens = len(context)  # what was refused before has used nothing
                    now, said_before = time.monotonic(), texts[part.index]
                    metric = metrics.between_tokens if said_before else metrics.first_token
                    metric.of(version).observe(now - last_at[part.index])
                    last_at[part.index], num_tokens[part.index] = now, part.num_tokens
                    self.num_reply_tokens = sum([one.num_reply_tokens for one in self.replies] or num_tokens.values())
                    if part.finish is not None and not any(said_before) and part.text == service.serving.fallback_reply:
                        metrics.fallbacks.of(version).inc()
                    said_before.append(part.text)
                    if part.finish is not None and part.index == 0:
                        self.finish = part.finish
                    if part.is_last:
                        assert self.finish is not None
                        whole = "".join(texts[0])
                        await self._keep(whole, self.finish, replica)
                        metrics.duration.of(version).observe(now - self._begun)
                        outcome.succeeded(whole)
                        self._tell_shadow(whole, said, system)
                    yield part
        except UnknownVersion as error:  # it was there when the request came
            raise _unknown_model(error) from None
        except TooSlow as error:
            if self._timeout_s < service.serving.request_timeout_s:  # it was the request that had no more time
                raise Refused(408, str(error), kind="timeout_error", code="timeout") from None
            raise
        finally:
            if replica is not None:
                service.metrics.tokens.of("context", str(replica.version)).inc(self.num_context_tokens)
                service.metrics.tokens.of("reply", str(replica.version)).inc(self.num_reply_tokens)
                service.versions.give_back(replica)
            self._leave()

    async def _kept_before(self, id: str) -> ReplyPart | None:
        """All of a reply that a replica kept, and died before the client had its end."""
        owner, database = self._caller.owner, self._service.database
        kept = await database.run(lambda rows: turns.find_reply(rows, id, owner, time.time()), writes=False)
        if kept is None:
            return None
        self.session_id = kept.session_id
        self.version = Version(kept.model, int(kept.version.rpartition("/")[2]), "", {})
        answered_by.say(self.version)
        self.num_context_tokens, self.num_reply_tokens = kept.num_context_tokens, kept.num_reply_tokens
        self.finish = next(finish for finish, reason in FINISH_REASONS.items() if reason == kept.finish)
        return ReplyPart(kept.text, kept.num_reply_tokens, self.finish)

    def _require_model(self) -> None:
        try:
            self._service.versions.number_for(self._question.model, "")
        except UnknownVersion as error:
            raise _unknown_model(error) from None

    def _require_short_turns(self) -> None:
        limit = self._service.serving.max_turn_characters
        texts = [text for _, text in self._question.said] + self._question.system
        texts += [text for _, text in self._question.control]
        if (longest := max(map(len, texts), default=0)) > limit:
            raise Refused(
                400, f"messages: a turn of {longest} characters; this service reads up to {limit}", param="messages"
            )

    async def _borrow(self, session: str | None) -> ChatReplica:
        """The version that this reply is made with; one that is offered and not loaded is loaded now."""
        versions, question = self._service.versions, self._question
        asker = asker_of(session, self._caller.owner, question.user, self.id)
        while True:
            number = versions.number_for(question.model, asker)
            if (replica := versions.lend(number)) is not None:
                self.version = replica.version
                answered_by.say(replica.version)
                return replica
            try:
                loading = asyncio.wrap_future(versions.bring_asked(number))
                await asyncio.wait_for(asyncio.shield(loading), self._time_left())  # others wait for it, too
            except TimeoutError:
                raise TooSlow(f"{question.model} is still being loaded; try again in a moment") from None
            except NotLoaded:  # whose words name files of ours
                raise Refused(
                    503, f"{question.model} cannot be loaded; the server's log says why", kind="server_error",
                    code="model_not_available",
                ) from None  # fmt: skip

    def _tell_shadow(self, text: str, said: list[Said], system: list[str]) -> None:
        service, question, version = self._service, self._question, self.version
        if service.shadow is None or version is None or not is_shadowed(self.id, service.serving):
            return
        answered = Answered(
            self.id, self.session_id, self.session_id is not None or question.keep, version.number, said, system,
            question.control, question.decoding, text,
        )  # fmt: skip
        service.shadow.offer(answered)

    async def _context(self, replica: ChatReplica, said: list[Said], system: list[str]) -> list[int]:
        """The ids that the model reads. Of what is long, half a second's work for a megabyte, on another thread:
        all other replies would stand still for it."""
        turns, asked = [Turn(role, words) for role, words in said], self._asked(system, replica)
        make = replica.responder.context
        if sum(len(text) for _, text in (*said, *asked)) <= _SHORT_CHARACTERS:
            return make(turns, "assistant", asked)
        try:
            return await asyncio.wait_for(asyncio.to_thread(make, turns, "assistant", asked), self._time_left())
        except TimeoutError:
            raise TooSlow(f"the conversation was not read within {self._timeout_s:g} s; try again later") from None

    def _asked(self, system: list[str], replica: ChatReplica) -> list[tuple[str, str]]:
        """What is asked of the reply. A model that learnt without system messages is not told of them."""
        reads_system = "system" in replica.responder.trained.recipe.text.control_tokens
        return [("system", text) for text in system if reads_system] + self._question.control

    def _time_left(self) -> float:
        left_s = self._begun + self._timeout_s - time.monotonic()
        if left_s <= 0:
            raise TooSlow(f"no turn to speak within {self._timeout_s:g} s; try again later, or give it more time")
        return left_s

    async def _read_session(self, id: str, replica: ChatReplica) -> tuple[list[Said], list[str]]:
        """What was said, as far as it can fit, and the system messages."""
        owner = self._caller.owner
        limit = min(_MAX_TURNS, replica.responder.trained.recipe.text.max_context_tokens // _TURN_TOKENS)

        def read(rows: Connection) -> tuple[list[Said], list[str]]:
            session = sessions.find(rows, id, owner, time.time())
            if session is None:  # it was there when this one queued up
                raise SessionMovedOn(id)
            newest = sessions.turns_before(rows, id, session.num_turns, limit)
            return [(turn.role, turn.text) for turn in newest], list(session.system)

        found = await self._service.database.run(read, writes=False)
        self.session_id = id
        return found

    async def _reserve(self, num_context_tokens: int, decoding: Decoding) -> None:
        if (key := self._caller.key) is None:
            return
        self._reserved = tokens = num_context_tokens + decoding.max_reply_tokens * decoding.num_replies
        quota = self._caller.tokens_per_day(self._service.serving)
        self._reserving = self._service.database.start(
            lambda rows: usage.reserve_tokens(rows, key.id, tokens, quota, time.time())
        )
        await asyncio.wrap_future(self._reserving)

    async def _keep(self, text: str, finish: Finish, replica: ChatReplica) -> None:
        """Turn, reply and count in one transaction; nothing to do for a reply that nobody keeps or counts."""
        question, version = self._question, replica.version
        is_kept = self.session_id is not None or question.keep
        key, reserving, holder = self._caller.key, self._reserving, self._place.holder if self._place else None
        unused = self._reserved - self.num_context_tokens - self.num_reply_tokens
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
                    rows, reply, new, question.system or None, holder, time.time(), self._service.serving.session_ttl_s,
                )  # fmt: skip
            if key is not None and reserving is not None:
                usage.settle(rows, key.id, reserving.result(), unused)

        self._keeping = self._service.database.start(write)
        await asyncio.wrap_future(self._keeping)

    def _leave(self) -> None:
        """Lets the next in the session speak and gives tokens back. Nothing is awaited: the client may be gone, and
        what was begun for it goes on to its end, on which it depends what there is to do."""
        if (place := self._place) is not None:
            place.stop()
        key, reserving, keeping = self._caller.key, self._reserving, self._keeping
        unused = self._reserved - self.num_context_tokens - self.num_reply_tokens
        has_begun, database = self.num_context_tokens > 0, self._service.database

        def after_the_last(_: object) -> None:
            if _is_done(keeping):  # the ticket and the tokens went with it
                return
            is_reserved = _is_done(reserving)

            def leave(rows: Connection) -> None:
                if place is not None:
                    tickets.release(rows, place.holder)
                if key is not None and reserving is not None and is_reserved:
                    usage.settle(rows, key.id, reserving.result(), unused, has_begun=has_begun)

            if place is not None or is_reserved:
                database.start(leave)

        queued = place.queued if place else None
        last: Future[Any] | None = keeping or reserving or queued  # each began when the one before had ended
        if last is not None:
            last.add_done_callback(after_the_last)
        self._place = self._reserving = self._keeping = None
        self._reserved = 0


def _is_done(work: Future[Any] | None) -> bool:
    """Whether it was committed; not, if it failed or was cancelled before it began."""
    return work is not None and work.done() and not work.cancelled() and work.exception() is None


def _as_told(question: Question, told: Told) -> Question:
    """With the door's seed, unless the request has one; a session that was begun for it is gone on with."""
    decoding = {**question.decoding}
    if decoding.get("seed") is None:
        decoding["seed"] = told.seed
    session_id = told.session if told.session and question.session_id == NEW_SESSION else question.session_id
    return replace(question, decoding=decoding, session_id=session_id)


def _unknown_model(error: UnknownVersion) -> Refused:
    return Refused(404, str(error), param="model", code="model_not_found")
