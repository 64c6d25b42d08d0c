"""What Ray's documentation shows: `@serve.batch` before Hugging Face's generate, with a BART of our size."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import ray
import torch
from ray import serve
from starlette.requests import Request

from bench.serving.contenders.orders import answer, arguments, obey
from bench.serving.contenders.ours import tokenizer_of
from bench.serving.corpus import BATCH, recipe
from bench.training.corpus import TEXT, TRANSFORMER
from rejoinder.batches import pad
from rejoinder.recipe import validate
from rejoinder.text import PAD_ID, Tokenizer


@serve.deployment(max_ongoing_requests=1_000, ray_actor_options={"num_cpus": 2})
class Peer:
    """Batches of up to 32; a batch is done when its longest reply is."""

    def __init__(self, tokenizer: str, threads: int) -> None:
        from bench.training.contenders.seq2seq_trainer import bart

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.tokenizer = Tokenizer.from_json(tokenizer)
        text = {**TEXT, "max_reply_tokens": TEXT["max_reply_tokens"] + 1}
        self.model = bart(TRANSFORMER, text, self.tokenizer.num_ids).eval()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.01)  # type: ignore[untyped-decorator]
    async def reply(self, asked: list[tuple[str, int]]) -> list[str]:
        """In a thread: the loop goes on reading requests meanwhile."""
        return await asyncio.to_thread(self.write, asked)

    @torch.inference_mode()
    def write(self, asked: list[tuple[str, int]]) -> list[str]:
        """Greedy replies of the lengths that are asked for."""
        ids_BS = pad([self.tokenizer.to_ids(text)[: TEXT["max_context_tokens"]] for text, _ in asked])
        longest = max(length for _, length in asked)
        said_BT = self.model.generate(
            input_ids=ids_BS, attention_mask=(ids_BS != PAD_ID).long(), do_sample=False, num_beams=1,
            max_new_tokens=longest, min_new_tokens=longest,
        )  # fmt: skip
        rows = zip(said_BT.tolist(), asked, strict=True)
        return [self.tokenizer.to_text(said[1 : length + 1]) for said, (_, length) in rows]

    async def __call__(self, request: Request) -> dict[str, Any]:
        body = await request.json()
        return {"text": await self.reply((body["messages"][-1]["content"], body["max_tokens"]))}


def main(port: int, home: str, threads: int) -> None:
    """Serves until nobody gives orders any more."""
    tokenizer = tokenizer_of(validate(recipe(Path(home), port)))
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"port": port})
    serve.run(Peer.bind(tokenizer.to_json(), threads), route_prefix="/")  # type: ignore[attr-defined]
    answer(url=f"http://127.0.0.1:{port}")
    obey({})


if __name__ == "__main__":
    main(**arguments())
