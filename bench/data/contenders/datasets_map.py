"""Hugging Face `datasets`: JSON lines, `map(batched=True, num_proc=cores)`, Arrow. Runs in the peers' environment.

It does what `prepare` does to a conversation: the same cleaning, the same tokenizer, the same contexts and replies. It
does not learn a tokenizer, divide into splits, look for leaks, hash files or count.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import tokenizers

from bench.setting import answers
from rejoinder.text import END_ID, NUM_CONTROL_IDS, OTHER_ID, SELF_ID, clean

Rows = dict[str, list[list[int]]]


def measure(corpus: str, tokenizer: str, cores: int, text: dict[str, int]) -> dict[str, Any]:
    """Seconds of loading and mapping. The imports, and a first map of 100 conversations, are not counted."""
    datasets.disable_progress_bars()
    os.environ["RAYON_NUM_THREADS"] = "1"  # there is a process for each core already
    library = tokenizers.Tokenizer.from_str(json.dumps(json.loads(Path(tokenizer).read_text())["tokenizer"]))
    arguments = {"library": library, "settings": text}
    with Path(corpus).open(encoding="utf-8") as lines:
        first = "".join(line for line, _ in zip(lines, range(100), strict=False))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as cache:
        small = Path(cache) / "small.jsonl"
        small.write_text(first, encoding="utf-8")
        _map(str(small), cache, cores, arguments)
        started = time.perf_counter()
        rows = _map(corpus, cache, cores, arguments)
        seconds = time.perf_counter() - started
        num_tokens = sum(
            len(table[name].combine_chunks().values) for table in [rows.data] for name in rows.column_names
        )
    return {"map_s": seconds, "num_exchanges": len(rows), "num_tokens": num_tokens}


def _map(corpus: str, cache: str, cores: int, arguments: dict[str, Any]) -> Any:
    loaded = datasets.load_dataset("json", data_files=corpus, split="train", cache_dir=cache)
    return loaded.map(exchanges, batched=True, num_proc=cores, remove_columns=loaded.column_names, fn_kwargs=arguments)


def exchanges(batch: dict[str, list[Any]], library: tokenizers.Tokenizer, settings: dict[str, int]) -> Rows:
    """The exchanges of many conversations; all their turns are encoded in one call, which is how it is fastest."""
    said = [
        [(message["role"], text) for message in messages if (text := clean(message["content"]))]
        for messages in batch["messages"]
    ]
    encoded = library.encode_batch_fast([text for talk in said for _, text in talk], add_special_tokens=False)
    ids = iter([[id + NUM_CONTROL_IDS for id in encoding.ids] for encoding in encoded])
    contexts, replies = [], []
    for talk in said:
        turns = [(speaker, next(ids)) for speaker, _ in talk]
        for position in range(1, len(turns)):
            speaker, reply = turns[position]
            contexts.append(
                _context(turns[max(0, position - settings["max_context_turns"]) : position], speaker, settings)
            )
            replies.append([*reply, END_ID][: settings["max_reply_tokens"]])
    return {"context_ids": contexts, "reply_ids": replies}


def _context(turns: list[tuple[str, list[int]]], replier: str, settings: dict[str, int]) -> list[int]:
    """The newest turns that fit, as rejoinder.text.context_ids has them."""
    context: list[int] = []
    for speaker, ids in reversed(turns):
        room = settings["max_context_tokens"] - len(context)
        if len(ids) + 1 > room:
            if not context:
                context = [SELF_ID if speaker == replier else OTHER_ID, *ids[-(room - 1) :]]
            break
        context = [SELF_ID if speaker == replier else OTHER_ID, *ids, *context]
    return context


if __name__ == "__main__":
    answers(measure)
