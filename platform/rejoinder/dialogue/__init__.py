"""Turns in, a reply out: what stands between a conversation and the engine."""

from rejoinder.dialogue.parts import ReplyPart
from rejoinder.dialogue.responder import Reply, Responder
from rejoinder.dialogue.spelling import SpeltLogprob
from rejoinder.dialogue.together import replies_to_all, reply_to_all

__all__ = ["Reply", "ReplyPart", "Responder", "SpeltLogprob", "replies_to_all", "reply_to_all"]
