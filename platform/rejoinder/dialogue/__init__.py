"""Turns in, a reply out: what stands between a conversation and the engine."""

from rejoinder.dialogue.responder import Reply, ReplyPart, Responder
from rejoinder.dialogue.together import reply_to_all

__all__ = ["Reply", "ReplyPart", "Responder", "reply_to_all"]
