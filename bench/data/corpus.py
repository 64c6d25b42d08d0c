"""What all questions of this bench measure on: chitchat as JSON lines, the recipes, the prepared sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.setting import Setting
from rejoinder.corpora import Conversation, chitchat

CONTENDERS = "bench.data.contenders"
TEXT = {"vocabulary_size": 4096, "max_context_turns": 4, "max_context_tokens": 40, "max_reply_tokens": 40}
"""As in jobs/recipes/demo.yaml."""
BATCH_TOKENS, RANDOM_BATCH_ROWS = 4_096, 64


def write_chitchat(file: Path, num_copies: int, max_conversations: int | None = None) -> None:
    """The conversations of chitchat-dataset as JSON lines, again and again. No two copies are alike word for word."""
    records = chitchat.read(chitchat.Settings())
    talks = [talk for talk in records if isinstance(talk, Conversation) and len(talk.turns) > 1]
    with file.open("w", encoding="utf-8") as out:
        for copy in range(num_copies):
            for number, talk in enumerate(talks[:max_conversations]):
                messages = [{"role": turn.speaker, "content": turn.text} for turn in talk.turns]
                messages[0]["content"] += f" ({copy})" if copy else ""
                line = {"id": f"{copy}/{number}", "messages": messages}
                out.write(json.dumps(line, ensure_ascii=False).encode(errors="replace").decode() + "\n")


def recipe(corpus: dict[str, Any], home: Path, cores: int, **data: Any) -> dict[str, Any]:
    """The plain values of a recipe that prepares this corpus on so many cores, and keeps every conversation of it."""
    return {
        "name": "bench",
        "data": {"corpora": [corpus], "on_duplicate": "keep", "on_leak": "warn", **data},
        "text": TEXT,
        "model": {"name": "gru_attention"},
        "storage": {"uri": str(home)},
        "cluster": {"address": "local", "num_cpus": cores},
    }


def chitchat_set(setting: Setting) -> str:
    """The directory of a prepared set of chitchat as it is, made by a program of its own."""
    corpus = setting.folder / "chitchat.jsonl"
    write_chitchat(corpus, 1, setting.size(1_000_000, 300))
    made = recipe({"name": "chat_messages", "path": str(corpus)}, setting.folder / "set", setting.cores)
    directory: str = setting.run(f"{CONTENDERS}.ours_prepare", recipe=made)["directory"]
    return directory
