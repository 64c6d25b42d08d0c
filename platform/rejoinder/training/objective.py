"""A model and the recipe's training section in, the loss of a batch out: what DDP wraps and a step minimises."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.loss import OutputLoss, repeated_ids
from rejoinder.models import Seq2Seq
from rejoinder.recipe import ScheduledSamplingSection, TrainingSection


class Objective(nn.Module):
    """Teacher forcing, or scheduled sampling, then the summed loss in nats."""

    def __init__(self, model: Seq2Seq, settings: TrainingSection) -> None:
        super().__init__()
        self.model = model
        self._loss = OutputLoss(settings.label_smoothing, settings.unlikelihood, settings.loss_chunk_tokens)

    def forward(self, batch: Batch, sampled_share: float = 0.0) -> Tensor:
        """The loss of the reply tokens that are not padding; of the inputs, this share is the model's own words."""
        if sampled_share > 0:
            batch = with_own_words(self.model, batch, sampled_share)
        ids_N = batch.reply_ids_BT[~batch.reply_is_pad_BT]
        repeated_NT = repeated_ids(batch.reply_ids_BT)[~batch.reply_is_pad_BT] if self._loss.unlikelihood else None
        return self._loss(self.model.hidden(batch), self.model.output, ids_N, repeated_NT)


@torch.no_grad()
def with_own_words(model: Seq2Seq, batch: Batch, share: float) -> Batch:
    """The batch with this share of the reply's input ids replaced by what the model would have said there.

    In two passes, so that it suits every architecture, also those that read all positions at once: the first pass,
    teacher forced, says the most probable id at each position (Mihaylova and Martins 2019, arXiv:1906.07651).
    """
    said_BT = torch.zeros_like(batch.reply_ids_BT)
    said_BT[~batch.reply_is_pad_BT] = model(batch).argmax(dim=-1)
    is_own_BT = torch.rand(batch.reply_ids_BT.shape, device=batch.reply_ids_BT.device) < share
    is_own_BT &= ~batch.reply_is_pad_BT
    inputs_BT = batch.reply_input_ids_BT.clone()
    inputs_BT[:, 1:] = torch.where(is_own_BT[:, 1:], said_BT[:, :-1], inputs_BT[:, 1:])  # START stays
    return replace(batch, reply_input_ids_BT=inputs_BT)


def sampled_share(settings: ScheduledSamplingSection, progress: float) -> float:
    """The share of inputs that are the model's own words, at `progress` from 0 to 1 through the training.

    It rises from 0 to `final_share` after one of the curves of Bengio et al. 2015 (arXiv:1506.03099).
    """
    if settings.final_share == 0:
        return 0.0
    x = min(1.0, max(0.0, (progress - settings.start) / (1 - settings.start)))
    if settings.curve == "exponential":
        return 1 - (1 - settings.final_share) ** x
    return settings.final_share * (x if settings.curve == "linear" else _inverse_sigmoid(x))


def _inverse_sigmoid(x: float) -> float:
    """From 0 to 1 slowly, quickly, slowly: 1 - k / (k + exp(i / k)) with k = 1, moved to go through both ends."""
    steep = 12.0

    def sigmoid(at: float) -> float:
        return 1 / (1 + math.exp(-steep * (at - 0.5)))

    return (sigmoid(x) - sigmoid(0)) / (sigmoid(1) - sigmoid(0))
