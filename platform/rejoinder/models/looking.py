"""A model and a batch in, where its decoder looked in the contexts out: overheard while it reads them as always."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.models.attention import heads
from rejoinder.models.base import Seq2Seq
from rejoinder.models.layers import attention_weights


def looked_with(model: Seq2Seq, batch: Batch, dropouts: Sequence[nn.Module]) -> Tensor:
    """weights_BTS of a decoder whose weights pass through these dropouts, one of each layer; means over all of them.

    A dropout that is called once a token, as with input feeding, is given one place after the other.
    """
    with _overheard(dropouts) as heard:
        _read(model, batch)
    layers = [torch.cat(weights, dim=-2) for weights in heard]  # (B, T, S), or (B, H, T, S)
    return torch.stack([layer if layer.dim() == 3 else layer.mean(1) for layer in layers]).mean(0)


def looked_by(model: Seq2Seq, batch: Batch, queries: Sequence[nn.Module], keys: Sequence[nn.Module], H: int) -> Tensor:
    """weights_BTS of a decoder whose fused attention never shows them, from what makes the queries and the keys.

    `queries` give a width of H heads at the reply's places, `keys` at the context's, perhaps with values behind.
    """
    with _overheard([*queries, *keys], outputs=True) as heard:
        _read(model, batch)
    means = []
    for (queries_BTD,), (keys_BSD,) in zip(heard[: len(queries)], heard[len(queries) :], strict=True):
        D = queries_BTD.shape[-1]
        queries_BHTK, keys_BHSK = heads(queries_BTD, H), heads(keys_BSD[..., :D].contiguous(), H)
        scores_BHTS = queries_BHTK @ keys_BHSK.transpose(2, 3) * (D // H) ** -0.5
        means.append(attention_weights(scores_BHTS.float(), batch.context_is_pad_BS[:, None, None, :]).mean(1))
    return torch.stack(means).mean(0)


@contextmanager
def _overheard(modules: Sequence[nn.Module], outputs: bool = False) -> Iterator[list[list[Tensor]]]:
    """What each module is given first, or gives, at each of its calls."""
    heard: list[list[Tensor]] = [[] for _ in modules]
    hooks = []
    for module, calls in zip(modules, heard, strict=True):

        def listen(_: nn.Module, given: tuple[Tensor, ...], made: Tensor, calls: list[Tensor] = calls) -> None:
            calls.append((made if outputs else given[0]).detach())

        hooks.append(module.register_forward_hook(listen))
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _read(model: Seq2Seq, batch: Batch) -> None:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model.hidden(batch)
    finally:
        model.train(was_training)
