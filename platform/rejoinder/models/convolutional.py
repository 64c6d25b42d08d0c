"""Convolutional encoder-decoder (Gehring et al. 2017): gated convolutions, positions, attention in every layer.

Nothing recurs, so training reads all positions at once; a step needs only the last few inputs of each layer. The
paper's scaled initialisation, weight normalisation and residual sums x sqrt(1/2) keep the variance of activations.
One thing differs: our embeddings have unit variance, not 0.01, so that attention chooses from the start. Its scores are
therefore scaled as in Vaswani et al. 2017, and what it reads is not multiplied by the square root of the context's
length, which makes up for reading an even mean and here lets activations grow from layer to layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.models.activations import ACTIVATIONS, Activation
from rejoinder.models.base import Seq2Seq, State, reply_tokens
from rejoinder.models.dropout import WordDropout
from rejoinder.models.initialisation import initialise
from rejoinder.models.layers import attention_weights, fill_up, output_layer
from rejoinder.models.looking import looked_with
from rejoinder.models.settings import Positive, Seq2SeqSettings, Share

HALF = 0.5**0.5
"""A sum of two things of equal variance has this variance again."""
VARIANCES = {"glu": 3.0, "relu": 1.0, "leaky_relu": 1.0}
"""Of what the nonlinearity reads, given unit inputs; 1.5 for others. Without a gate, less than 2 (He et al. 2015): what
is left has a mean, which adds up from layer to layer. Found by trying up to 24 layers."""


class Settings(Seq2SeqSettings):
    name: Literal["convolutional"] = "convolutional"
    width: Positive = 256
    """D: width of embeddings and layers."""
    kernel_size: Annotated[int, Field(ge=3)] = 3
    """Tokens that a convolution sees; odd, so that the encoder sees as many to the left as to the right."""
    num_encoder_layers: Positive = 4
    """Layers that read the context."""
    num_decoder_layers: Positive = 4
    """Layers that write the reply. It knows its last num_decoder_layers x (kernel_size - 1) tokens and the one just
    said; what lies further back is forgotten."""
    activation: Literal["glu"] | Activation = "glu"
    """What follows a convolution: `glu`, half of it gating the other half (Dauphin et al. 2017), or a nonlinearity on
    half as many outputs."""
    dropout: Share = 0.0
    """Share of activations set to 0 while training: embeddings, before each convolution, before the output."""
    attention_dropout: Share = 0.0
    """Share of places in the context that a layer does not look at while training."""

    @model_validator(mode="after")
    def _odd_kernel(self) -> Settings:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size = {self.kernel_size} must be odd; try {self.kernel_size + 1}")
        return self


def build(settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> Convolutional:
    """A model with fresh weights."""
    return Convolutional(settings, num_ids, max_context_tokens, max_reply_tokens)


class Convolutional(Seq2Seq):
    """See `Seq2Seq`. State: the last kernel_size - 1 inputs of each decoder layer, the context's keys and values, and
    how many reply tokens were read."""

    def __init__(self, settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> None:
        super().__init__()
        self.num_ids, self.max_context_tokens, self.max_reply_tokens = num_ids, max_context_tokens, max_reply_tokens
        width = settings.width
        self._input_scale = width**0.5
        self.embedding = nn.Embedding(num_ids, width)
        self.context_positions = nn.Embedding(max_context_tokens, width)
        self.reply_positions = nn.Embedding(max_reply_tokens, width)
        self.encoder_layers = nn.ModuleList(_Convolution(settings) for _ in range(settings.num_encoder_layers))
        self.decoder_layers = nn.ModuleList(_DecoderLayer(settings) for _ in range(settings.num_decoder_layers))
        self.dropout, self.embedding_dropout = nn.Dropout(settings.dropout), nn.Dropout(settings.share_of_embeddings)
        self.word_dropout = WordDropout(settings.word_dropout)
        # 1/sqrt(D) embeddings, scaled up by sqrt(D) at the input, give unit inputs and unit logits with tied weights.
        for table in (self.embedding, self.context_positions, self.reply_positions):
            nn.init.normal_(table.weight, std=width**-0.5)
        self.output = output_layer(self.embedding, settings.tied_embeddings)
        initialise(self, settings)
        for module in self.modules():
            if isinstance(module, _Normalised):
                module.take_lengths()

    def hidden(self, batch: Batch) -> Tensor:
        keys_BSD, values_BSD = self._encode(batch.context_ids_BS, batch.context_is_pad_BS)
        places_T = torch.arange(batch.reply_input_ids_BT.shape[1], device=keys_BSD.device)
        embedded_BTD = self._embed(batch.reply_input_ids_BT, self.reply_positions(places_T))
        windows = [layer.convolution.nothing_before(embedded_BTD) for layer in self._decoder()]
        # Padding stands at the end of a reply, behind all that is read: causality alone hides it.
        hidden_BTD, _ = self._decode(embedded_BTD, windows, keys_BSD, values_BSD, batch.context_is_pad_BS)
        return reply_tokens(hidden_BTD, batch)

    def looked_at(self, batch: Batch) -> Tensor | None:
        return looked_with(self, batch, [layer.attention_dropout for layer in self._decoder()])

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        keys_BSD, values_BSD = self._encode(context_ids_BS, context_is_pad_BS)
        state = {
            "num_read_B": torch.zeros(len(context_ids_BS), dtype=torch.long, device=context_ids_BS.device),
            "keys_BSD": fill_up(keys_BSD, self.max_context_tokens),
            "values_BSD": fill_up(values_BSD, self.max_context_tokens),
            "context_is_pad_BS": fill_up(context_is_pad_BS, self.max_context_tokens, value=True),
        }
        windows = (layer.convolution.nothing_before(keys_BSD) for layer in self._decoder())
        return state | {f"window_{number}_BPD": window for number, window in enumerate(windows)}

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        num_read_B = state["num_read_B"]
        embedded_B1D = self._embed(ids_B[:, None], self.reply_positions(num_read_B[:, None]))
        windows = [state[f"window_{number}_BPD"] for number in range(len(self.decoder_layers))]
        hidden_B1D, windows = self._decode(
            embedded_B1D, windows, state["keys_BSD"], state["values_BSD"], state["context_is_pad_BS"]
        )
        new = {f"window_{number}_BPD": window for number, window in enumerate(windows)}
        return self.output(hidden_B1D[:, 0]), state | new | {"num_read_B": num_read_B + 1}

    def _encode(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> tuple[Tensor, Tensor]:
        """keys_BSD, and values_BSD in which the words themselves show besides what stands around them."""
        places_S = torch.arange(context_ids_BS.shape[1], device=context_ids_BS.device)
        embedded_BSD = self._embed(context_ids_BS, self.context_positions(places_S))
        hidden_BSD, is_pad_BS1 = embedded_BSD, context_is_pad_BS[:, :, None]
        for layer in self._encoder():
            # Before each convolution padding is made what lies beyond the ends of a row without any: zeros.
            inputs_BSD = layer.dropout(hidden_BSD).masked_fill(is_pad_BS1, 0.0)
            beside = layer.kernel_size // 2
            gated_BSD = layer(F.pad(inputs_BSD, (0, 0, beside, beside)))
            hidden_BSD = (hidden_BSD + gated_BSD) * HALF
        return hidden_BSD, (hidden_BSD + embedded_BSD) * HALF

    def _decode(
        self, embedded_BTD: Tensor, windows: Sequence[Tensor], keys_BSD: Tensor, values_BSD: Tensor,
        context_is_pad_BS: Tensor,
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        """hidden_BTD of these positions, and each layer's window after them, from its window before them."""
        hidden_BTD, after = embedded_BTD, []
        for layer, window in zip(self._decoder(), windows, strict=True):
            inputs_BTD = torch.cat([window, layer.convolution.dropout(hidden_BTD)], dim=1)
            after.append(inputs_BTD[:, -window.shape[1] :])
            gated_BTD = layer(inputs_BTD, embedded_BTD, keys_BSD, values_BSD, context_is_pad_BS)
            hidden_BTD = (hidden_BTD + gated_BTD) * HALF
        return self.dropout(hidden_BTD), after

    def _encoder(self) -> list[_Convolution]:
        return [layer for layer in self.encoder_layers if isinstance(layer, _Convolution)]

    def _decoder(self) -> list[_DecoderLayer]:
        return [layer for layer in self.decoder_layers if isinstance(layer, _DecoderLayer)]

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        words = self.word_dropout(self.embedding(ids))
        embedded: Tensor = self.embedding_dropout((words + positions) * (self._input_scale * HALF))
        return embedded


