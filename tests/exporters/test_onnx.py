"""A Transformer says the same in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rejoinder.batches import pad
from rejoinder.checkpoints import Trained
from rejoinder.errors import ModelError
from rejoinder.exporters import export

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `export`")
pytest.importorskip("onnxscript", reason="needs the extra `export`")
MakeTrained = Callable[..., Trained]


def said_by_onnxruntime(directory: Path, contexts: list[list[int]], max_reply_tokens: int) -> list[list[int]]:
    described = json.loads((directory / "model.json").read_text())
    context, step = (onnxruntime.InferenceSession(str(directory / name)) for name in ("context.onnx", "step.onnx"))
    state = dict(zip(described["state"], context.run(None, {"context_ids_BS": pad(contexts).numpy()}), strict=True))
    ids_B, said = np.full(len(contexts), described["start_id"]), []
    for _ in range(max_reply_tokens):
        logits_BV, *changed = step.run(None, {"ids_B": ids_B, **state})
        state |= dict(zip(described["changing"], changed, strict=True))
        ids_B = logits_BV.argmax(1)
        said.append(ids_B)
    return np.stack(said, axis=1).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"positions": "learned", "norm": "rms", "activation": "swiglu"}], ids=str)
def test_the_greedy_replies_are_the_same(
    make_trained: MakeTrained, replies: Any, tmp_path: Path, settings: dict[str, object]
) -> None:
    """As many rows as the contexts that were exported with, and others."""
    trained = make_trained(**settings)
    export(trained, "onnx", tmp_path / "out")
    expected = replies.greedy(trained)
    together = said_by_onnxruntime(tmp_path / "out", replies.contexts, replies.max_reply_tokens)
    alone = [said_by_onnxruntime(tmp_path / "out", [one], replies.max_reply_tokens)[0] for one in replies.contexts]
    assert [replies.to_end(row) for row in together] == [replies.to_end(row) for row in alone] == expected
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "context.onnx", "step.onnx", "model.json", "tokenizer.json",
    }  # fmt: skip


def test_what_it_cannot_express_is_refused(make_trained: MakeTrained, tmp_path: Path) -> None:
    recurrent = make_trained(name="gru_attention", num_heads=None, feedforward_width=None)
    with pytest.raises(ModelError, match="model = gru_attention: only Transformers"):
        export(recurrent, "onnx", tmp_path / "out")
