"""How near the meanings of both replies are, from -1 to 1, by a local encoder: whole sentences, and token by token.

Replies that share no word can be near here and are not in BLEU. Figures of different encoders cannot be compared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from rejoinder.evaluation.bootstrap import Statistics, ratio
from rejoinder.evaluation.metrics.base import Answers, Figure, means
from rejoinder.recipe import PluginSettings, absolute_path

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("config.json", "model.safetensors", "tokenizer.json")


class Settings(PluginSettings):
    name: Literal["embedding"] = "embedding"
    directory: Annotated[str, AfterValidator(absolute_path)]
    """Directory of an encoder in Hugging Face's format, such as all-MiniLM-L6-v2's. Nothing is downloaded."""
    batch_size: Annotated[int, Field(gt=0)] = 64
    """Replies that the encoder reads at a time."""


FIGURES = {
    "embedding_sentence": Figure("similarity of sentences", ratio, low=-1.0, high=1.0, better=1),
    "embedding_greedy": Figure("similarity, greedy matching", ratio, low=-1.0, high=1.0, better=1),
    "embedding_extrema": Figure("similarity of extrema", ratio, low=-1.0, high=1.0, better=1),
}


def problems(settings: Settings) -> Iterator[str]:
    """A package or file that is not here."""
    if importlib.util.find_spec("transformers") is None:
        yield "needs the package transformers; pip install '.[pretrained]' in the checkout"
    if missing := [name for name in FILES if not (Path(settings.directory) / name).is_file()]:
        yield (
            f"directory = {settings.directory}: has no {' and no '.join(missing)}; give the directory of an encoder. "
            "Nothing is downloaded here: `hf download NAME --local-dir DIRECTORY` does it"
        )


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Each reply's similarities; 0 where one side says nothing."""
    rows: list[tuple[float, float, float]] = []
    encode = _encoder(settings.directory)
    for start in range(0, len(answers.human), settings.batch_size):
        here = slice(start, start + settings.batch_size)
        humans, models = answers.human[here], answers.model[here]
        for human, model, *of in zip(humans, models, encode(humans), encode(models), strict=True):
            rows.append(_similarities(*of) if human.strip() and model.strip() else (0.0, 0.0, 0.0))
    return {name: means(row[place] for row in rows) for place, name in enumerate(FIGURES)}


def signature(settings: Settings) -> str:
    """Which encoder."""
    return f"encoder: {Path(settings.directory).name}"


def _encoder(directory: str) -> Any:
    """What turns texts into the vectors of their tokens, (tokens, D) for each, the first and last being special."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    cutter = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    model = AutoModel.from_pretrained(directory, local_files_only=True, use_safetensors=True).eval()
    cutter.enable_truncation(min(512, model.config.max_position_embeddings))
    cutter.enable_padding()

    def encode(texts: Sequence[str]) -> list[Tensor]:
        cut = cutter.encode_batch(list(texts))
        ids_BS = torch.tensor([of.ids for of in cut])
        is_text_BS = torch.tensor([of.attention_mask for of in cut])
        with torch.inference_mode():
            hidden_BSD = model(input_ids=ids_BS, attention_mask=is_text_BS).last_hidden_state
        return [hidden_SD[is_text_S.bool()] for hidden_SD, is_text_S in zip(hidden_BSD, is_text_BS, strict=True)]

    return encode


def _similarities(human_SD: Tensor, model_SD: Tensor) -> tuple[float, float, float]:
    """Cosine of the means (special tokens among them, as sentence-transformers has it); each token with the one that
    is nearest, both ways (Rus and Lintean 2012); cosine of each dimension's extreme (Forgues et al. 2014)."""
    from torch.nn import functional as F

    sentence = F.cosine_similarity(human_SD.mean(0), model_SD.mean(0), dim=0)
    human_SD, model_SD = human_SD[1:-1], model_SD[1:-1]
    if not len(human_SD) or not len(model_SD):
        return float(sentence), 0.0, 0.0
    cosines = F.normalize(human_SD, dim=1) @ F.normalize(model_SD, dim=1).T
    greedy = (cosines.max(dim=0).values.mean() + cosines.max(dim=1).values.mean()) / 2
    human_D, model_D = (of.gather(0, of.abs().argmax(dim=0, keepdim=True))[0] for of in (human_SD, model_SD))
    return float(sentence), float(greedy), float(F.cosine_similarity(human_D, model_D, dim=0))