class _Normalised(nn.Module):
    """A matrix whose rows have lengths of their own, apart from their directions (Salimans and Kingma 2016)."""

    def __init__(self, num_outputs: int, num_inputs: int, variance: float) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(num_outputs, num_inputs) * (variance / num_inputs) ** 0.5)
        self.length = nn.Parameter(torch.ones(num_outputs))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self._folded: Tensor | None = None

    def fold(self) -> None:
        """Makes the matrix once for all, for a model that learns no more."""
        self._folded = self.weight().detach()

    def take_lengths(self) -> None:
        """The lengths become those of the directions, once these were drawn."""
        self.length.data = torch.linalg.vector_norm(self.direction.detach(), dim=1)

    def weight(self) -> Tensor:
        """The matrix, (outputs, inputs)."""
        if self._folded is not None:
            return self._folded
        scale: Tensor = self.length / torch.linalg.vector_norm(self.direction, dim=1)
        return self.direction * scale[:, None]

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weight(), self.bias)


class _Convolution(nn.Module):
    """A convolution and its nonlinearity, without any padding: kernel_size - 1 positions fewer."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.kernel_size = settings.kernel_size
        # Section 3.5 of the paper has 4: its gates, given small inputs, let 1/4 of the variance pass. Given unit inputs
        # they let 1/3 pass: 3 E[sigmoid(sqrt(3) z)^2] = 0.99 for normal z. Dropout adds to the variance.
        width, is_gated = settings.width, settings.activation == "glu"
        variance = VARIANCES.get(settings.activation, 1.5) * (1 - settings.dropout)
        self.kernel = _Normalised(2 * width if is_gated else width, width * settings.kernel_size, variance)
        self.activation = nn.GLU(dim=1) if is_gated else ACTIVATIONS[settings.activation]()
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, inputs_BTD: Tensor) -> Tensor:
        kernel = self.kernel.weight().view(-1, inputs_BTD.shape[-1], self.kernel_size)
        outputs: Tensor = self.activation(F.conv1d(inputs_BTD.transpose(1, 2), kernel, self.kernel.bias))
        return outputs.transpose(1, 2)

    def nothing_before(self, like_BTD: Tensor) -> Tensor:
        """The window at the start of a row: zeros."""
        return like_BTD.new_zeros(like_BTD.shape[0], self.kernel_size - 1, like_BTD.shape[2])


class _DecoderLayer(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.convolution = _Convolution(settings)
        self.query, self.out = (_Normalised(settings.width, settings.width, 1.0) for _ in range(2))
        self.attention_dropout = nn.Dropout(settings.attention_dropout)

    def forward(
        self, inputs_BTD: Tensor, embedded_BTD: Tensor, keys_BSD: Tensor, values_BSD: Tensor, context_is_pad_BS: Tensor
    ) -> Tensor:
        """The layer's gated convolution with what it read from the context."""
        hidden_BTD = self.convolution(inputs_BTD)
        queries_BTD = (self.query(hidden_BTD) + embedded_BTD) * HALF
        scores_BTS = queries_BTD @ keys_BSD.transpose(1, 2) * keys_BSD.shape[-1] ** -0.5
        weights_BTS = self.attention_dropout(attention_weights(scores_BTS, context_is_pad_BS[:, None, :]))
        read_BTD = weights_BTS @ values_BSD
        summed: Tensor = (hidden_BTD + self.out(read_BTD)) * HALF
        return summed
