"""Share of replies that would do after almost anything, from 0 to 1: those on a list; and of those that say nothing."""

from __future__ import annotations

import hashlib
from typing import Literal

from rejoinder.evaluation.bootstrap import Statistics, ratio
from rejoinder.evaluation.metrics.base import Answers, Figure, means, normalised
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["generic"] = "generic"
    phrases: tuple[str, ...] = (
        "i don't know", "i do not know", "i dunno", "i have no idea", "i'm not sure", "i am not sure",
        "i don't know what you mean", "i don't know what you're talking about", "what do you mean", "i see",
        "me too", "same", "yes", "yeah", "yep", "no", "nope", "ok", "okay", "sure", "of course", "lol", "haha", "cool",
        "nice", "great", "good", "that's good", "that's great", "that's nice", "that's cool", "that is good",
        "that is great", "that is nice", "that is cool", "i think so", "i don't think so", "hi", "hello", "hey",
        "thank you", "thanks", "what", "really", "oh", "and you", "how about you", "what about you",
    )  # fmt: skip
    """What counts as generic when it is the whole reply, or all but its first word; case and punctuation aside. The
    default is English (after Li et al. 2016): give your own for another language."""


FIGURES = {
    "generic": Figure("generic replies", ratio, high=1.0, better=-1, is_alone=True),
    "empty": Figure("empty replies", ratio, high=1.0, better=-1, is_alone=True),
}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Whether each reply is generic; whether it is empty."""
    listed = {tuple(normalised(phrase)) for phrase in settings.phrases}
    replies = [tuple(normalised(reply)) for reply in answers.model]
    return {
        "generic": means(float(reply in listed or (len(reply) > 1 and reply[1:] in listed)) for reply in replies),
        "empty": means(float(not reply.strip()) for reply in answers.model),
    }


def signature(settings: Settings) -> str:
    """Which phrases, by a hash of them."""
    digest = hashlib.sha256("\n".join(settings.phrases).encode("utf-8", "replace")).hexdigest()
    return f"{len(settings.phrases)} phrases, sha256 {digest[:12]}"
