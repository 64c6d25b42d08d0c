"""A prepared set in, text files out whose words are its token ids: toolkits that read text learn the very same."""

from __future__ import annotations

from pathlib import Path

from bench.training.ended import ended_rows
from rejoinder.shards import ShardSet
from rejoinder.text import END_ID


def write_words(shards: Path, folder: Path) -> None:
    """train.context, train.reply, valid.context, valid.reply, and vocabulary.txt, a word a line.

    The end token is left out, since each toolkit adds its own; replies that were cut are left out too.
    """
    for split in ("train", "valid"):
        shard_set = ShardSet(shards, split)
        rows = shard_set.rows(ended_rows(shard_set))
        for name, all_ids in (("context", rows.context_ids), ("reply", rows.reply_ids)):
            texts = (" ".join(f"t{id}" for id in ids.tolist() if id != END_ID) for ids in all_ids)
            (folder / f"{split}.{name}").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    num_ids = ShardSet(shards, "train").tokenizer().num_ids
    (folder / "vocabulary.txt").write_text("".join(f"t{id}\n" for id in range(num_ids)), encoding="utf-8")
