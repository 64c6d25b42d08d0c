"""A Transformer in, a directory that `ctranslate2.Translator` opens out.

Its tokens are our ids as words: the id 42 is the token "42". It begins a reply and ends it by itself, and is quantised
when it is opened: `Translator(directory, compute_type="int8")`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rejoinder.checkpoints import Trained
from rejoinder.errors import ModelError
from rejoinder.exporters import require_packages
from rejoinder.models.activations import FeedForward
from rejoinder.models.transformer import Settings as TransformerSettings
from rejoinder.models.transformer import Transformer
from rejoinder.models.transformer_layers import Attention
from rejoinder.recipe import PluginSettings
from rejoinder.text import END_ID, NUM_CONTROL_IDS, PAD_ID, START_ID

ACTIVATIONS = {"relu": "RELU", "gelu": "GELUTanh", "silu": "SWISH", "swiglu": "SWISH", "tanh": "Tanh"}
"""Our names, and CTranslate2's."""
NEVER_SAID = -1e4
"""The output bias of control tokens; fp16 can hold it."""


class Settings(PluginSettings):
    name: Literal["ctranslate2"] = "ctranslate2"


def write(trained: Trained, directory: Path) -> None:
    """model.bin, config.json and shared_vocabulary.json."""
    model, settings = trained.model, trained.recipe.model
    if not isinstance(model, Transformer) or not isinstance(settings, TransformerSettings):
        raise ModelError(f"model = {settings.name}: CTranslate2 has Transformers only; serve it with jobs/deploy.py")
    if settings.activation not in ACTIVATIONS:
        raise ModelError(
            f"model.activation = {settings.activation}: CTranslate2 has {', '.join(ACTIVATIONS)}; train with one of "
            "these, or serve it with jobs/deploy.py"
        )
    require_packages("ctranslate2")
    spec = _spec(settings)
    _fill(spec, model)
    tokens = [str(id) for id in range(model.num_ids)]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.unk_token, spec.config.eos_token = str(PAD_ID), str(END_ID)
    spec.config.bos_token = spec.config.decoder_start_token = str(START_ID)
    spec.config.layer_norm_epsilon = 1e-6 if settings.norm == "rms" else 1e-5
    spec.validate()
    spec.optimize()
    spec.save(str(directory))


def _spec(settings: TransformerSettings) -> Any:
    """CTranslate2's description of the architecture, without weights."""
    from ctranslate2.specs import common_spec, transformer_spec

    shared: dict[str, Any] = {
        "pre_norm": settings.norm_position == "pre",
        "activation": common_spec.Activation[ACTIVATIONS[settings.activation]],
        "ffn_glu": settings.activation == "swiglu",
        "rms_norm": settings.norm == "rms",
    }
    if settings.positions == "rotary":
        shared |= {"rotary_dim": settings.width // settings.num_heads, "rotary_interleave": False}
    return transformer_spec.TransformerSpec(
        transformer_spec.TransformerEncoderSpec(settings.num_encoder_layers, settings.num_heads, **shared),
        transformer_spec.TransformerDecoderSpec(settings.num_decoder_layers, settings.num_heads, **shared),
    )


def _fill(spec: Any, model: Any) -> None:
    """Writes the weights of a Transformer into its description."""
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = model.embedding.weight.detach()
    scale = model.embedding.embedding_dim**0.5  # CTranslate2 scales the embeddings by it too, and not the positions
    for half, table in ((spec.encoder, model.context_positions), (spec.decoder, model.reply_positions)):
        if table is not None:
            half.position_encodings.encodings = table.weight.detach() * scale
        elif model.waves_PD is not None:
            half.position_encodings.encodings = model.waves_PD
    for half, norm in ((spec.encoder, model.encoder_norm), (spec.decoder, model.decoder_norm)):
        if not isinstance(norm, nn.Identity):
            _fill_norm(half.layer_norm, norm)
    for to, layer in zip(spec.encoder.layer, model.encoder_layers, strict=True):
        _fill_attention(to.self_attention, layer.attention, layer.attention_norm)
        _fill_feedforward(to.ffn, layer.feedforward, layer.feedforward_norm)
    for to, layer in zip(spec.decoder.layer, model.decoder_layers, strict=True):
        _fill_attention(to.self_attention, layer.self_attention, layer.self_norm)
        _fill_attention(to.attention, layer.cross_attention, layer.cross_norm)
        _fill_feedforward(to.ffn, layer.feedforward, layer.feedforward_norm)
    bias_V = model.output.bias.detach().clone()
    bias_V[[id for id in range(NUM_CONTROL_IDS) if id != END_ID]] = NEVER_SAID
    _fill_linear(spec.decoder.projection, model.output.weight, bias_V)


def _fill_attention(to: Any, attention: Attention, norm: nn.Module) -> None:
    query, key_value, out = attention.query.weight, attention.key_value.weight, attention.out.weight
    matrices = [query, key_value, out] if len(to.linear) == 3 else [torch.cat([query, key_value]), out]
    for linear, weight in zip(to.linear, matrices, strict=True):
        _fill_linear(linear, weight)
    _fill_norm(to.layer_norm, norm)


def _fill_feedforward(to: Any, feedforward: FeedForward, norm: nn.Module) -> None:
    up = feedforward.up
    if hasattr(to, "linear_0_noact"):  # a gate, and what it lets pass
        for linear, weight, bias in zip(
            (to.linear_0, to.linear_0_noact), up.weight.chunk(2), up.bias.chunk(2), strict=True
        ):
            _fill_linear(linear, weight, bias)
    else:
        _fill_linear(to.linear_0, up.weight, up.bias)
    _fill_linear(to.linear_1, feedforward.down.weight, feedforward.down.bias)
    _fill_norm(to.layer_norm, norm)


def _fill_linear(to: Any, weight: Tensor, bias: Tensor | None = None) -> None:
    to.weight = weight.detach().contiguous()
    if bias is not None:
        to.bias = bias.detach().contiguous()


def _fill_norm(to: Any, norm: nn.Module) -> None:
    to.gamma = norm.get_parameter("weight").detach()
    if isinstance(norm, nn.LayerNorm):
        to.beta = norm.bias.detach()
