"""A trained Transformer's encoder in, the same one on packed weights out: contexts to what its decoder looks at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rejoinder.models.activations import FeedForward
from rejoinder.models.packing import FUSED, Packed, Precision
from rejoinder.models.transformer import Transformer
from rejoinder.models.transformer_layers import Attention, DecoderLayer, EncoderLayer


class FastReader:
    """Contexts to keys and values of each decoder layer. All tokens of a batch are rows of one product."""

    def __init__(self, trained: Transformer, precision: Precision) -> None:
        self._trained = trained
        self._norm_before = isinstance(trained.encoder_norm, nn.LayerNorm | nn.RMSNorm)
        self._layers = [_Layer(layer, precision) for layer in trained.encoder_layers if isinstance(layer, EncoderLayer)]
        crosses = [layer.cross_attention for layer in trained.decoder_layers if isinstance(layer, DecoderLayer)]
        self._keys_and_values = [Packed(cross.key_value.weight, None, precision) for cross in crosses]
        self._H = crosses[0].num_heads

    def read(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> list[tuple[Tensor, Tensor]]:
        """keys_BHSK and values_BHSK of each decoder layer."""
        B, S = context_ids_BS.shape
        hidden_ND = self._trained.embedded(context_ids_BS).flatten(0, 1)  # N is B times S
        rotations_PK = self._trained.rotations_PK
        turns = None if rotations_PK is None else _turns(rotations_PK[:S])
        mask_B11S = torch.zeros(B, 1, 1, S).masked_fill_(context_is_pad_BS[:, None, None], -torch.inf)
        for layer in self._layers:
            seen_ND = layer.attention_norm(hidden_ND) if self._norm_before else hidden_ND
            heads_3BHSK = layer.query_key_value(seen_ND).float().view(B, S, 3, self._H, -1).permute(2, 0, 3, 1, 4)
            queries_BHSK, keys_BHSK = heads_3BHSK[:2] if turns is None else _turned(heads_3BHSK[:2], *turns)
            read_BHSK = F.scaled_dot_product_attention(
                queries_BHSK, keys_BHSK, heads_3BHSK[2], attn_mask=mask_B11S, scale=1.0
            )
            read_ND = read_BHSK.transpose(1, 2).reshape(B * S, -1)
            hidden_ND = layer.out.add_to(hidden_ND, read_ND)
            hidden_ND = hidden_ND if self._norm_before else layer.attention_norm(hidden_ND)
            seen_ND = layer.feedforward_norm(hidden_ND) if self._norm_before else hidden_ND
            hidden_ND = layer.feedforward.add_to(hidden_ND, seen_ND)
            hidden_ND = hidden_ND if self._norm_before else layer.feedforward_norm(hidden_ND)
        memory_ND = self._trained.encoder_norm(hidden_ND)
        return [self._split(packed(memory_ND).float(), B, S) for packed in self._keys_and_values]

    def _split(self, keys_values_ND: Tensor, B: int, S: int) -> tuple[Tensor, Tensor]:
        keys_BHSK, values_BHSK = keys_values_ND.view(B, S, 2, self._H, -1).permute(2, 0, 3, 1, 4)
        return keys_BHSK, values_BHSK


class _Layer:
    """An encoder layer's packed products."""

    def __init__(self, layer: EncoderLayer, precision: Precision) -> None:
        self.attention_norm, self.feedforward_norm = layer.attention_norm, layer.feedforward_norm
        attention = layer.attention
        weight = torch.cat([scaled_query(attention), attention.key_value.weight])
        self.query_key_value = Packed(weight, None, precision)
        self.out = Packed(attention.out.weight, None, precision)
        self.feedforward = PackedFeedForward(layer.feedforward, precision)


class PackedFeedForward:
    """The network of a layer; its activation is written by the first product where that can be."""

    def __init__(self, feedforward: FeedForward, precision: Precision) -> None:
        self._is_gated, self._activation = feedforward.is_gated, feedforward.activation
        fused = "" if feedforward.is_gated else _fused(feedforward)
        self._is_fused = bool(fused)
        self._up = Packed(feedforward.up.weight, feedforward.up.bias, precision, fused)
        self._down = Packed(feedforward.down.weight, feedforward.down.bias, precision)

    def add_to(self, sum_BD: Tensor, seen_BD: Tensor) -> Tensor:
        """The sum after what the network makes of `seen_BD`; `sum_BD` may be written to."""
        inner: Tensor = self._up(seen_BD)
        if self._is_gated:
            gate, value = inner.chunk(2, dim=-1)
            inner = self._activation(gate) * value
        elif not self._is_fused:
            inner = self._activation(inner.float())
        return self._down.add_to(sum_BD, inner)


def scaled_query(attention: Attention) -> Tensor:
    """The queries' weights with the scale of attention in them."""
    weight_DD = attention.query.weight
    scaled_DD: Tensor = weight_DD * (len(weight_DD) // attention.num_heads) ** -0.5
    return scaled_DD


def _fused(feedforward: FeedForward) -> str:
    """The activation's name, if products can write it."""
    kinds = {nn.ReLU: "relu", nn.GELU: "gelu", nn.SiLU: "silu", nn.Tanh: "tanh"}
    name = kinds.get(type(feedforward.activation), "")
    return name if name in FUSED else ""


def _turns(rotations_SK: Tensor) -> tuple[Tensor, Tensor]:
    """What each half of a head is multiplied by itself, and by the other."""
    cosines, sines = rotations_SK.chunk(2, dim=-1)
    return torch.cat([cosines, cosines], -1), torch.cat([-sines, sines], -1)


def _turned(heads_2BHSK: Tensor, cosines_SK: Tensor, sines_SK: Tensor) -> Tensor:
    swapped_2BHSK = torch.cat(heads_2BHSK.chunk(2, dim=-1)[::-1], dim=-1)
    return torch.addcmul(heads_2BHSK * cosines_SK, swapped_2BHSK, sines_SK)
