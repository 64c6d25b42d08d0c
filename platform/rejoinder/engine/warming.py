"""A model and its slots in, both run on batches of all sizes out: the first request finds everything made."""

from __future__ import annotations

import torch

from rejoinder.decoding import Decoding, DecodingRows, Row
from rejoinder.engine.slots import Slots
from rejoinder.models import Seq2Seq
from rejoinder.text import OTHER_ID, PAD_ID

_GREEDY = Decoding(0.0, 0, 1.0, 1.0, 0, 1)


def warm_up(model: Seq2Seq, slots: Slots) -> None:
    """Short and long contexts, and replies at their beginning and end, of 1, 2, 4, … and `slots.num_slots` rows."""
    device, num_slots = next(model.parameters()).device, slots.num_slots
    sizes = {num_slots, *(2**power for power in range(num_slots.bit_length()))}
    with torch.inference_mode():
        for size in sorted(size for size in sizes if size <= num_slots):
            for length in {1, model.max_context_tokens}:
                ids_BS = torch.full((size, length), OTHER_ID, device=device)
                slots.put(model.start(ids_BS, ids_BS == PAD_ID), range(size), range(size))
                decoding = DecodingRows([Row(_GREEDY) for _ in range(size)], device)
                for num_reply_tokens in (1, 2, model.max_reply_tokens):
                    view = slots.view(size, length, num_reply_tokens)
                    logits_BV, after = model.step(ids_BS[:, 0], view)
                    slots.keep(view, after)
                    decoding.choose(decoding.ruled(logits_BV))
