"""The rows that share steps, and what is asked of them; made anew when one joins or leaves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rejoinder.decoding import DecodingRows, Row, token_logprobs
from rejoinder.engine.request import Request


class Batch:
    """What stays the same from step to step until a row joins or leaves."""

    def __init__(
        self, rows: Sequence[Row | None], requests: Sequence[Request | None], device: torch.device
    ) -> None:  # fmt: skip
        self.rows = [row for row in rows if row is not None]
        pairs = [(row, request) for row, request in zip(rows, requests, strict=True) if row and request]
        self.saying = [(row, request, not row.decoding.chooses) for row, request in pairs if request.search is None]
        self.searching = list({request: None for _, request in pairs if request.search is not None})
        self.decoding = DecodingRows(self.rows, device)
        self.num_context_tokens = max(len(row.context_ids) for row in self.rows)
        self.num_reply_tokens = longest_reply(self.rows)
        self._asked = [
            (row, request) for row, request, is_streamed in self.saying
            if request.decoding.num_logprobs is not None and is_streamed
        ]  # fmt: skip

    def model_logprobs(self, logits_BV: Tensor) -> Tensor | None:
        """logprobs_NV of the rows that are asked for theirs, before any rule."""
        if not self._asked:
            return None
        return logits_BV[[row.place for row, _ in self._asked]].float().log_softmax(-1)

    def tell_logprobs(self, logprobs_NV: Tensor, ids: Sequence[int]) -> None:
        """Of the tokens that were chosen."""
        numbers = [request.decoding.num_logprobs or 0 for _, request in self._asked]
        chosen = [ids[row.place] for row, _ in self._asked]
        told = token_logprobs(logprobs_NV, chosen, numbers)
        for (_, request), logprob in zip(self._asked, told, strict=True):
            if request.on_logprob:
                request.tell(request.on_logprob, logprob)


def longest_reply(rows: Sequence[Row]) -> int:
    """Tokens that have been read after the next step."""
    return max(len(row.said_ids) for row in rows) + 1
