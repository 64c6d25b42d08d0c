"""Cells of rows of equal lengths in, the sizes of batches out: arithmetic over cells, not a loop over rows."""

from __future__ import annotations

from typing import Any

import numpy as np

IntArray = np.ndarray[Any, np.dtype[np.integer[Any]]]


def cut(contexts: IntArray, replies: IntArray, counts: IntArray, budget: int, fullness: float = 1.0) -> IntArray:
    """Cuts rows, in this order, greedily: rows x (longest context + longest reply) stays within the budget.

    Each cell stands for `counts` rows of its context and reply length. Returns the number of rows of each batch. The
    first one takes `fullness` of the budget; the last two are made alike, so that none learns from a few rows only. A
    row that is over the budget by itself gets a batch of its own.
    """
    # Batches as their rows, and how many alike follow each other. No pairs: thousands of small objects would set off
    # Python's garbage collector, which takes a tenth of a second where torch is loaded.
    rows_of_run: list[int] = []
    length_of_run: list[int] = []
    limit, held, context, reply = max(1, int(budget * fullness)), 0, 0, 0  # of the batch that is being filled
    context_before = reply_before = 0  # of the last batch that was closed
    for cell_context, cell_reply, count in zip(contexts.tolist(), replies.tolist(), counts.tolist(), strict=True):
        left = count
        while left:
            wider_context, wider_reply = max(context, cell_context), max(reply, cell_reply)
            room = max(limit // (wider_context + wider_reply), 0 if held else 1) - held
            if room <= 0:
                rows_of_run.append(held)
                length_of_run.append(1)
                context_before, reply_before = context, reply
                limit, held, context, reply = budget, 0, 0, 0
            elif held or limit != budget or left <= room:
                taken = min(room, left)
                held, left = held + taken, left - taken
                context, reply = wider_context, wider_reply
            else:  # whole batches of this cell alone
                whole, left = divmod(left, room)
                rows_of_run.append(room)
                length_of_run.append(whole)
                context_before, reply_before = wider_context, wider_reply
    sizes = np.repeat(np.array(rows_of_run, np.int64), length_of_run)
    if held and len(sizes):
        both = int(sizes[-1]) + held
        width = max(context_before, context) + max(reply_before, reply)
        larger = both - both // 2
        if held < both // 2 and larger * width <= budget:
            sizes[-1], held = larger, both // 2
    return np.append(sizes, held) if held else sizes
