"""What a corpus, or a caller, knows of a reply besides the turns in; control tokens before its context out.

    text.control_tokens=[persona, emotion]
    <persona> i like cats . <persona> i am a chef . <emotion> joy <other> hello ! …

A model that has learnt replies behind such tokens can be asked for a persona, an emotion, a rating.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rejoinder.text.tokenizer import EMOTION_ID, PERSONA_ID, RATING_ID, SPEAKER_ID, SYSTEM_ID, TOPIC_ID, Tokenizer

CONTROLS = {
    "system": SYSTEM_ID,
    "speaker": SPEAKER_ID,
    "persona": PERSONA_ID,
    "topic": TOPIC_ID,
    "rating": RATING_ID,
    "emotion": EMOTION_ID,
}
"""What may be asked for, in the order in which it stands before a context."""

Known = Sequence[tuple[str, str]]
"""("persona", "i like cats ."), ("emotion", "joy") …: what is known of one reply, each kind any number of times."""


def known_of(notes: Known, replier: str, emotion: str | None) -> Iterator[tuple[str, str]]:
    """What is known of a reply, from the notes of its conversation, who gives it and what was felt.

    A note's key may name whom it is about, as in "persona:ann": then it is about ann's replies alone.
    """
    yield "speaker", replier
    if emotion:
        yield "emotion", emotion
    for key, value in notes:
        kind, _, whose = key.partition(":")
        if kind == "rating":  # "rating:witty" says which one it is
            yield "rating", f"{whose} {value}".strip()
        elif kind == "prompt":
            yield "topic", value
        elif kind in CONTROLS and whose in ("", replier):
            yield kind, value


def prefix_ids(known: Known, wanted: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Ids of what is wanted of what is known: a control token before each text."""
    ids: list[int] = []
    for kind, control in CONTROLS.items():
        if kind in wanted:
            ids += [id for name, text in known if name == kind for id in (control, *tokenizer.to_ids(text))]
    return ids
