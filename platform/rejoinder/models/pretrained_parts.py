"""A configuration, or a checkpoint's directory, in; the parts of its model we use out. Knows transformers and peft.

Embeddings and output layers stay behind, because ours have other rows; `Lookup` stands where embeddings stood.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rejoinder.errors import ModelError
from rejoinder.models.pretrained_files import ENCODERS
from rejoinder.text import END_ID, NUM_CONTROL_IDS, START_ID

Ids = tuple[int | None, int | None]
NEVER_SAID = -10.0
"""Bias of control tokens that no reply has. BART's start is its end as well: both would share one probability."""
_DROPOUTS = ("dropout", "dropout_rate", "hidden_dropout_prob")


@dataclass
class Parts:
    """Encoder and decoder of a model, and what stands around them."""

    encoder: nn.Module
    decoder: nn.Module
    head: nn.Module
    """Between the decoder and the output layer; nothing in most."""
    embedding_VD: Tensor
    output_VD: Tensor
    output_bias_V: Tensor | None
    input_scale: float
    """What the embedding itself multiplies its rows with; some stacks do it instead, by themselves."""
    reads_ids: bool
    """Whether the halves are given ids and look them up; otherwise vectors, because they would look for padding."""
    hidden_scale: float
    """What the decoder's states are multiplied with before the output layer."""


def make_parts(config: dict[str, Any], dropout: float | None, path: str | None = None) -> Parts:
    """With the weights of the directory `path`, or with fresh ones. Raises ModelError when weights are missing."""
    import transformers

    values = {key: value for key, value in config.items() if key not in ("model_type", "dtype", "torch_dtype")}
    wanted = transformers.AutoConfig.for_model(config["model_type"], **values)
    for name in _DROPOUTS:
        if dropout is not None and hasattr(wanted, name):
            setattr(wanted, name, dropout)
    # A layer left out of a step has no gradient, for which DDP would wait.
    for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
        if hasattr(wanted, name):
            setattr(wanted, name, 0.0)
    if config["model_type"] in ENCODERS:
        return _parts_from_encoder(transformers, wanted, path)
    return _parts_of_seq2seq(_model(transformers.AutoModelForSeq2SeqLM, wanted, path))


def _parts_of_seq2seq(model: Any) -> Parts:
    encoder, decoder = model.get_encoder(), model.get_decoder()
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    bias = getattr(model, "final_logits_bias", None)
    parts = Parts(
        encoder, decoder, nn.Identity(), embedding.weight.detach(), output.weight.detach(),
        None if bias is None else bias[0].detach(),
        float(getattr(embedding, "embed_scale", None) or 1.0), True,
        model.config.d_model**-0.5 if getattr(model.config, "scale_decoder_outputs", False) else 1.0,
    )  # fmt: skip
    encoder.embed_tokens = decoder.embed_tokens = None
    if hasattr(decoder, "embed_positions"):
        decoder.embed_positions = PositionsOfRows(decoder.embed_positions)
    return parts


def _parts_from_encoder(transformers: Any, config: Any, path: str | None) -> Parts:
    """Both halves begin as the encoder (Rothe et al. 2020); attention to the context, and the head, begin fresh."""
    encoder_config, decoder_config = copy.deepcopy(config), copy.deepcopy(config)
    decoder_config.is_decoder = decoder_config.add_cross_attention = True
    encoder = _model(transformers.AutoModel, encoder_config, path, may_lack=("pooler",), add_pooling_layer=False)
    model = _model(
        transformers.AutoModelForCausalLM, decoder_config, path, may_lack=("crossattention", "cls.", "lm_head.")
    )
    decoder, output = model.base_model, model.get_output_embeddings()
    model.set_output_embeddings(nn.Linear(1, 1))
    (head,) = (module for name, module in model.named_children() if name in ("cls", "lm_head"))
    transform = head.predictions.transform if hasattr(head, "predictions") else _RobertaTransform(head)
    parts = Parts(
        encoder, decoder, transform, encoder.embeddings.word_embeddings.weight.detach(), output.weight.detach(),
        output.bias.detach(), 1.0, False, 1.0,
    )  # fmt: skip
    for half in (encoder, decoder):
        half.embeddings.word_embeddings = None
    decoder.embeddings.position_embeddings = PositionsOfRows(decoder.embeddings.position_embeddings)
    return parts


def _model(auto: Any, config: Any, path: str | None, may_lack: tuple[str, ...] = (), **words: Any) -> Any:
    """transformers' own model, fp32."""
    if path is None:
        return auto.from_config(config, dtype=torch.float32, trust_remote_code=False, **words)
    with _silent():
        try:
            model, found = auto.from_pretrained(
                path, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True,
                trust_remote_code=False, output_loading_info=True, **words,
            )  # fmt: skip
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"model.path = {path}: the weights cannot be read: {' '.join(str(error).split())}"
            ) from None
    lacking = sorted(name for name in found["missing_keys"] if not any(part in name for part in may_lack))
    if lacking:
        raise ModelError(
            f"model.path = {path}: the weights lack {lacking[0]} and {len(lacking) - 1} others that config.json "
            "speaks of; the directory holds another model or a part of one"
        )
    return model


