"""One replica: a model version from the registry with its engine, answering many requests at a time. Knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import torch

from rejoinder import checkpoints
from rejoinder.corpora import Turn
from rejoinder.decoding import Decoding
from rejoinder.dialogue import ReplyPart, Responder
from rejoinder.engine import Finish
from rejoinder.errors import ServingError
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry, Version

STUCK_S = 30
CANARY = "Hello!"


def load_replica(recipe: Recipe) -> ChatReplica:
    """The version that the recipe's alias points at, loaded, warmed up and ready.

    Raises RegistryError when there is no such version, CheckpointError when it is damaged.
    """
    serving = recipe.serving
    torch.set_num_threads(serving.cpus_per_replica)
    registry = Registry(recipe)
    version = registry.find(serving.alias)
    device = "cuda" if serving.gpus_per_replica else "cpu"
    trained = checkpoints.load(registry.download(version), device)
    responder = Responder(trained, serving.num_slots, serving.max_queued_requests, serving.fallback_reply)
    responder.engine.start()
    responder.reply(responder.context([Turn("user", CANARY)], "assistant"))
    return ChatReplica(responder, version, serving.request_timeout_s)


@dataclass
class ChatReplica:
    """A responder and the version it speaks for. Its engine runs."""

    responder: Responder
    version: Version
    request_timeout_s: float

    @property
    def model_names(self) -> list[str]:
        """What a request may ask for: the registered model's name, or one version of it."""
        return [self.version.model, f"{self.version.model}@{self.version.number}"]

    async def stream(self, context: list[int], decoding: Decoding) -> AsyncGenerator[ReplyPart]:
        """The reply's parts as they come. Leaving early cancels the reply and frees its slot.

        Raises EngineError for what cannot be answered, EngineFull when too many wait, ServingError after the timeout.
        """
        loop, parts = asyncio.get_running_loop(), asyncio.Queue[ReplyPart]()

        def on_part(part: ReplyPart) -> None:
            loop.call_soon_threadsafe(parts.put_nowait, part)

        cancel = self.responder.submit(context, decoding, on_part)
        deadline = loop.time() + self.request_timeout_s
        try:
            while True:
                part = await asyncio.wait_for(parts.get(), deadline - loop.time())
                if part.finish in (Finish.FAILED, Finish.CANCELLED):
                    raise ServingError(f"the reply {part.finish.value}; try again")
                yield part
                if part.finish is not None:
                    return
        except TimeoutError:
            raise ServingError(f"no reply within {self.request_timeout_s:g} s; try again later") from None
        finally:
            cancel()

    def check(self) -> None:
        """Raises ServingError when the engine is stuck."""
        stuck_s = self.responder.engine.statistics().seconds_since_step
        if stuck_s > STUCK_S:
            raise ServingError(f"the engine has not moved for {stuck_s:.0f} s")
