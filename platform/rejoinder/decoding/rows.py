"""Logits of replies in the making in, each one's next token out, by its own settings; all rows at once."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rejoinder.decoding.ngrams import forbid_ngrams_of
from rejoinder.decoding.penalties import penalise_repetition, penalise_said
from rejoinder.decoding.permissions import forbid, forbid_early_end, force, last_ids_of
from rejoinder.decoding.sampling import (
    cool,
    draw,
    highest,
    keep_first_k,
    keep_first_p,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical_p,
)
from rejoinder.decoding.settings import Decoding
from rejoinder.text import END_ID, NUM_CONTROL_IDS, START_ID

NEAR = 64
"""Rows that keep at most so many tokens look at no others: sorting a vocabulary is the dearest part of a draw."""
ROUNDED_TO = 8
"""Rows that keep about as many look at as many. How many depends on a row alone, so that its draws do."""


class Row:
    """One reply in the making: its settings, what it has said, its random numbers."""

    __slots__ = ("chance", "context_ids", "decoding", "place", "said_ids", "used")

    def __init__(self, decoding: Decoding, context_ids: Sequence[int] = (), number: int = 0) -> None:
        """The context is for the rule that forbids to copy from it; `number` tells the rows of a request apart."""
        self.decoding = decoding.effective
        draws = self.decoding.temperature > 0
        self.used = decoding.used
        self.context_ids = context_ids
        self.said_ids: list[int] = []
        seed = decoding.seed
        self.chance = random.Random(f"{seed} {number}" if number and seed is not None else seed) if draws else None
        self.place = -1
        """Its row in the batch."""

    @property
    def last_id(self) -> int:
        """What the model reads next."""
        return self.said_ids[-1] if self.said_ids else START_ID


class DecodingRows:
    """The rows of a batch; made anew when one joins or leaves, and then good for many steps.

    A rule is computed in steps where some row has turned it on. Its off value changes nothing to the last bit, so the
    other rows of the step do not notice. Whoever takes a token adds it to its row's `said_ids`.
    """

    def __init__(self, rows: Sequence[Row], device: torch.device) -> None:
        self._rows, self._device = rows, device
        self._used = frozenset[str]().union(*(row.used for row in rows))
        self._settings_B: dict[str, Tensor] = {}
        self._to_begin = [row for row in rows if len(row.said_ids) < row.decoding.min_reply_tokens]
        self._to_force = [place for place, row in enumerate(rows) if row.decoding.prefix_ids]
        self._to_forbid = [place for place, row in enumerate(rows) if row.decoding.bad_ids]
        drawing = [place for place, row in enumerate(rows) if row.decoding.temperature > 0]
        self._all_draw = len(drawing) == len(rows)
        alike = defaultdict(list)
        for place in drawing:
            top_k = rows[place].decoding.top_k
            alike[-(-top_k // ROUNDED_TO) * ROUNDED_TO if top_k <= NEAR else 0].append(place)
        self._parts = [_Part(self, places, num_kept) for num_kept, places in alike.items()]
        self._said: NDArray[np.int64] | None = None

    def ruled(self, logits_BV: Tensor) -> Tensor:
        """The logits as 32-bit numbers after all rules about what may be said, -inf where it may not. The tensor given
        may be written to."""
        logits_BV, used = logits_BV.float(), self._used
        # In place, and without the clone of `forbid_control_tokens`: this is done at each step.
        logits_BV[:, :END_ID] = -torch.inf
        logits_BV[:, END_ID + 1 : NUM_CONTROL_IDS] = -torch.inf
        if used & {"repetition_penalty", "presence_penalty", "frequency_penalty"}:
            logits_BV = self._penalised(logits_BV)
        if self._to_begin:
            self._to_begin = [row for row in self._to_begin if len(row.said_ids) < row.decoding.min_reply_tokens]
        if self._to_begin:
            num_said_B = torch.tensor([len(row.said_ids) for row in self._rows], device=self._device)
            logits_BV = forbid_early_end(logits_BV, num_said_B, self.of("min_reply_tokens"))
        if "no_repeat_ngram_tokens" in used or "no_copied_ngram_tokens" in used:
            logits_BV = self._without_ngrams(logits_BV)
        if self._to_forbid:
            at = [(place, self._rows[place]) for place in self._to_forbid]
            found = [(place, id) for place, row in at for id in last_ids_of(row.said_ids, row.decoding.bad_ids)]
            logits_BV = self._at(forbid, logits_BV, found)
        if self._to_force:
            found = [(place, id) for place in self._to_force if (id := _next_of_prefix(self._rows[place])) is not None]
            logits_BV = self._at(force, logits_BV, found)
        return logits_BV

    def choose(self, logits_BV: Tensor) -> list[int]:
        """The next token of each row, of logits that went through `ruled`: the highest one at temperature 0, else a
        draw."""
        ids_B = None if self._all_draw else highest(logits_BV)
        for part in self._parts:
            drawn_B = part.draw(logits_BV)
            ids_B = drawn_B if ids_B is None and part.is_all else part.put(drawn_B, ids_B)
        assert ids_B is not None
        chosen: list[int] = ids_B.tolist()
        return chosen

    def of(self, name: str) -> Tensor:
        """One setting of all rows, as a tensor."""
        if name not in self._settings_B:
            values = [getattr(row.decoding, name) for row in self._rows]
            self._settings_B[name] = torch.tensor(values, device=self._device)
        return self._settings_B[name]

    @property
    def used(self) -> frozenset[str]:
        """The settings that some row has turned on."""
        return self._used

    @property
    def rows(self) -> Sequence[Row]:
        """In the batch's order."""
        return self._rows

    @property
    def device(self) -> torch.device:
        """Where the logits are."""
        return self._device

    def _at(
        self, rule: Callable[[Tensor, Tensor, Tensor], Tensor], logits_BV: Tensor, found: list[tuple[int, int]]
    ) -> Tensor:
        if not found:
            return logits_BV
        rows_N, ids_N = torch.tensor(found, device=self._device).unbind(1)
        return rule(logits_BV, rows_N, ids_N)

    def _penalised(self, logits_BV: Tensor) -> Tensor:
        said_ids_BT = self._said_ids()
        if said_ids_BT.shape[1] == 0:
            return logits_BV
        if "repetition_penalty" in self._used:
            logits_BV = penalise_repetition(logits_BV, said_ids_BT, self.of("repetition_penalty"))
        if self._used & {"presence_penalty", "frequency_penalty"}:
            penalties = self.of("presence_penalty").float(), self.of("frequency_penalty").float()
            logits_BV = penalise_said(logits_BV, said_ids_BT, *penalties)
        return logits_BV

    def _without_ngrams(self, logits_BV: Tensor) -> Tensor:
        said = [row.said_ids for row in self._rows]
        newest_said_BT = self._filled_up([ids[::-1] for ids in said])
        for rule, sources in (
            ("no_repeat_ngram_tokens", said), ("no_copied_ngram_tokens", [row.context_ids for row in self._rows])
        ):  # fmt: skip
            if rule in self._used:
                logits_BV = forbid_ngrams_of(logits_BV, self._filled_up(sources), newest_said_BT, self.of(rule))
        return logits_BV

    def _said_ids(self) -> Tensor:
        """said_ids_BT with -1 behind those that are shorter. Only what the last step has said is read."""
        lengths = np.array([len(row.said_ids) for row in self._rows])
        longest, said = int(lengths.max()), self._said
        if said is None or longest > said.shape[1] or any(row.decoding.num_beams > 1 for row in self._rows):
            room = max(row.decoding.max_reply_tokens for row in self._rows)
            said = self._said = np.full((len(self._rows), max(room, longest)), -1)
            for of, row in zip(said, self._rows, strict=True):
                of[: len(row.said_ids)] = row.said_ids
        else:
            said[np.arange(len(said)), lengths - 1] = [row.said_ids[-1] if row.said_ids else -1 for row in self._rows]
        return torch.from_numpy(said[:, :longest]).to(self._device)

    def _filled_up(self, many_ids: Sequence[Sequence[int]]) -> Tensor:
        """ids_BT with -1, no token's id, behind those that are shorter."""
        longest = max(map(len, many_ids))
        rows = [[*ids, *[-1] * (longest - len(ids))] for ids in many_ids]
        return torch.tensor(rows, dtype=torch.long, device=self._device).view(len(rows), longest)


