"""The same replies by CTranslate2, Hugging Face's generate, or our model as it was trained, in static batches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from bench.engine.contenders.services import StaticBatches, Told, closed_rate, highest_rate
from bench.engine.corpus import MAX_CONTEXT, MAX_REPLY, NUM_IDS, Request, model
from bench.setting import answers
from bench.training.corpus import TRANSFORMER
from rejoinder.batches import pad
from rejoinder.text import END_ID, PAD_ID, START_ID

Write = Callable[[Sequence[Request], Sequence[Told], Sequence[Told]], None]


def ctranslate2(threads: int, compute_type: str = "int8") -> Write:
    """Our own weights, exported. Streams: each row's tokens are told of as they come, and a row ends by itself."""
    import ctranslate2 as library

    from rejoinder.exporters import ctranslate2 as exporter
    from rejoinder.models.transformer import Settings

    folder = tempfile.TemporaryDirectory()
    made = model("transformer")
    trained: Any = SimpleNamespace(model=made, recipe=SimpleNamespace(model=Settings(**TRANSFORMER)))
    exporter.write(trained, Path(folder.name))
    translator = library.Translator(folder.name, compute_type=compute_type, intra_threads=threads, inter_threads=1)

    def write(requests: Sequence[Request], firsts: Sequence[Told], dones: Sequence[Told]) -> None:
        same = len({length for _, length in requests}) == 1 and not firsts
        tokens = [[str(id) for id in context] for context, _ in requests]

        def on_token(result: Any) -> bool:
            row = result.batch_id
            is_last: bool = result.step + 1 >= requests[row][1]
            if result.step == 0:
                firsts[row]()
            if is_last:
                dones[row]()
            return is_last

        translator.translate_batch(
            tokens, beam_size=1, max_decoding_length=max(length for _, length in requests),
            callback=None if same else on_token,
        )  # fmt: skip

    write.folder = folder  # type: ignore[attr-defined]
    return write


def generate(threads: int) -> Write:
    """BART of our size. First tokens are told of at the first step, as if it streamed, and a batch when it is whole."""
    from transformers import StoppingCriteria

    from bench.training.contenders.seq2seq_trainer import bart

    torch.manual_seed(0)
    bart_model = bart(TRANSFORMER, {"max_context_tokens": MAX_CONTEXT, "max_reply_tokens": MAX_REPLY + 1}, NUM_IDS)
    bart_model.eval()

    class First(StoppingCriteria):  # type: ignore[misc]
        def __init__(self, firsts: Sequence[Told]) -> None:
            self.firsts = firsts

        def __call__(self, ids_BT: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            for told in self.firsts:
                told()
            self.firsts = ()
            return torch.zeros(len(ids_BT), dtype=torch.bool)

    @torch.inference_mode()
    def write(requests: Sequence[Request], firsts: Sequence[Told], dones: Sequence[Told]) -> None:
        ids_BS = pad([context for context, _ in requests])
        longest = max(length for _, length in requests)
        bart_model.generate(
            input_ids=ids_BS, attention_mask=(ids_BS != PAD_ID).long(), do_sample=False, num_beams=1,
            max_new_tokens=longest, min_new_tokens=longest, stopping_criteria=[First(firsts)],
        )  # fmt: skip
        for told in dones:
            told()

    return write


def plain(name: str) -> Write:
    """Our model, not prepared, a batch at a time: a loop such as tutorials have."""
    made = model(name)

    @torch.inference_mode()
    def write(requests: Sequence[Request], firsts: Sequence[Told], dones: Sequence[Told]) -> None:
        ids_BS = pad([context for context, _ in requests])
        state, ids_B = made.start(ids_BS, ids_BS == PAD_ID), torch.full((len(requests),), START_ID)
        for _ in range(max(length for _, length in requests)):
            logits_BV, state = made.step(ids_B, state)
            logits_BV[:, END_ID] = -torch.inf
            ids_B = logits_BV.argmax(1)
        for told in (*firsts, *dones):
            told()

    return write


def measure(
    peer: str, mode: str, threads: int, seconds: float, name: str = "transformer", num_rows: int = 32,
    first_rate: float = 10.0,
) -> dict[str, Any]:  # fmt: skip
    """`closed`: tokens a second; `open`: the highest rate that it bears."""
    torch.set_num_threads(threads)
    write = ctranslate2(threads) if peer == "ctranslate2" else generate(threads) if peer == "generate" else plain(name)
    if mode == "closed":
        return {"tokens_per_s": closed_rate(lambda requests: write(requests, (), ()), num_rows, seconds)}
    best, trials = highest_rate(StaticBatches(write, num_rows), first_rate, seconds)
    return asdict(best) | {"trials": [asdict(trial) for trial in trials]}


if __name__ == "__main__":
    answers(measure)
