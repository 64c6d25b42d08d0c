"""What was counted of each exchange: kept without loss, compared only with what is of the same exchanges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rejoinder.errors import EvaluationError
from rejoinder.evaluation import PerExchange, compare, comparisons
from rejoinder.evaluation.bootstrap import Bags
from rejoinder.evaluation.metrics.base import bags, means
from rejoinder.evaluation.slices import Slicing

SPEAKERS = Slicing("speaker", ["ann", "bob"], np.arange(60) % 2)


def counted(seed: int, better: float = 0.0) -> PerExchange:
    """60 exchanges of 20 conversations, half of them replied to; the loss of ann's is lower by `better`."""
    chance = np.random.default_rng(seed)
    nats = np.random.default_rng(0).normal(5, 1, 60) + chance.normal(0, 0.1, 60) - better * (np.arange(60) % 2 == 0)
    losses = np.stack([nats, np.full(60, 2.0)], axis=1)
    return PerExchange(
        "0123456789abcdef", "test", np.repeat(np.arange(20), 3), np.arange(0, 60, 2),
        {"loss": losses, "word_f1": means(chance.random(30)), "distinct_1": bags([(str(n % 5),)] for n in range(30))},
        {"bleu": "nrefs:1"}, [SPEAKERS],
    )  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    of = replace(counted(1), tokenizer="0f")
    of.save(tmp_path / "kept.npz")
    found = PerExchange.load(tmp_path / "kept.npz")
    assert (found.prepared, found.split, found.signatures) == (of.prepared, of.split, of.signatures)
    assert np.array_equal(found.conversations_N, of.conversations_N)
    assert np.array_equal(found.replied_M, of.replied_M)
    assert np.array_equal(found.statistics["loss"], of.statistics["loss"])  # type: ignore[arg-type]
    words, same = of.statistics["distinct_1"], found.statistics["distinct_1"]
    assert isinstance(words, Bags)
    assert isinstance(same, Bags)
    assert np.array_equal(words.keys_E, same.keys_E)
    assert same.num_rows == 30
    assert found.slicings[0].names == ["ann", "bob"]
    assert found.tokenizer == "0f"
    assert compare(found, of, "loss") == (0, 0, 0, 1)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04cut"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "kept.npz").write_bytes(content)
    with pytest.raises(EvaluationError, match=r"kept\.npz: cannot be read .*; delete it and evaluate again"):
        PerExchange.load(tmp_path / "kept.npz")
    with pytest.raises(EvaluationError, match="cannot be read"):
        PerExchange.load(tmp_path / "none.npz")


def test_what_is_counted_per_token_is_not_compared_across_tokenizers() -> None:
    first, second = replace(counted(1), tokenizer="one"), replace(counted(2), tokenizer="another")
    assert set(comparisons(first, second)) == {"word_f1", "distinct_1"}
    with pytest.raises(EvaluationError, match="loss counts tokens, and the two have other ones; compare bits_per_byte"):
        compare(first, second, "loss")
    assert "loss" in comparisons(first, replace(second, tokenizer="one"))
    assert "loss" in comparisons(first, replace(second, tokenizer=""))  # a file of old


def test_the_better_one_is_found_in_all_and_in_the_slice_where_it_is_better() -> None:
    first, second = counted(1, better=0.5), counted(2)
    found = comparisons(first, second)
    assert set(found) == {"loss", "word_f1", "distinct_1"}
    assert found["loss"].high < 0
    assert found["loss"].p < 0.01
    assert found["distinct_1"] == (0, 0, 0, 1)
    assert found["loss"] == compare(first, second, "loss")
    assert compare(first, second, "loss", within=("speaker", "ann")).difference == pytest.approx(-0.25, abs=0.05)
    assert compare(first, second, "loss", within=("speaker", "bob")).p > 0.05
    assert compare(first, second, "word_f1", within=("speaker", "ann")).difference == pytest.approx(
        found["word_f1"].difference
    )


def test_only_what_is_of_the_same_exchanges_is_compared() -> None:
    first = counted(1)
    elsewhere = replace(first, split="valid")
    others = replace(first, replied_M=np.arange(1, 60, 2))
    otherwise = replace(first, signatures={"bleu": "nrefs:2"})
    with pytest.raises(EvaluationError, match="only models of the same prepared set can be compared"):
        compare(first, elsewhere, "loss")
    with pytest.raises(EvaluationError, match=r"evaluate both with the same evaluation\.max_replies"):
        compare(first, others, "loss")
    with pytest.raises(EvaluationError, match="bleu was counted as 'nrefs:1' and as 'nrefs:2'"):
        compare(first, otherwise, "loss")
    with pytest.raises(EvaluationError, match="no bleu was measured of the first and the second; there are"):
        compare(first, first, "bleu")
    with pytest.raises(EvaluationError, match="no slice speaker: eve; there are: speaker: ann, speaker: bob"):
        compare(first, first, "loss", within=("speaker", "eve"))
