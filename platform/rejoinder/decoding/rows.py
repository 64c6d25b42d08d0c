"""Many requests' settings as tensors over rows; logits in, each row's next token out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rejoinder.decoding.rules import (
    forbid_control_tokens,
    forbid_early_end,
    forbid_ngrams_of,
    penalise_repetition,
    penalise_said,
)
from rejoinder.decoding.sampling import cool, draw, keep_min_p, keep_top_k, keep_top_p, keep_typical_p
from rejoinder.decoding.settings import OFF, Decoding

NUMBERS = [name for name in vars(OFF) if name not in ("max_reply_tokens", "seed")]
"""The settings that are a tensor over rows."""
NGRAM_RULES = frozenset({"no_repeat_ngram_tokens", "no_copied_ngram_tokens"})
"""The rules that look at which tokens followed which."""


@dataclass
class _Row:
    """One row's request: the rules it has turned on, how far it is, and, for rules about runs of tokens, what was read
    and said."""

    used: frozenset[str] = frozenset()
    generator: torch.Generator = field(default_factory=torch.Generator)
    min_reply_tokens: int = 0
    num_said: int = 0
    context_ids: Sequence[int] = ()
    said_ids: list[int] = field(default_factory=list)


class DecodingRows:
    """The settings of the rows of a batch, and each row's generator and what it has said.

    A rule is computed in steps where some row has turned it on. Its off value changes nothing to the last bit, so the
    other rows of the step do not notice.
    """

    def __init__(self, num_rows: int, num_ids: int, device: torch.device) -> None:
        """Rows that nobody uses yet."""
        self._device = device
        self._settings_B = {name: torch.tensor([getattr(OFF, name)] * num_rows, device=device) for name in NUMBERS}
        self._num_times_said_BV = torch.zeros(num_rows, num_ids, dtype=torch.int32, device=device)
        self._rows = [_Row() for _ in range(num_rows)]

    def put(self, row: int, decoding: Decoding, context_ids: Sequence[int] = ()) -> None:
        """Gives a row to a new request. The context is for the rule that forbids to copy from it."""
        decoding = decoding.effective
        for name, values_B in self._settings_B.items():
            values_B[row] = getattr(decoding, name)
        self._num_times_said_BV[row] = 0
        read = context_ids if decoding.no_copied_ngram_tokens else ()
        self._rows[row] = new = _Row(decoding.used, min_reply_tokens=decoding.min_reply_tokens, context_ids=read)
        new.generator.seed() if decoding.seed is None else new.generator.manual_seed(decoding.seed)

    def choose(self, logits_BV: Tensor, rows_B: Tensor) -> Tensor:
        """ids_B: the next token of each of these rows, chosen by its own settings, and noted as said."""
        rows = [self._rows[row] for row in rows_B.tolist()]
        used = frozenset[str]().union(*(row.used for row in rows))

        def of(name: str) -> Tensor:
            return self._settings_B[name][rows_B]

        logits_BV = forbid_control_tokens(logits_BV.float())
        if used & {"repetition_penalty", "presence_penalty", "frequency_penalty"}:
            num_times_said_BV = self._num_times_said_BV[rows_B]
            logits_BV = penalise_repetition(logits_BV, num_times_said_BV > 0, of("repetition_penalty"))
            if used & {"presence_penalty", "frequency_penalty"}:
                penalties = of("presence_penalty"), of("frequency_penalty")
                logits_BV = penalise_said(logits_BV, num_times_said_BV, *penalties)
        if any(row.num_said < row.min_reply_tokens for row in rows):
            num_said_B = torch.tensor([row.num_said for row in rows], device=self._device)
            logits_BV = forbid_early_end(logits_BV, num_said_B, of("min_reply_tokens"))
        if used & NGRAM_RULES:
            logits_BV = self._forbid_ngrams(logits_BV, rows, of)
        temperature_B = of("temperature")
        if "temperature" in used:
            logits_BV = _narrow(cool(logits_BV, temperature_B), used, of)
        ids_B = draw(logits_BV, temperature_B, [row.generator for row in rows])
        self._note(ids_B, rows_B, rows, used)
        return ids_B

    def _forbid_ngrams(self, logits_BV: Tensor, rows: list[_Row], of: Callable[[str], Tensor]) -> Tensor:
        newest_said_BT = self._filled_up([row.said_ids[::-1] for row in rows])
        for rule, sources in (
            ("no_repeat_ngram_tokens", [row.said_ids for row in rows]),
            ("no_copied_ngram_tokens", [row.context_ids for row in rows]),
        ):
            logits_BV = forbid_ngrams_of(logits_BV, self._filled_up(sources), newest_said_BT, of(rule))
        return logits_BV

    def _filled_up(self, many_ids: Sequence[Sequence[int]]) -> Tensor:
        """ids_BT with -1, no token's id, behind those that are shorter."""
        rows = [torch.tensor(ids, dtype=torch.long) for ids in many_ids]
        return pad_sequence(rows, batch_first=True, padding_value=-1).to(self._device)

    def _note(self, ids_B: Tensor, rows_B: Tensor, rows: list[_Row], used: frozenset[str]) -> None:
        self._num_times_said_BV[rows_B, ids_B] += 1
        for row in rows:
            row.num_said += 1
        if used & NGRAM_RULES:
            for row, id in zip(rows, ids_B.tolist(), strict=True):
                if row.used & NGRAM_RULES:
                    row.said_ids.append(id)


def _narrow(logits_BV: Tensor, used: frozenset[str], of: Callable[[str], Tensor]) -> Tensor:
    """What is left of the distributions to draw from; each rule looks at what the ones before it have left."""
    for name, keep in (
        ("top_k", keep_top_k), ("top_p", keep_top_p), ("min_p", keep_min_p), ("typical_p", keep_typical_p)
    ):  # fmt: skip
        if name in used:
            logits_BV = keep(logits_BV, of(name))
    return logits_BV
