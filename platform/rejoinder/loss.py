"""Hidden states or logits and reply ids in, summed loss in nats out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_CERTAIN_NATS = 80.0
"""Up to here a probability in fp32 has all its digits."""
MAX_LOGITS = 2**25
"""Logits that may stand in memory at a time, where the recipe does not say: 128 MB in float32."""


def loss_sum(logits_NV: Tensor, reply_ids_N: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy summed over N tokens, in nats, in float32 whatever the logits are in.

    A sum, not a mean: divided by the tokens of the *global* batch it is the same however the batch was divided among
    ranks and microbatches. Label smoothing after Szegedy et al. 2016.
    """
    if torch.is_grad_enabled() and logits_NV.device.type == "cpu" and not torch.compiler.is_compiling():
        loss: Tensor = _CrossEntropy.apply(logits_NV, reply_ids_N, label_smoothing)  # type: ignore[no-untyped-call]
        return loss
    return F.cross_entropy(logits_NV.float(), reply_ids_N, reduction="sum", label_smoothing=label_smoothing)


class _CrossEntropy(torch.autograd.Function):
    """The same in half of the passes over memory: what is kept for the way back is the gradient but for two terms, and
    becomes it in place. On a GPU torch's own is as good."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, ids_N: Tensor, label_smoothing: float) -> Tensor:
        probs_NV, ids_N1 = logits_NV.softmax(dim=-1, dtype=torch.float32), ids_N[:, None]
        nats_N1 = -probs_NV.gather(1, ids_N1).log()
        if not bool((nats_N1 < _CERTAIN_NATS).all()):  # a probability too small for its log, or no number at all
            nats_N1 = -logits_NV.float().log_softmax(dim=-1).gather(1, ids_N1)
        loss = nats_N1.sum()
        if label_smoothing:
            over_mean_N1 = logits_NV.gather(1, ids_N1).float() - logits_NV.float().mean(dim=-1, keepdim=True)
            loss = loss + label_smoothing * over_mean_N1.sum()
        ctx.kept, ctx.dtype, ctx.label_smoothing = (probs_NV, ids_N1), logits_NV.dtype, label_smoothing
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        (probs_NV, ids_N1), ctx.kept = ctx.kept, None  # there is no second way back
        if ctx.label_smoothing:
            probs_NV -= ctx.label_smoothing / probs_NV.shape[1]
        probs_NV.scatter_add_(1, ids_N1, probs_NV.new_full((), ctx.label_smoothing - 1).expand(ids_N1.shape))
        return probs_NV.mul_(d_loss).to(ctx.dtype), None, None


def unlikelihood_sum(logits_NV: Tensor, repeated_ids_NT: Tensor) -> Tensor:
    """-log(1 - p) summed over ids that should not be said, in nats; -1 stands for none (Welleck et al. 2020)."""
    log_probs_NT = logits_NV.float().log_softmax(dim=-1).gather(1, repeated_ids_NT.clamp(min=0))
    not_said_NT = torch.log1p(-log_probs_NT.exp().clamp(max=1 - 1e-5))
    return -not_said_NT.masked_fill(repeated_ids_NT < 0, 0.0).sum()


def repeated_ids(reply_ids_BT: Tensor) -> Tensor:
    """(B, T, T): at each position the ids said before it in the reply, each once, without the right one; else -1."""
    is_same_BTT = reply_ids_BT[:, :, None] == reply_ids_BT[:, None, :]
    is_before_TT = torch.ones_like(is_same_BTT[0]).tril(-1)  # column s comes before row t
    stood_before_BT = (is_same_BTT & is_before_TT).any(dim=2)
    is_candidate_BTT = is_before_TT & ~is_same_BTT & ~stood_before_BT[:, None, :]
    return torch.where(is_candidate_BTT, reply_ids_BT[:, None, :], -1)


@dataclass(frozen=True)
class OutputLoss:
    """The output layer and the loss in one, a chunk of tokens at a time, so that logits never stand whole in memory."""

    label_smoothing: float = 0.0
    unlikelihood: float = 0.0
    """Weight of the unlikelihood of saying an id again."""
    chunk_tokens: int | None = None
    """Tokens a chunk; None takes as many as have MAX_LOGITS logits."""

    def __call__(
        self, hidden_ND: Tensor, output: nn.Linear, ids_N: Tensor, repeated_ids_NT: Tensor | None = None
    ) -> Tensor:
        """The loss summed over N tokens, in nats."""
        chunk = self.chunk_tokens or max(1, MAX_LOGITS // output.out_features)
        if len(ids_N) <= chunk:
            return self.of(output(hidden_ND), ids_N, repeated_ids_NT)
        if not torch.is_grad_enabled():
            parts = zip(*self._split(chunk, hidden_ND, ids_N, repeated_ids_NT), strict=True)
            return torch.stack([self.of(output(hidden), ids, repeated) for hidden, ids, repeated in parts]).sum()
        loss: Tensor = _Chunked.apply(  # type: ignore[no-untyped-call]
            hidden_ND, output.weight, output.bias, ids_N, repeated_ids_NT, self, chunk
        )
        return loss

    def of(self, logits_NV: Tensor, ids_N: Tensor, repeated_ids_NT: Tensor | None) -> Tensor:
        """The loss of logits that stand."""
        loss = loss_sum(logits_NV, ids_N, self.label_smoothing)
        if self.unlikelihood and repeated_ids_NT is not None:
            loss = loss + self.unlikelihood * unlikelihood_sum(logits_NV, repeated_ids_NT)
        return loss

    @staticmethod
    def _split(chunk: int, *tensors: Tensor | None) -> list[Any]:
        num_chunks = -(-len(tensors[0]) // chunk)  # type: ignore[arg-type]
        return [[None] * num_chunks if tensor is None else torch.split(tensor, chunk) for tensor in tensors]


class _Chunked(torch.autograd.Function):
    """Gradients are computed with the loss, chunk by chunk: nothing is kept for the way back and nothing done twice."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, ids_N: Tensor,
        repeated_ids_NT: Tensor | None, loss: OutputLoss, chunk: int,
    ) -> Tensor:  # fmt: skip
        total = hidden_ND.new_zeros((), dtype=torch.float32)
        grad_hidden_ND = torch.empty_like(hidden_ND)
        leaves = [weight_VD.detach().requires_grad_()]
        leaves += [bias_V.detach().requires_grad_()] if bias_V is not None else []
        grads = [torch.zeros_like(leaf) for leaf in leaves]
        starts = range(0, len(ids_N), chunk)
        with torch.enable_grad():
            for start, *parts in zip(starts, *loss._split(chunk, hidden_ND, ids_N, repeated_ids_NT), strict=True):
                hidden, ids, repeated = parts
                hidden = hidden.detach().requires_grad_()
                part = loss.of(F.linear(hidden, *leaves), ids, repeated)
                grad_hidden, *more = torch.autograd.grad(part, [hidden, *leaves])
                grad_hidden_ND[start : start + chunk] = grad_hidden
                for grad, new in zip(grads, more, strict=True):
                    grad += new
                total += part.detach()
        ctx.save_for_backward(grad_hidden_ND, *grads)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden_ND, grad_weight_VD, *grad_bias = ctx.saved_tensors
        bias = grad * grad_bias[0] if grad_bias else None
        return grad * grad_hidden_ND, grad * grad_weight_VD, bias, None, None, None, None


def perplexity(nats_per_token: float) -> float:
    """e to the mean loss; infinite where that has no float."""
    return math.exp(nats_per_token) if nats_per_token < 700 else math.inf


def bits_per_byte(loss_sum_nats: float, num_bytes: int) -> float:
    """Loss per UTF-8 byte of the replies, in bits: comparable between vocabularies, as perplexity per token is not.

    The end tokens' loss counts, though they have no bytes: saying when to stop is part of the reply.
    """
    return loss_sum_nats / math.log(2) / num_bytes
