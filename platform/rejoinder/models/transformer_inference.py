"""A trained Transformer in, the same one out whose step is made of few operations on packed weights, for a CPU.

For one token a row a small operation's call costs more than what it computes. So queries, keys and values are one
product, with the scale of attention in the queries' weights; sums and activations are written by the product before
them; masks and rotations are made once for all layers; and attention is two products over rows and heads at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.models.base import Seq2Seq, State
from rejoinder.models.native import kernels
from rejoinder.models.packing import Packed, PackedLinear, Precision, has_bf16
from rejoinder.models.transformer import Transformer
from rejoinder.models.transformer_layers import DecoderLayer
from rejoinder.models.transformer_reading import FastReader, PackedFeedForward, scaled_query


class FastTransformer(Seq2Seq):
    """See `Seq2Seq`; the state is the Transformer's own. Attention and sums are fp32, whatever products are."""

    output: nn.Linear

    def __init__(self, trained: Transformer, precision: Precision) -> None:
        """Takes the model over: its linear layers are replaced."""
        super().__init__()
        self.num_ids = trained.num_ids
        self.max_context_tokens, self.max_reply_tokens = trained.max_context_tokens, trained.max_reply_tokens
        self._norm_before = isinstance(trained.encoder_norm, nn.LayerNorm | nn.RMSNorm)
        self._scale = trained.embedding.embedding_dim**0.5
        self._layers = [_Layer(layer, precision) for layer in trained.decoder_layers if isinstance(layer, DecoderLayer)]
        self._logits = Packed(trained.output.weight, trained.output.bias, precision)
        self._norm = trained.decoder_norm
        self._positions_PD = self._tables(trained)
        self._rotations_PK = trained.rotations_PK
        self._is_native = precision == "int8" and kernels() is not None
        self.output = trained.output
        self.trained = trained
        # The context is read once, many tokens at a time: there bf16's products are as fast as those of bytes.
        reading: Precision = "bf16" if precision == "int8" and has_bf16() else precision
        self._reader = FastReader(trained, reading)
        for parent in list(trained.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear and child is not trained.output:
                    setattr(parent, name, PackedLinear(child, reading))

    def _tables(self, trained: Transformer) -> Tensor | None:
        """What is added to the embedding of each place."""
        learned = trained.reply_positions
        table_PD: Tensor | None = trained.waves_PD if learned is None else learned.weight * self._scale
        return table_PD

    def hidden(self, batch: Batch) -> Tensor:
        return self.trained.hidden(batch)

    def looked_at(self, batch: Batch) -> Tensor | None:
        return self.trained.looked_at(batch)

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        read = self._reader.read(context_ids_BS, context_is_pad_BS)
        return self.trained.state_of(read, context_is_pad_BS)

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        num_read_B = state["num_read_B"]
        hidden_BD = F.embedding(ids_B, self.trained.embedding.weight) * self._scale
        if self._positions_PD is not None:
            hidden_BD += self._positions_PD[num_read_B]
        read = _NativeReader(state, self._rotations_PK) if self._is_native else _Reader(state, self._rotations_PK)
        for number, layer in enumerate(self._layers):
            seen_BD = layer.self_norm(hidden_BD) if self._norm_before else hidden_BD
            read_BD = read.reply(number, layer.query_key_value(seen_BD))
            hidden_BD = self._normed(layer.self_norm, layer.self_out.add_to(hidden_BD, read_BD))
            seen_BD = layer.cross_norm(hidden_BD) if self._norm_before else hidden_BD
            read_BD = read.context(number, layer.cross_query(seen_BD))
            hidden_BD = self._normed(layer.cross_norm, layer.cross_out.add_to(hidden_BD, read_BD))
            seen_BD = layer.feedforward_norm(hidden_BD) if self._norm_before else hidden_BD
            hidden_BD = self._normed(layer.feedforward_norm, layer.feedforward.add_to(hidden_BD, seen_BD))
        logits_BV = self._logits(self._norm(hidden_BD)).float()
        num_read_B += 1
        return logits_BV, state

    def _normed(self, norm: nn.Module, summed_BD: Tensor) -> Tensor:
        """The residual stream after a branch was added."""
        normed: Tensor = summed_BD if self._norm_before else norm(summed_BD)
        return normed


class _Layer:
    """A decoder layer's packed products."""

    def __init__(self, layer: DecoderLayer, precision: Precision) -> None:
        self.self_norm, self.cross_norm, self.feedforward_norm = (
            layer.self_norm,
            layer.cross_norm,
            layer.feedforward_norm,
        )
        attention, cross = layer.self_attention, layer.cross_attention
        weight = torch.cat([scaled_query(attention), attention.key_value.weight])
        self.query_key_value = Packed(weight, None, precision)
        self.self_out = Packed(attention.out.weight, None, precision)
        self.cross_query = Packed(scaled_query(cross), None, precision)
        self.cross_out = Packed(cross.out.weight, None, precision)
        self.feedforward = PackedFeedForward(layer.feedforward, precision)


class _Reader:
    """What a step reads by attention, for all layers, by torch's operations. X stands for rows and heads together."""

    def __init__(self, state: State, rotations_PK: Tensor | None) -> None:
        self._state, num_read_B = state, state["num_read_B"]
        self._B, self._H, T, self._K = state["reply_keys_0_BHTK"].shape
        self._cosines_B1K = self._sines_B1K = num_read_B
        self._turns = rotations_PK is not None
        if rotations_PK is not None:
            cosines, sines = rotations_PK[num_read_B][:, None].chunk(2, dim=-1)
            self._cosines_B1K, self._sines_B1K = torch.cat([cosines, cosines], -1), torch.cat([-sines, sines], -1)
        self._rows_X = torch.arange(self._B * self._H)
        self._places_X = num_read_B.repeat_interleave(self._H)
        self._unread_X1T = self._mask(torch.arange(T) > num_read_B[:, None])
        self._is_pad_X1S = self._mask(state["context_is_pad_BS"])

    def reply(self, number: int, heads_BD: Tensor) -> Tensor:
        """read_BD of the reply so far; the newest key and value are put into the state before."""
        B, H, K = self._B, self._H, self._K
        heads_BGK = heads_BD.float().view(B, 3 * H, K)  # G: the heads of queries, keys and values
        turned_BGK = heads_BGK[:, : 2 * H]
        if self._turns:
            swapped_BGK = turned_BGK.view(B, 2 * H, 2, K // 2).flip(2).view(B, 2 * H, K)
            turned_BGK = torch.addcmul(turned_BGK * self._cosines_B1K, swapped_BGK, self._sines_B1K)
        keys_XTK = self._state[f"reply_keys_{number}_BHTK"].flatten(0, 1)
        values_XTK = self._state[f"reply_values_{number}_BHTK"].flatten(0, 1)
        keys_XTK[self._rows_X, self._places_X] = turned_BGK[:, H:].reshape(B * H, K)
        values_XTK[self._rows_X, self._places_X] = heads_BGK[:, 2 * H :].reshape(B * H, K)
        return self._read(turned_BGK[:, :H].reshape(B * H, 1, K), keys_XTK, values_XTK, self._unread_X1T)

    def context(self, number: int, query_BD: Tensor) -> Tensor:
        """read_BD of the context."""
        keys_XSK = self._state[f"context_keys_{number}_BHSK"].flatten(0, 1)
        values_XSK = self._state[f"context_values_{number}_BHSK"].flatten(0, 1)
        return self._read(query_BD.float().view(self._B * self._H, 1, self._K), keys_XSK, values_XSK, self._is_pad_X1S)

    def _read(self, query_X1K: Tensor, keys_XTK: Tensor, values_XTK: Tensor, mask_X1T: Tensor) -> Tensor:
        scores_X1T = torch.baddbmm(mask_X1T, query_X1K, keys_XTK.transpose(1, 2))
        return torch.bmm(scores_X1T.softmax(-1), values_XTK).view(self._B, self._H * self._K)

    def _mask(self, hidden_BT: Tensor) -> Tensor:
        """0 or -inf, to add to scores_X1T."""
        mask_BT = torch.zeros(hidden_BT.shape).masked_fill_(hidden_BT, -torch.inf)
        return mask_BT.repeat_interleave(self._H, dim=0)[:, None]


class _NativeReader:
    """The same by kernels.c."""

    def __init__(self, state: State, rotations_PK: Tensor | None) -> None:
        self._state, self._places_B = state, state["num_read_B"].contiguous()
        self._B, self._H, T, self._K = state["reply_keys_0_BHTK"].shape
        self._is_pad_BS = state["context_is_pad_BS"]
        self._rotations = None if rotations_PK is None else rotations_PK.data_ptr()
        self._lengths_B = self._places_B + 1
        self._scores = torch.empty(self._B * self._H * max(T, self._is_pad_BS.shape[1]))
        library = kernels()
        assert library is not None
        self._turn_and_keep, self._attend = library.turn_and_keep, library.attend

    def reply(self, number: int, heads_BD: Tensor) -> Tensor:
        keys_BHTK, values_BHTK = self._state[f"reply_keys_{number}_BHTK"], self._state[f"reply_values_{number}_BHTK"]
        self._turn_and_keep(
            heads_BD.data_ptr(), self._rotations, self._places_B.data_ptr(), keys_BHTK.data_ptr(),
            values_BHTK.data_ptr(), *keys_BHTK.stride()[:2], self._B, self._H, self._K,
        )  # fmt: skip
        return self._read(heads_BD, keys_BHTK, values_BHTK, self._lengths_B.data_ptr(), None, 0)

    def context(self, number: int, query_BD: Tensor) -> Tensor:
        keys_BHSK, values_BHSK = (
            self._state[f"context_keys_{number}_BHSK"],
            self._state[f"context_values_{number}_BHSK"],
        )
        is_pad_BS = self._is_pad_BS
        return self._read(query_BD, keys_BHSK, values_BHSK, None, is_pad_BS.data_ptr(), is_pad_BS.stride(0))

    def _read(
        self,
        query: Tensor,
        keys_BHTK: Tensor,
        values_BHTK: Tensor,
        lengths: int | None,
        hidden: int | None,
        stride: int,
    ) -> Tensor:
        read_BD = torch.empty(self._B, self._H * self._K)
        self._attend(
            query.data_ptr(), query.shape[1], keys_BHTK.data_ptr(), values_BHTK.data_ptr(), *keys_BHTK.stride()[:3],
            lengths, hidden, stride, self._B, self._H, keys_BHTK.shape[2], self._K, self._scores.data_ptr(),
            read_BD.data_ptr(),
        )  # fmt: skip
        return read_BD