class _Part:
    """Rows of a batch whose tokens are drawn in the same way."""

    def __init__(self, of: DecodingRows, places: list[int], num_kept: int) -> None:
        """At most `num_kept` of the highest tokens are kept by each; 0 says nothing."""
        self.is_all, self._num_kept = len(places) == len(of.rows), num_kept
        self._of, self._rows = of, [of.rows[place] for place in places]
        self._places_N = torch.tensor(places, device=of.device)
        used = frozenset[str]().union(*(row.used for row in self._rows))
        keeps: dict[str, Callable[[Tensor, Tensor], Tensor]]
        keeps = {"top_k": keep_top_k, "top_p": keep_top_p, "min_p": keep_min_p, "typical_p": keep_typical_p}
        if num_kept:
            keeps |= {"top_k": keep_first_k, "top_p": keep_first_p}
        self._narrowings = [(keep, self._setting(name)) for name, keep in keeps.items() if name in used]
        self._temperature_N = self._setting("temperature")

    def draw(self, logits_BV: Tensor) -> Tensor:
        """ids_N of these rows. Each rule looks at what the ones before it have left."""
        logits_NV, ids_NK = logits_BV if self.is_all else logits_BV[self._places_N], None
        if self._num_kept:
            logits_NV, ids_NK = logits_NV.topk(min(self._num_kept, logits_NV.shape[1]))
        logits_NV = cool(logits_NV, self._temperature_N)
        for keep, values_N in self._narrowings:
            logits_NV = keep(logits_NV, values_N)
        numbers = [row.chance.random() for row in self._rows if row.chance]
        places_N = draw(logits_NV, torch.tensor(numbers, dtype=torch.double, device=logits_NV.device))
        return places_N if ids_NK is None else ids_NK.gather(1, places_N[:, None])[:, 0]

    def put(self, drawn_N: Tensor, ids_B: Tensor | None) -> Tensor:
        """ids_B with what these rows have drawn."""
        if ids_B is None:
            ids_B = drawn_N.new_zeros(len(self._of.rows))
        return ids_B.index_copy(0, self._places_N, drawn_N)

    def _setting(self, name: str) -> Tensor:
        values_B = self._of.of(name)
        return values_B if self.is_all else values_B[self._places_N]


def _next_of_prefix(row: Row) -> int | None:
    prefix_ids, at = row.decoding.prefix_ids, len(row.said_ids)
    return prefix_ids[at] if at < len(prefix_ids) else None
