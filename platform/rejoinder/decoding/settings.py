"""How one request wants its tokens chosen, and the same for many rows as tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from rejoinder.decoding.rules import forbid_control_tokens, forbid_early_end, penalise_repetition
from rejoinder.decoding.sampling import cool, draw, keep_top_k, keep_top_p
from rejoinder.recipe import DecodingSection


@dataclass(frozen=True)
class Decoding:
    """One request's settings; see `rejoinder.recipe.DecodingSection` for the first ones."""

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    min_reply_tokens: int
    max_reply_tokens: int
    """The reply is cut after this many tokens."""
    seed: int | None = None
    """The same request with the same seed gives the same reply; None draws a seed."""

    @classmethod
    def of(cls, section: DecodingSection, max_reply_tokens: int, **changes: float | int | None) -> Decoding:
        """The recipe's settings with some of them changed; a change of None is no change."""
        wanted = section.model_dump() | {"max_reply_tokens": max_reply_tokens}
        return cls(**(wanted | {name: value for name, value in changes.items() if value is not None}))


@dataclass
class DecodingRows:
    """The settings of the rows of a batch, and each row's generator and what it has said."""

    temperature_B: Tensor
    top_k_B: Tensor
    top_p_B: Tensor
    penalty_B: Tensor
    min_reply_tokens_B: Tensor
    num_said_B: Tensor
    was_said_BV: Tensor
    generators: list[torch.Generator] = field(default_factory=list)

    @classmethod
    def free(cls, num_rows: int, num_ids: int, device: torch.device) -> DecodingRows:
        """Rows that nobody uses yet."""

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(num_rows, dtype=dtype, device=device)

        return cls(
            zeros(torch.float), zeros(torch.long), torch.ones(num_rows, device=device),
            torch.ones(num_rows, device=device), zeros(torch.long), zeros(torch.long),
            torch.zeros(num_rows, num_ids, dtype=torch.bool, device=device),
            [torch.Generator() for _ in range(num_rows)],
        )  # fmt: skip

    def put(self, row: int, decoding: Decoding) -> None:
        """Gives a row to a new request."""
        self.temperature_B[row], self.top_k_B[row] = decoding.temperature, decoding.top_k
        self.top_p_B[row], self.penalty_B[row] = decoding.top_p, decoding.repetition_penalty
        self.min_reply_tokens_B[row], self.num_said_B[row] = decoding.min_reply_tokens, 0
        self.was_said_BV[row] = False
        generator = self.generators[row] = torch.Generator()
        generator.seed() if decoding.seed is None else generator.manual_seed(decoding.seed)

    def choose(self, logits_BV: Tensor, rows_B: Tensor) -> Tensor:
        """ids_B: the next token of each of these rows, chosen by its own settings, and noted as said."""
        temperature_B = self.temperature_B[rows_B]
        logits_BV = forbid_control_tokens(logits_BV.float())
        logits_BV = penalise_repetition(logits_BV, self.was_said_BV[rows_B], self.penalty_B[rows_B])
        logits_BV = forbid_early_end(logits_BV, self.num_said_B[rows_B], self.min_reply_tokens_B[rows_B])
        logits_BV = cool(logits_BV, temperature_B)
        logits_BV = keep_top_p(keep_top_k(logits_BV, self.top_k_B[rows_B]), self.top_p_B[rows_B])
        ids_B = draw(logits_BV, temperature_B, [self.generators[row] for row in rows_B.tolist()])
        self.was_said_BV[rows_B, ids_B] = True
        self.num_said_B[rows_B] += 1
        return ids_B
