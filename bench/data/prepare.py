"""How fast do conversations become shards, against the bare tokenizer and against Hugging Face `datasets`?"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench.data.corpus import CONTENDERS, TEXT, recipe, write_chitchat
from bench.framework import Figure, Result, interleaved
from bench.plots import bars
from bench.setting import Setting


def measure(setting: Setting) -> Result:
    """Megabytes of text a second. Ray's start, imports and a first small run are nobody's time; see facts."""
    corpus = setting.folder / "corpus.jsonl"
    write_chitchat(corpus, setting.size(2, 1), setting.size(1_000_000, 200))
    source = {"name": "chat_messages", "path": str(corpus)}
    tokenizer = setting.folder / "tokenizer.json"
    homes = itertools.count()

    def ours() -> dict[str, Any]:
        home = setting.folder / f"home-{next(homes)}"
        made = recipe(source, home, setting.cores, max_broken_lines=0)
        made["text"] = TEXT | {"max_tokenizer_conversations": 2_000}
        answer = setting.run(f"{CONTENDERS}.ours_prepare", recipe=made)
        shutil.copy(Path(answer["directory"]) / tokenizer.name, tokenizer)  # the peers use it: ours runs first
        shutil.rmtree(home)
        return answer

    same: dict[str, Any] = {"corpus": str(corpus), "tokenizer": str(tokenizer)}
    contenders: dict[str, Callable[[], dict[str, Any]]] = {
        "ours": ours,
        "encode": lambda: setting.run(f"{CONTENDERS}.tokenizers_encode", **same),
    }
    if setting.peers is not None:
        contenders["map"] = lambda: setting.run(
            f"{CONTENDERS}.datasets_map", python=setting.peers, cores=setting.cores, text=TEXT, **same
        )
    answers = interleaved(contenders, setting.rounds)
    _require_the_same_work(answers)
    first = answers["ours"][0]
    megabytes = answers["encode"][0]["num_bytes"] / 1e6
    prepare = [megabytes / (answer["prepare_s"] - answer["learning_s"]) for answer in answers["ours"]]
    encode = [megabytes / answer["encode_s"] for answer in answers["encode"]]
    mapped = [megabytes / answer["map_s"] for answer in answers.get("map", [])]
    shown = {
        "tokenizers.encode_batch, nothing else": median(encode),
        "Rejoinder: prepare": median(prepare),
    } | ({"datasets: Dataset.map": median(mapped)} if mapped else {})
    return Result(
        [
            Figure("prepare against tokenizers.encode_batch", "MB/s", prepare, encode),
            Figure("prepare against datasets.map", "MB/s", prepare, mapped),
        ],
        {
            "corpus": f"chitchat, {first['num_turns']:,} turns, {megabytes:.1f} MB of text",
            "num_turns": first["num_turns"],
            "num_exchanges": first["num_exchanges"],
            "phases_of_prepare_s": {
                phase: median(answer["phases_s"][phase] for answer in answers["ours"]) for phase in first["phases_s"]
            },
            "not_counted_s": {
                "starting Ray and its workers": median(answer["start_s"] for answer in answers["ours"]),
                "learning the tokenizer": median(answer["learning_s"] for answer in answers["ours"]),
            },
        },
        lambda file: bars(file, "Conversations to token ids", "MB of text a second", shown, ["Rejoinder: prepare"]),
    )


def _require_the_same_work(answers: dict[str, list[dict[str, Any]]]) -> None:
    """Otherwise the ratio says nothing."""
    ours, encode = answers["ours"][0], answers["encode"][0]
    assert ours["num_turns"] == encode["num_turns"], (ours, encode)
    for theirs in answers.get("map", []):
        same = [theirs[what] == ours[what] for what in ("num_exchanges", "num_tokens")]
        assert all(same), f"datasets.map made {theirs}, prepare {ours}"
