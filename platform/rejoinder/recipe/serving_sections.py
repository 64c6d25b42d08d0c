"""Those of the settings that say which versions of a model are served, to whom, and how they reply."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from rejoinder.recipe.base import Section, some_of
from rejoinder.recipe.contradictions import contradictions_of_changes
from rejoinder.recipe.reply_sections import DecodingSection

if TYPE_CHECKING:
    from rejoinder.recipe.sections import ServingSection

    SomeDecoding: TypeAlias = dict[str, Any]
else:
    SomeDecoding = some_of(DecodingSection)

VersionName = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=128),
]
"""An alias of the registered model, or a version's number."""
Share = Annotated[float, Field(ge=0, le=100)]
OF_REQUESTS = {"num_replies": "n", "num_logprobs": "logprobs"}
"""What each request says of its replies, and by which field; without it there is one reply, and nothing besides."""


class CanarySection(Section):
    """A version that answers some before it answers all."""

    to: VersionName | None = None
    """Alias or version that answers them; null is no canary. As long as the alias points nowhere, nobody is."""
    percent: Share = 5.0
    """Of the sessions; without a session, of the callers named by `user`, else of the requests. The same ones always,
    and those of 5 % are among those of 10 %."""


class ShadowSection(Section):
    """A version that is asked as well, and whose answers nobody gets: they are counted and kept."""

    to: VersionName | None = None
    """Alias or version that is asked; null is nobody."""
    percent: Share = 10.0
    """Of the replies."""
    max_fill: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the slots that may be in use while it is asked; as soon as more are, its reply is given up and tried
    again later. At 0, a replica asks it only while nobody else is answered."""
    max_waiting: Annotated[int, Field(gt=0)] = 64
    """Questions that wait for such a moment; of more, the oldest are dropped."""
    max_wait_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that a question waits before it is dropped."""


class RetreatSection(Section):
    """When a canary, or a version of `ab_test`, is not given anybody any more. It is compared with the version that
    serving.alias points at, over all replicas."""

    window_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that are looked back."""
    min_replies: Annotated[int, Field(gt=0)] = 50
    """Replies in the window, of each of the two, before anything is judged."""
    max_error_rise: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Share of replies that failed, above the other's."""
    max_first_token_ratio: Annotated[float, Field(ge=1)] = 1.5
    """Time to the first token by the other's, geometric means."""
    max_repetition_rise: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of a reply's runs of three words that it, or the model earlier in the conversation, has said before; above
    the other's."""


def contradictions_of_versions(serving: ServingSection) -> Iterator[str]:
    """What does not go with each other in the choice of versions."""
    for where, name in (("serving.canary.to", serving.canary.to), ("serving.shadow.to", serving.shadow.to)):
        if name == serving.alias:
            yield f"{where} = {name} is serving.alias, which answers anyhow; name another, or leave it out"
    if serving.ab_test and not sum(serving.ab_test.values()):
        yield "serving.ab_test: all weights are 0; give one a weight, or leave it out"
    if serving.ab_test and serving.alias not in serving.ab_test:
        yield (
            f"serving.ab_test has no weight of {serving.alias!r}, which serving.alias is and the others are compared "
            f"with; add {serving.alias}: 1"
        )
    always = {serving.alias, *serving.asked_names}
    needed, named = len(always), ", ".join(sorted(always))
    if serving.max_loaded < needed:
        yield (
            f"serving.max_loaded = {serving.max_loaded}: {named} are asked all the time; raise it to {needed}, or to "
            f"{needed + 1} to keep the last champion at hand"
        )
    elif serving.max_loaded == needed and (others := set(serving.also_loaded) - always):
        yield (
            f"serving.max_loaded = {needed}: beside {named} there is no room for one of serving.also_loaded "
            f"({', '.join(sorted(others))}); raise it to {needed + 1} or more"
        )


def contradictions_of_served_decoding(decoding: dict[str, Any]) -> Iterator[str]:
    """What no model can be served with, whatever its own settings are."""
    for name in [name for name in OF_REQUESTS if name in decoding]:
        yield (
            f"serving.decoding.{name} = {decoding[name]}: this is for each request to say, with {OF_REQUESTS[name]}; "
            "leave it out"
        )
    yield from contradictions_of_changes(decoding, DecodingSection().model_dump(), "serving.decoding.")
