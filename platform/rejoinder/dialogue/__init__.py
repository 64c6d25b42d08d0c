"""Turns in, a reply out: what stands between a conversation and the engine."""

from rejoinder.dialogue.responder import Reply, ReplyPart, Responder

__all__ = ["Reply", "ReplyPart", "Responder"]
