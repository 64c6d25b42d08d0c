"""One version of a model with its engine, answering many requests at a time. Knows no HTTP."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace

import torch

from rejoinder import checkpoints
from rejoinder.corpora import Turn
from rejoinder.decoding import Decoding
from rejoinder.dialogue import Reply, ReplyPart, Responder
from rejoinder.engine import Finish
from rejoinder.errors import EngineError, RecipeError, ServingError
from rejoinder.models import prepared_for_inference
from rejoinder.recipe import Recipe, ServingSection, validate
from rejoinder.registry import Registry, Version
from serve.mailbox import Mailbox

STUCK_S = 30
CANARY = "Hello!"
CANARY_EVERY_S = 10.0
CANARY_TIMEOUT_S = 10.0
_WITHOUT_AN_END = (Finish.TIMED_OUT, Finish.FAILED, Finish.CANCELLED)


class TooSlow(ServingError):
    """A reply was not there in time."""


class FailedReply(ServingError):
    """The model did not come to the reply's end."""


def load_replica(recipe: Recipe, registry: Registry, version: Version) -> ChatReplica:
    """A version of the registry, loaded, warmed up, asked the readiness prompts; its engine runs.

    Blocks for seconds. Raises RegistryError when it cannot be had, CheckpointError when it is damaged, ServingError
    when it does not answer as it must, or its recipe contradicts `serving.decoding`.
    """
    serving = recipe.serving
    # Training workers keep few of oneDNN's kernels; here they are made once for each size of the running batch. Read
    # when the first is made, so not too late after torch was imported.
    os.environ.update(ONEDNN_PRIMITIVE_CACHE_CAPACITY="1024", LRU_CACHE_CAPACITY="1024")
    torch.set_num_threads(serving.cpus_per_replica)
    device = "cuda" if serving.gpus_per_replica else "cpu"
    trained = checkpoints.load(registry.download(version), device)
    num_bytes = sum(weights.nbytes for weights in trained.model.state_dict().values())
    own = recipe_as_served(trained.recipe, serving, version)
    trained = replace(trained, model=prepared_for_inference(trained.model, serving.precision), recipe=own)
    longest = serving.max_reply_tokens
    responder = Responder(trained, serving.num_slots, serving.max_queued_requests, serving.fallback_reply, longest)
    responder.engine.warm_up()
    responder.engine.start()
    loaded = ChatReplica(responder, version, serving.request_timeout_s, num_bytes)
    try:
        loaded.require_answers(serving)
    except BaseException:
        responder.engine.stop()
        raise
    return loaded


def recipe_as_served(own: Recipe, serving: ServingSection, version: Version) -> Recipe:
    """The recipe of a version's model, with `serving.decoding` in its section `decoding`. Raises ServingError, in one
    line, where the two contradict each other, or ask for what the model or the engine cannot do."""
    if not serving.decoding:
        return own
    tree = own.model_dump(mode="json", warnings=False)  # of [1, 4] workers, a list as JSON
    tree["decoding"] |= {"num_replies": 1} | serving.decoding  # more are for a request to ask for
    try:
        decoding = validate(tree).decoding
    except RecipeError as error:
        problems = [line.strip().replace("decoding.", "serving.decoding.") for line in str(error).split("\n")[1:]]
        raise ServingError(f"{version} with serving.decoding over its own: {'; '.join(problems)}") from None
    if decoding.num_rows > serving.num_slots:
        raise ServingError(
            f"{version} with serving.decoding over its own: a reply takes {decoding.num_rows} slots, and there are "
            f"serving.num_slots = {serving.num_slots}; raise that, or ask for fewer beams or candidates"
        )
    return own.model_copy(update={"decoding": decoding})


