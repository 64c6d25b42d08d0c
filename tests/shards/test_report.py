"""The page of a prepared set: true, self-contained, and harmless whatever people have said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from rejoinder.shards import ShardSet
from rejoinder.shards.report import FIGURES, PAGE, measure, render, write_report
from rejoinder.text import Exchange, Tokenizer


@pytest.fixture
def directory(prepared_set: Path, tmp_path: Path) -> Path:
    """A prepared set of the test's own."""
    return Path(shutil.copytree(prepared_set, tmp_path / "set"))


def test_its_figures_are_those_of_the_shards(directory: Path) -> None:
    write_report(directory)
    figures = json.loads((directory / FIGURES).read_text())
    train = ShardSet(directory, "train")
    assert figures["splits"]["train"]["num_exchanges"] == len(train)
    assert sum(figures["reply_lengths"]) == len(train)
    assert figures["context_lengths"][int(train.context_lengths[0])] == int(
        np.sum(train.context_lengths == train.context_lengths[0])
    )
    assert figures["top_replies"][0][1] >= figures["top_replies"][1][1]
    assert len(figures["samples"]) == 10
    assert all("<self>" in one["context"] or "<other>" in one["context"] for one in figures["samples"])


def test_it_is_one_page_that_loads_nothing_from_elsewhere(directory: Path) -> None:
    write_report(directory)
    page = (directory / PAGE).read_text()
    assert "src=" not in page
    assert "href=" not in page
    for drawing in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + drawing.split("</svg>")[0] + "</svg>")


def test_what_people_said_cannot_run_in_it(
    tokenizer: Tokenizer, write_set: Callable[..., Path], tmp_path: Path
) -> None:
    ids = tokenizer.to_ids("<script>alert(1)</script>")
    rows = [(Exchange([3, *ids], [*ids, 2], len("<script>alert(1)</script>")), "<b>id</b>")]
    page = render(measure(write_set(tmp_path / "bad", {"train": [rows], "valid": [rows], "test": [rows]})))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
