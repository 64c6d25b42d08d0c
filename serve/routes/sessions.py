"""`/v1/sessions`: conversations that the server keeps. Whoever made one can list, read, export and delete it."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal, cast

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field, WithJsonSchema

from serve.attempts import next_reply
from serve.messages import LONGEST_TURN, NAME, Message, Role
from serve.place import unknown_session
from serve.routes.asking import caller_of
from serve.service import Service
from serve.store import sessions
from serve.store.sessions import Session, StoredTurn

_PAGE = 100
_EXPORT_TURNS = 500
SessionId = Annotated[str, Path(max_length=64, pattern=NAME)]
After = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "maxLength": 64, "pattern": NAME}),
    Query(max_length=64, pattern=NAME),
]


class NewSession(Message):
    """`POST /v1/sessions`."""

    system: list[Annotated[str, Field(min_length=1, max_length=LONGEST_TURN)]] = Field(default=[], max_length=16)
    """System messages, for models that were trained with them."""


class SessionCard(Message):
    """A session without its turns. Times are seconds since 1970."""

    id: str
    object: Literal["session"] = "session"
    num_turns: int
    created: int
    used: int
    expires: int


class SessionList(Message):
    """A page of sessions, the newest first."""

    object: Literal["list"] = "list"
    data: list[SessionCard]
    has_more: bool


class TurnCard(Message):
    """One turn of a session."""

    position: int
    role: Role
    content: str
    reply_id: str | None = None
    """What feedback on it names."""
    created: int


class SessionPage(SessionCard):
    """A session with some of its turns, the oldest first."""

    system: list[str]
    turns: list[TurnCard]
    has_more: bool


class Deleted(Message):
    """What is gone."""

    id: str
    object: Literal["session.deleted"] = "session.deleted"
    deleted: bool = True


def add(api: FastAPI, service: Service) -> None:
    """Adds the routes."""
    database = service.database

    async def find(request: Request, id: str) -> Session:
        owner = caller_of(request).owner
        found = await database.run(lambda rows: sessions.find(rows, id, owner, time.time()), writes=False)
        if found is None:
            raise unknown_session(id)
        return found

    @api.post("/v1/sessions", tags=["sessions"])
    async def new_session(request: Request, body: NewSession | None = None) -> SessionCard:
        """An empty conversation; its `id` is the `session_id` of what is said in it."""
        told, owner = next_reply(), caller_of(request).owner
        id = f"session-{told.name}" if told else sessions.new_session_id()  # the same in every try, and made once
        system = body.system if body else []
        ttl_s = service.serving.session_ttl_s
        await database.run(lambda rows: sessions.create(rows, id, owner, time.time(), ttl_s, system))
        return _card(await find(request, id))

    @api.get("/v1/sessions", tags=["sessions"])
    async def list_sessions(
        request: Request, limit: Annotated[int, Query(ge=1, le=_PAGE)] = 20,
        after: After = None,
    ) -> SessionList:  # fmt: skip
        """The caller's sessions, the newest first; `after` is the `id` of the last one of the page before."""
        owner = caller_of(request).owner
        found = await database.run(
            lambda rows: sessions.listed(rows, owner, time.time(), limit + 1, after), writes=False
        )
        return SessionList(data=[_card(session) for session in found[:limit]], has_more=len(found) > limit)

    @api.get("/v1/sessions/{id}", tags=["sessions"], response_model_exclude_none=True)
    async def get_session(
        request: Request, id: SessionId, start: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
        limit: Annotated[int, Query(ge=1, le=1_000)] = _PAGE,
    ) -> SessionPage:  # fmt: skip
        """A session and `limit` of its turns from position `start` on."""
        session = await find(request, id)
        said = await database.run(lambda rows: sessions.turns_from(rows, id, start, limit), writes=False)
        return SessionPage(
            **_card(session).model_dump(),
            system=list(session.system),
            turns=[_turn(turn) for turn in said],
            has_more=start + len(said) < session.num_turns,
        )

    @api.get(
        "/v1/sessions/{id}/export", tags=["sessions"], response_class=StreamingResponse,
        responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    )  # fmt: skip
    async def export_session(request: Request, id: SessionId) -> StreamingResponse:
        """All of it as one JSON object, {"id", "messages": [{"role", "content"}, ...]}: a line for the corpus reader
        chat_messages."""
        return StreamingResponse(_export(service, await find(request, id)), media_type="application/json")

    @api.delete("/v1/sessions/{id}", tags=["sessions"])
    async def delete_session(request: Request, id: SessionId) -> Deleted:
        """Forgets it: its turns, its replies, the feedback on them."""
        told, owner = next_reply(), caller_of(request).owner
        is_gone = await database.run(lambda rows: sessions.remove(rows, id, owner))
        if not is_gone and not (told and told.number):  # an earlier try may have deleted it, and died
            raise unknown_session(id)
        return Deleted(id=id)


async def _export(service: Service, session: Session) -> AsyncIterator[str]:
    def message(role: str, content: str) -> str:
        return json.dumps({"role": role, "content": content}, ensure_ascii=False)

    yield f'{{"id": {json.dumps(session.id)}, "messages": ['
    yield ", ".join(message("system", text) for text in session.system)
    for start in range(0, session.num_turns, _EXPORT_TURNS):
        read = functools.partial(sessions.turns_from, id=session.id, position=start, limit=_EXPORT_TURNS)
        said = await service.database.run(read, writes=False)
        begins = ", " if start or session.system else ""
        yield begins + ", ".join(message(turn.role, turn.text) for turn in said)
    yield "]}\n"


def _card(session: Session) -> SessionCard:
    return SessionCard(
        id=session.id, num_turns=session.num_turns, created=int(session.created_at), used=int(session.used_at),
        expires=int(session.expires_at),
    )  # fmt: skip


def _turn(turn: StoredTurn) -> TurnCard:
    return TurnCard(
        position=turn.position, role=cast(Role, turn.role), content=turn.text, reply_id=turn.reply_id,
        created=int(turn.created_at),
    )  # fmt: skip
