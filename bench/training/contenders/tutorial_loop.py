"""A prepared set in, the pace of a tutorial's GRU with attention out: the decoder is called once a token.

After PyTorch's chatbot tutorial (Inkawhich): batches of 64 rows in random order, sorted by context and packed, general
attention of Luong et al. 2015, teacher forcing, a softmax and a masked loss at each token, an Adam for each half,
clipping. Sizes are those of our gru_attention: a layer, half the width for each direction.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bench.setting import answers
from rejoinder.batches import Batch, load
from rejoinder.shards import ShardSet
from rejoinder.text import PAD_ID, START_ID

BATCH_ROWS, CLIP = 64, 50.0


class Encoder(nn.Module):
    """Reads the context from both ends."""

    def __init__(self, embedding: nn.Embedding, width: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.gru = nn.GRU(width, width // 2, bidirectional=True)

    def forward(self, ids_SB: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(self.embedding(ids_SB), lengths)
        outputs, hidden = self.gru(packed)
        outputs_SBD, _ = pad_packed_sequence(outputs)
        return outputs_SBD, torch.cat([hidden[0], hidden[1]], dim=1)[None]


class Decoder(nn.Module):
    """Writes one token of each reply."""

    def __init__(self, embedding: nn.Embedding, width: int, num_ids: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.gru = nn.GRU(width, width)
        self.attention, self.combine = nn.Linear(width, width), nn.Linear(2 * width, width)
        self.out = nn.Linear(width, num_ids)

    def forward(self, ids_1B: Tensor, hidden_1BD: Tensor, memory_SBD: Tensor) -> tuple[Tensor, Tensor]:
        output_1BD, hidden_1BD = self.gru(self.embedding(ids_1B), hidden_1BD)
        energies_SB = (output_1BD * self.attention(memory_SBD)).sum(dim=2)
        weights_B1S = torch.softmax(energies_SB.t(), dim=1)[:, None]
        read_BD = weights_B1S.bmm(memory_SBD.transpose(0, 1))[:, 0]
        both = torch.tanh(self.combine(torch.cat([output_1BD[0], read_BD], dim=1)))
        return torch.softmax(self.out(both), dim=1), hidden_1BD


def measure(
    recipe: dict[str, Any], shards: str, threads: int, warmup_steps: int, measured_steps: int
) -> dict[str, Any]:
    """Tokens of replies, padding not counted, a second; batches stand in memory before the clock starts."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    train_set, width = ShardSet(Path(shards), "train"), recipe["model"]["width"]
    num_ids = train_set.tokenizer().num_ids
    embedding = nn.Embedding(num_ids, width, padding_idx=PAD_ID)
    encoder, decoder = Encoder(embedding, width), Decoder(embedding, width, num_ids)
    optimizers = [torch.optim.Adam(half.parameters(), lr=1e-4) for half in (encoder, decoder)]
    order = np.random.default_rng(0)
    ready = []
    for _ in range(warmup_steps + measured_steps):
        rows = order.integers(len(train_set), size=BATCH_ROWS)
        ready.append(load(train_set, rows[np.argsort(-train_set.context_lengths[rows], kind="stable")]))
    num_tokens, started = 0, 0.0
    for number, batch in enumerate(ready):
        if number == warmup_steps:
            num_tokens, started = 0, time.perf_counter()
        learn(batch, encoder, decoder, optimizers)
        num_tokens += int((~batch.reply_is_pad_BT).sum())
    took_s = time.perf_counter() - started
    return {"tokens_per_s": num_tokens / took_s, "num_tokens": num_tokens}


def learn(batch: Batch, encoder: Encoder, decoder: Decoder, optimizers: list[torch.optim.Adam]) -> float:
    """One step as the tutorial makes it; its mean loss in nats per token."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    memory_SBD, hidden_1BD = encoder(batch.context_ids_BS.t(), (~batch.context_is_pad_BS).sum(dim=1))
    targets_TB, counts_TB = batch.reply_ids_BT.t(), ~batch.reply_is_pad_BT.t()
    loss, nats, ids_1B = torch.zeros(()), 0.0, torch.full((1, len(batch.reply_ids_BT)), START_ID)
    for targets_B, counts_B in zip(targets_TB, counts_TB, strict=True):
        probs_BV, hidden_1BD = decoder(ids_1B, hidden_1BD, memory_SBD)
        nats_B = -torch.log(probs_BV.gather(1, targets_B[:, None])[:, 0])
        mean = nats_B.masked_select(counts_B).mean()
        loss = loss + mean
        nats += mean.item() * int(counts_B.sum())
        ids_1B = targets_B[None]  # teacher forcing
    loss.backward()  # type: ignore[no-untyped-call]
    for half in (encoder, decoder):
        nn.utils.clip_grad_norm_(half.parameters(), CLIP)
    for optimizer in optimizers:
        optimizer.step()
    return nats / int(counts_TB.sum())


if __name__ == "__main__":
    answers(measure)