def fill_rows(rows_VD: Tensor, theirs_VD: Tensor, start_and_end: Ids) -> None:
    """The checkpoint's rows behind our control tokens', which are its start and end, and draws like the others."""
    rows_VD[NUM_CONTROL_IDS:] = theirs_VD[: len(rows_VD) - NUM_CONTROL_IDS]
    drawn_CD = torch.randn(NUM_CONTROL_IDS, theirs_VD.shape[1])
    rows_VD[:NUM_CONTROL_IDS] = theirs_VD.mean(0) + theirs_VD.std(0) * drawn_CD
    for ours, id in zip((START_ID, END_ID), start_and_end, strict=True):
        if id is not None:
            rows_VD[ours] = theirs_VD[id]


def fill_bias(bias_V: Tensor, theirs_V: Tensor | None, start_and_end: Ids) -> None:
    """The checkpoint's bias, where it has one, behind that of our control tokens."""
    _, end = start_and_end
    bias_V.zero_()
    bias_V[:NUM_CONTROL_IDS] = NEVER_SAID
    if theirs_V is not None:
        bias_V[NUM_CONTROL_IDS:] = theirs_V[: len(bias_V) - NUM_CONTROL_IDS]
    bias_V[END_ID] = 0.0 if theirs_V is None or end is None else theirs_V[end]


def add_lora(half: nn.Module, targets: Sequence[str], rank: int, alpha: float, dropout: float) -> None:
    """Adapts the linear layers of these names. Raises ModelError when there are none, or without peft."""
    try:
        import peft
    except ModuleNotFoundError:
        raise ModelError("model.lora_rank needs peft; pip install '.[pretrained]' in the checkout") from None

    lora = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets))
    layers = {name.rsplit(".", 1)[-1] for name, module in half.named_modules() if isinstance(module, nn.Linear)}
    if unknown := [name for name in targets if name not in layers]:
        raise ModelError(
            f"model.lora_targets: no linear layer of this architecture is called {unknown[0]!r}; there are: "
            f"{', '.join(sorted(layers))}"
        )
    peft.inject_adapter_in_model(lora, half)


def merge_lora(weights: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Each adapted matrix W as W + scale B A (Hu et al. 2021, section 4.1), under the name that it has without peft."""
    merged = {}
    for name, tensor in weights.items():
        layer, is_adapted, kind = name.partition(".base_layer.")
        if is_adapted and kind == "weight":
            down, up = (weights[f"{layer}.lora_{one}.default.weight"] for one in "AB")
            tensor = tensor + scale * up @ down
        if ".lora_A." not in name and ".lora_B." not in name:
            merged[f"{layer}.{kind}" if is_adapted else name] = tensor
    return merged


def make_cache(reply: list[tuple[Tensor, Tensor]], context: list[tuple[Tensor, Tensor]]) -> Any:
    """transformers' cache around these tensors, without copying them."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache

    caches = DynamicCache(), DynamicCache()
    for cache, pairs in zip(caches, (reply, context), strict=True):
        for keys, values in pairs:
            layer = DynamicLayer()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            cache.layers.append(layer)
    return EncoderDecoderCache(*caches)


@contextmanager
def _silent() -> Iterator[None]:
    """No bars and no advice while weights are loaded: what matters is checked afterwards."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


class Lookup(nn.Module):
    """A function where an embedding is expected; without weights of its own, which would be saved twice."""

    def __init__(self, look_up: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._look_up = look_up

    def forward(self, ids: Tensor) -> Tensor:
        return self._look_up(ids)


class PositionsOfRows(nn.Module):
    """A table of positions that can be told where each row stands; transformers itself knows one place for all."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.table = table
        self._places_B: Tensor | None = None
        padding = table.padding_idx  # RoBERTa counts from behind its padding's id
        self._offset = int(getattr(table, "offset", 0 if padding is None else padding + 1))

    @contextmanager
    def at(self, places_B: Tensor) -> Iterator[None]:
        """Inside, one token a row is read, at these places."""
        self._places_B = places_B
        try:
            yield
        finally:
            self._places_B = None

    def forward(self, *args: Any, **words: Any) -> Tensor:
        if self._places_B is not None:
            return F.embedding(self._places_B[:, None] + self._offset, self.table.weight)
        read: Tensor = self.table(*args, **words)
        return read


class _RobertaTransform(nn.Module):
    """RoBERTa's head without the output layer that it ends with."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.dense, self.layer_norm = head.dense, head.layer_norm

    def forward(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.layer_norm(F.gelu(self.dense(hidden)))
        return normed
