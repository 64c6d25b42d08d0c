"""A Transformer says the same in CTranslate2, whatever its settings; what it cannot express is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rejoinder.checkpoints import Trained
from rejoinder.errors import ModelError, StorageError
from rejoinder.exporters import export
from rejoinder.text import Tokenizer

ctranslate2 = pytest.importorskip("ctranslate2", reason="needs the extra `export`")
MakeTrained = Callable[..., Trained]
Rows = list[list[int]]


def said_by_ctranslate2(directory: Path, contexts: Rows, max_reply_tokens: int) -> Rows:
    translator = ctranslate2.Translator(str(directory), device="cpu", compute_type="float32", intra_threads=1)
    tokens = [[str(id) for id in context] for context in contexts]
    results = translator.translate_batch(tokens, beam_size=1, max_decoding_length=max_reply_tokens)
    return [[int(token) for token in result.hypotheses[0]] for result in results]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"positions": "learned", "activation": "relu"},
        {"positions": "sinusoidal", "activation": "silu", "tied_embeddings": "false"},
        {"norm": "rms", "activation": "swiglu"},
        {"norm_position": "post", "activation": "tanh", "num_encoder_layers": 1, "num_decoder_layers": 3},
    ],
    ids=str,
)
def test_the_greedy_replies_are_the_same(
    make_trained: MakeTrained, replies: Any, tmp_path: Path, settings: dict[str, object]
) -> None:
    trained = make_trained(**settings)
    export(trained, "ctranslate2", tmp_path / "out")
    expected = replies.greedy(trained)
    assert said_by_ctranslate2(tmp_path / "out", replies.contexts, replies.max_reply_tokens) == expected
    assert len(set(map(tuple, expected))) > 1


def test_the_tokenizer_comes_along(make_trained: MakeTrained, tmp_path: Path, tokenizer: Tokenizer) -> None:
    export(make_trained(), "ctranslate2", tmp_path / "out")
    assert Tokenizer.load(tmp_path / "out" / "tokenizer.json").to_ids("Hello!") == tokenizer.to_ids("Hello!")


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"activation": "prelu"}, "model.activation = prelu"), ({"name": "hierarchical"}, "model = hierarchical")],
)
def test_what_it_cannot_express_is_refused(
    make_trained: MakeTrained, tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    wanted = settings if "name" not in settings else {**settings, "num_heads": None, "feedforward_width": None}
    with pytest.raises(ModelError, match=said):
        export(make_trained(**wanted), "ctranslate2", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(make_trained: MakeTrained, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is there already"):
        export(make_trained(), "onnx", tmp_path)


def test_an_unknown_format_is_answered_with_those_there_are(make_trained: MakeTrained, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean 'onnx'"):
        export(make_trained(), "onx", tmp_path / "out")