@dataclass(eq=False)
class ChatReplica:
    """A responder and the version it speaks for. Its engine runs."""

    responder: Responder
    version: Version
    request_timeout_s: float
    num_weight_bytes: int = 0
    """As they were trained; packed ones take about as much, int8 a quarter."""
    _answered_at: float = field(default_factory=time.monotonic)
    """When the engine last answered the canary prompt; loading asks it first."""
    _asking: asyncio.Task[None] | None = None
    """The canary prompt that has been asked and not answered yet."""

    @property
    def num_bytes(self) -> int:
        """Memory of its weights and its slots."""
        num_slots = self.responder.engine.statistics().num_slots
        return self.num_weight_bytes + num_slots * self.responder.engine.bytes_per_slot

    async def stream(
        self, context: list[int], decoding: Decoding, timeout_s: float | None = None,
        on_replies: Callable[[list[Reply]], object] | None = None, *, at_once: bool = False,
    ) -> AsyncGenerator[ReplyPart]:  # fmt: skip
        """The reply's parts as they come; `at_once`, what follows the first comes as one. Leaving early cancels the
        reply and frees its slot. Where several were asked for, `on_replies` gets them all before the last part, which
        is of the best; without it each has parts of its own, by their `index`.

        Raises EngineError for what cannot be answered, EngineFull when too many wait, FailedReply, and TooSlow after
        the timeout, which is `request_timeout_s` unless a shorter one is given.
        """
        limit_s = self.request_timeout_s if timeout_s is None else min(timeout_s, self.request_timeout_s)
        mailbox = Mailbox(limit_s, at_once=at_once)
        cancel = None
        try:
            if decoding.num_replies > 1 and on_replies is None:
                cancel = self.responder.submit_each(context, decoding, mailbox.put, limit_s)
            else:
                cancel = self.responder.submit(context, decoding, mailbox.put, on_replies, limit_s)
            while True:
                for part in await mailbox.take():
                    if part.finish in _WITHOUT_AN_END and part.text:  # what was said before comes with it
                        yield replace(part, finish=None)
                    if part.finish is Finish.TIMED_OUT:
                        raise TimeoutError
                    if part.finish in _WITHOUT_AN_END:
                        raise FailedReply(f"the reply {part.finish.value}; try again")
                    yield part
                    if part.is_last:
                        return
        except TimeoutError:
            shown_s = math.ceil(10 * limit_s) / 10
            raise TooSlow(f"no reply within {shown_s:g} s; try again later, or give it more time") from None
        finally:
            mailbox.close()
            if cancel is not None:
                cancel()

    def check(self) -> None:
        """Raises ServingError when the engine is stuck. However full it is, it is not stuck while it moves."""
        stuck_s = self.responder.engine.statistics().seconds_since_step
        if stuck_s > STUCK_S:
            raise ServingError(f"the engine has not moved for {stuck_s:.0f} s")

    async def check_answers(self) -> None:
        """Raises ServingError when the engine is stuck, or does not answer a canary prompt; asks at most every 10 s,
        and once however many want to know: they need no key, and must not fill the queue."""
        self.check()
        if time.monotonic() - self._answered_at < CANARY_EVERY_S:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_canary())
        await asyncio.shield(self._asking)

    async def _ask_canary(self) -> None:
        responder, said = self.responder, self.responder.engine.statistics().num_tokens
        shortest = max(1, responder.trained.recipe.decoding.min_reply_tokens)
        try:
            context = responder.context([Turn("user", CANARY)], "assistant")
            # So short a reply may have no room for the recipe's prefix.
            decoding = responder.decoding(max_reply_tokens=shortest, num_replies=1, prefix="")
            async for _ in self.stream(context, decoding, CANARY_TIMEOUT_S, at_once=True):
                pass
        except (EngineError, ServingError) as error:
            # So many ask that the canary finds no room: the tokens that they get are as good a sign.
            if responder.engine.statistics().num_tokens == said:
                await asyncio.sleep(1)
            if responder.engine.statistics().num_tokens == said:
                raise ServingError(f"{self.version} does not answer {CANARY!r}: {error}") from error
        self._answered_at = time.monotonic()

    def require_answers(self, serving: ServingSection) -> None:
        """Asks `serving.readiness_prompts`, one after the other. Blocks.

        Raises ServingError for a reply with log-probabilities that are no numbers, or too late; when none has words.
        """
        responder, limit_s, has_words = self.responder, serving.readiness_timeout_s, False
        for prompt in serving.readiness_prompts:
            context, begun = responder.context([Turn("user", prompt)], "assistant"), time.monotonic()
            try:  # with the settings of whoever asks for none
                reply = responder.reply(context, responder.decoding(seed=0, num_logprobs=0, num_replies=1), limit_s)
            except EngineError as error:
                why = f"within {limit_s:g} s" if time.monotonic() - begun >= limit_s else f"({error})"
                raise ServingError(f"{self.version} does not answer {prompt!r} {why}") from None
            if not all(math.isfinite(token.logprob) for token in reply.logprobs):
                raise ServingError(f"{self.version} answers {prompt!r} with log-probabilities that are no numbers")
            has_words = has_words or (reply.num_reply_tokens > 0 and reply.text != serving.fallback_reply)
        if not has_words:  # one or another may well leave a model without words
            raise ServingError(f"{self.version} has no words for any of serving.readiness_prompts")
        self._answered_at = time.monotonic()
