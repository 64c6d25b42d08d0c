"""`POST /v1/feedback`: what somebody thought of a reply, kept with the conversation and the model's version."""

from __future__ import annotations

import time
from typing import Annotated, Literal, Self

from fastapi import FastAPI, Request
from pydantic import ConfigDict, Field, model_validator
from sqlalchemy import Connection

from serve.attempts import next_reply
from serve.errors import Refused
from serve.messages import NAME, Message, Text, new_id
from serve.routes.asking import caller_of
from serve.service import Service
from serve.store import feedback, turns
from serve.store.feedback import Feedback
from serve.store.turns import storable


class NewFeedback(Message):
    """At least one opinion on one reply."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"reply_id": "chatcmpl-0123", "thumb": "up"},
                {"reply_id": "chatcmpl-0123", "rating": 2, "correction": "I am fine, and you?"},
            ]
        }
    )

    reply_id: Annotated[str, Field(max_length=64, pattern=NAME)]
    """The `id` of the reply: one in a session, or one that was asked for with `store`."""
    thumb: Literal["up", "down"] | None = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    correction: Text | None = None
    """What should have been said."""
    regenerate: bool = False
    """Another reply was wanted."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.thumb is None and self.rating is None and self.correction is None and not self.regenerate:
            raise ValueError("say something of the reply: thumb, rating, correction or regenerate")
        return self


class FeedbackCard(Message):
    """What was kept."""

    id: str
    object: Literal["feedback"] = "feedback"
    reply_id: str
    session_id: str | None = None
    model_version: str
    created: int


def add(api: FastAPI, service: Service) -> None:
    """Adds the route."""

    @api.post("/v1/feedback", tags=["feedback"], response_model_exclude_none=True)
    async def give_feedback(request: Request, body: NewFeedback) -> FeedbackCard:
        """Kept beside what was replied to, for `jobs/feedback.py export`. Deleting a session deletes its feedback."""
        limit = service.serving.max_turn_characters
        if len(body.correction or "") > limit:
            raise Refused(400, f"correction: more than {limit} characters, which is the limit", param="correction")
        told, owner, now = next_reply(), caller_of(request).owner, time.time()
        id = f"feedback-{told.name}" if told else new_id("feedback")  # the same in every try, and kept once

        def keep(rows: Connection) -> Feedback | None:
            reply = turns.find_reply(rows, body.reply_id, owner, now)
            if reply is None:
                return None
            given = Feedback(
                id, owner, reply.id, reply.session_id, reply.model, reply.version, body.thumb, body.rating,
                storable(body.correction), body.regenerate, feedback.context_of(rows, reply), reply.text, now,
            )  # fmt: skip
            feedback.add(rows, given)
            return given

        given = await service.database.run(keep)
        if given is None:
            raise Refused(
                404, f"no reply of yours that was kept is called {body.reply_id!r}; replies are kept in a session, or "
                "when they are asked for with store = true", param="reply_id", code="reply_not_found",
            )  # fmt: skip
        return FeedbackCard(
            id=id, reply_id=given.reply_id, session_id=given.session_id, model_version=given.version, created=int(now)
        )
