"""Our models side by side: bits per byte by the length of the context, the table and its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench import models
from bench.framework import shown_in
from bench.models.contenders.train_and_measure import bits
from bench.models.side_by_side import BUCKETS, MODELS, plot, recipe, table
from bench.setting import Setting
from rejoinder.evaluation import measure_loss
from rejoinder.models import build_model
from rejoinder.recipe import validate
from rejoinder.shards import ShardSet

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOUND = {
    name: {
        "num_parameters": 3_000_000, "num_steps": 1_200, "reply_tokens_per_s": pace, "bits_per_byte": 1.9,
        "bits_per_byte_of_buckets": [1.8, 1.85, None, 1.95], "exchanges_of_buckets": [10, 20, 0, 40],
    }
    for name, pace in (("GRU", 500.0), ("CNN", 250.0))
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_comparison_is_a_valid_one(name: str, tmp_path: Path) -> None:
    made = validate(recipe(Setting(tmp_path, cores=1, tiny=True)) | {"model": MODELS[name]})
    assert build_model(made, 300).num_parameters > 0


def test_the_buckets_together_are_the_whole_split(prepared_set: Path) -> None:
    made = validate({
        "name": "test", "data": {"corpora": [{"name": "made_up"}]}, "text": {"max_reply_tokens": 24},
        "model": {"name": "gru_attention", "width": 8},
    })  # fmt: skip
    shard_set = ShardSet(prepared_set, "valid")
    torch.manual_seed(0)
    model = build_model(made, shard_set.tokenizer().num_ids)
    found = bits(model, shard_set, [8, 16, 64])
    whole = measure_loss(model, shard_set, 4_096).metrics("valid")["valid_bits_per_byte"]
    assert sum(found["exchanges_of_buckets"]) == len(shard_set)
    assert found["bits_per_byte"] == pytest.approx(whole, rel=1e-5)
    held = [value for value in found["bits_per_byte_of_buckets"] if value is not None]
    assert min(held) <= whole <= max(held)


def test_the_table_has_a_row_for_each_model_and_says_nothing_of_an_empty_bucket() -> None:
    lines = table(FOUND, 60).splitlines()
    assert lines[0] == "| model | weights | pace | steps | bits per byte | 1–10 | 11–20 | 21–30 | 31–40 |"
    assert lines[3] == "| CNN | 3.0 M | 0.5 | 1,200 | 1.900 | 1.800 | 1.850 |  | 1.950 |"
    assert "60 s of training each" in lines[-1]


def test_the_plot_has_a_line_for_each_model(tmp_path: Path) -> None:
    plot(tmp_path / "plot.svg", FOUND)
    assert all(name in (tmp_path / "plot.svg").read_text() for name in (*FOUND, "tokens of the context"))


def test_the_page_has_a_place_for_the_table() -> None:
    page = (DOCS / models.PAGE).read_text(encoding="utf-8")
    assert "| new |" in shown_in(page, "models", "| new |\n")


def test_the_last_bucket_ends_where_the_text_is_cut(tmp_path: Path) -> None:
    assert BUCKETS[-1] == recipe(Setting(tmp_path, cores=1, tiny=True))["text"]["max_context_tokens"]
