"""Pictures of where a model looked: what stands in them, and that they are well-formed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rejoinder import checkpoints
from rejoinder.evaluation.attention_maps import MAX_COLUMNS, MAX_ROWS, AttentionMap, attention_html, attention_maps
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet
from rejoinder.text import END_ID, OTHER_ID, SELF_ID, Tokenizer


@pytest.mark.parametrize("name", ["transformer", "gru_attention", "convolutional", "recurrent"])
def test_rows_are_shares_of_an_exchanges_own_tokens(
    name: str, make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path], tokenizer: Tokenizer
) -> None:
    trained = checkpoints.load(make_checkpoint(0, make_recipe(f"model={{name: {name}, width: 16}}")))
    hello, fine = tokenizer.to_ids("Hello there"), tokenizer.to_ids("Fine, 你!")
    first, second = attention_maps(trained, [([OTHER_ID, *hello], [*fine, END_ID]), ([SELF_ID], [END_ID])]) or []
    assert first.context[0] == "<other>"
    assert "".join(first.context[1:]) == "Hello·there"
    assert first.reply[-1] == "<end>"
    assert "".join(first.reply[:-1]).startswith("Fine,·")
    assert "\ufffd" in "".join(first.reply)  # bytes of a character, a token each
    assert [len(row) for row in first.weights_TS] == [len(hello) + 1] * (len(fine) + 1)
    assert [sum(row) for row in first.weights_TS] == pytest.approx([1.0] * (len(fine) + 1), abs=1e-5)
    assert second.weights_TS == ((1.0,),)


def test_a_cell_is_as_dark_as_its_weight_and_small_ones_are_left_out() -> None:
    svg = AttentionMap(("a", "<b>", "c"), ("x", "y"), ((0.64, 0.36, 0.0), (0.16, 0.0001, 0.8399))).svg()
    root = ElementTree.fromstring(svg)
    assert root.attrib["viewBox"].startswith("0 0 400 ")
    opacities = [float(found) for found in re.findall(r"fill-opacity:([\d.]+)", svg)]
    assert opacities == pytest.approx([0.87, 0.44, 0.65, 1.0], abs=0.011)  # line by line
    titles = re.findall(r"<title>([^<]* looks at [^<]*)</title>", svg)
    assert titles == [
        "x looks at a: 64 %", "y looks at a: 16 %", "x looks at &lt;b&gt;: 36 %", "y looks at c: 84 %"
    ]  # fmt: skip
    assert "darkest: 84 %" in svg


def test_a_long_context_is_shown_from_its_end() -> None:
    S, T = MAX_ROWS + 5, MAX_COLUMNS + 3
    svg = AttentionMap(
        tuple(f"c{place}." for place in range(S)), tuple(f"r{place}." for place in range(T)), ((1 / S,) * S,) * T
    ).svg()
    assert "5 older tokens of the context are not shown" in svg
    assert ">c4.<" not in svg
    assert ">c5.<" in svg
    assert f">r{MAX_COLUMNS - 1}.<" in svg
    assert f">r{MAX_COLUMNS}.<" not in svg


def test_exchanges_are_drawn_by_the_seed(make_checkpoint: Callable[..., Path], prepared_set: Path) -> None:
    trained, shards = checkpoints.load(make_checkpoint()), ShardSet(prepared_set, "test")
    html = attention_html(trained, shards, 2, seed=0)
    assert html.count("<svg") == 2
    assert html == attention_html(trained, shards, 2, seed=0)
    assert html != attention_html(trained, shards, 2, seed=1)


def test_a_model_that_does_not_look_back_says_so(
    make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path], prepared_set: Path
) -> None:
    recipe = make_recipe("model={name: hierarchical, width: 16}")
    trained = checkpoints.load(make_checkpoint(0, recipe))
    assert attention_maps(trained, [([20], [END_ID])]) is None
    html = attention_html(trained, ShardSet(prepared_set, "test"), 1, seed=0)
    assert html == "<p class=quiet>A hierarchical model does not tell where it looks.</p>"
