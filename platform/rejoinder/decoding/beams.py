"""Beam search: the most probable beginnings of a reply, pursued side by side.

At each step every beam is continued by every token, and the best of these continuations are the next beams. Groups of
beams can be made to avoid what earlier groups have just said (Vijayakumar et al. 2018, with the Hamming distance).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from rejoinder.decoding.candidates import Candidate, length_penalty
from rejoinder.decoding.permissions import ends_with
from rejoinder.decoding.rows import Row
from rejoinder.decoding.settings import Decoding
from rejoinder.text import END_ID

Continuation = tuple[float, int, int]
"""(log-probability of all its tokens, beam that it continues, id)."""


def best_continuations(
    logprobs_QWV: Tensor, totals_QW: Tensor, num: int, handicap_QV: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """totals_Qn, beams_Qn and ids_Qn of the n best continuations of each of Q searches, the best first.

    `totals_QW` are the beams' log-probabilities, -inf where there is none. The handicap counts in the comparison, not
    in the totals.
    """
    V = logprobs_QWV.shape[2]
    totals_QWV = totals_QW[:, :, None] + logprobs_QWV
    compared_QWV = totals_QWV if handicap_QV is None else totals_QWV - handicap_QV[:, None]
    order_Qn = compared_QWV.flatten(1).topk(min(num, compared_QWV[0].numel())).indices
    return totals_QWV.flatten(1).gather(1, order_Qn), order_Qn // V, order_Qn % V


class BeamGroup:
    """Beams that compete with each other, each with its row, and what they have finished."""

    def __init__(self, decoding: Decoding, rows: Sequence[Row]) -> None:
        self.rows, self.width, self._decoding = rows, len(rows), decoding
        self.totals = [0.0] + [-math.inf] * (len(rows) - 1)
        """The beams' log-probabilities. All begin with nothing: more than one of these would find the same."""
        self.finished: list[Candidate] = []
        """The best that have ended, at most as many as there are beams."""
        self.just_said: list[int] = []
        self.is_done = False

    def advance(self, continuations: Sequence[Continuation]) -> list[tuple[int, int]]:
        """Takes the best continuations, at least 2 for each beam. Returns which rows become copies: (row, of row).

        A beam's first continuation stays in its row, so that what is copied from is never written to.
        """
        taken: list[Continuation] = []
        said = [row.said_ids for row in self.rows]
        for rank, (total, beam, id) in enumerate(continuations):
            if total == -math.inf or len(taken) == self.width:
                break
            run = said[beam] if id == END_ID else [*said[beam], id]
            if id != END_ID and not any(ends_with(run, stop) for stop in self._decoding.stop_ids):
                taken.append((total, beam, id))
            elif rank < self.width:
                self._finish(run, total, has_ended=True)
        if taken and len(said[taken[0][1]]) + 1 == self._decoding.max_reply_tokens:
            for total, beam, id in taken:
                self._finish([*said[beam], id], total, has_ended=False)
            taken = []
        self.is_done = not taken or self._has_enough(taken[0][0])
        self.just_said = [id for _, _, id in taken]
        return self._settle(taken, said)

    def _settle(self, taken: list[Continuation], said: list[list[int]]) -> list[tuple[int, int]]:
        beams: dict[int, Continuation] = {}
        for continuation in taken:
            beams.setdefault(continuation[1], continuation)
        free = (beam for beam in range(self.width) if beam not in beams)
        later = [continuation for continuation in taken if beams[continuation[1]] is not continuation]
        placed = beams | dict(zip([next(free) for _ in later], later, strict=True))
        self.totals = [placed[beam][0] if beam in placed else -math.inf for beam in range(self.width)]
        for beam, (_, parent, id) in placed.items():
            self.rows[beam].said_ids = [*said[parent], id]
        return [
            (self.rows[beam].place, self.rows[parent].place)
            for beam, (_, parent, _) in placed.items()
            if beam != parent
        ]

    def _finish(self, ids: list[int], total: float, has_ended: bool) -> None:
        num_tokens = len(ids) + (has_ended and not any(ends_with(ids, stop) for stop in self._decoding.stop_ids))
        score = total / length_penalty(num_tokens, self._decoding.length_penalty)
        self.finished.append(Candidate(tuple(ids), has_ended, total, score))
        self.finished.sort(key=lambda candidate: -candidate.score)
        del self.finished[self.width :]

    def _has_enough(self, highest_total: float) -> bool:
        if len(self.finished) < self.width:
            return False
        # Log-probabilities only fall, and nothing is divided by more than by the longest reply's penalty.
        longest = length_penalty(self._decoding.max_reply_tokens, self._decoding.length_penalty)
        return self._decoding.early_stopping or highest_total / longest <= self.finished[-1].score


class BeamSearch:
    """One request's groups of beams."""

    def __init__(self, decoding: Decoding, rows: Sequence[Row]) -> None:
        width = len(rows) // decoding.num_beam_groups
        self.groups = [BeamGroup(decoding, rows[at : at + width]) for at in range(0, len(rows), width)]
        self.diversity_penalty = decoding.diversity_penalty

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to pursue."""
        return all(group.is_done for group in self.groups)

    @property
    def candidates(self) -> list[Candidate]:
        """What was found, the best first; the same words only once."""
        found = sorted(chain(*(group.finished for group in self.groups)), key=lambda candidate: -candidate.score)
        return list({(candidate.ids, candidate.has_ended): candidate for candidate in reversed(found)}.values())[::-1]


def advance_beams(searches: Sequence[BeamSearch], logits_BV: Tensor) -> list[tuple[int, int]]:
    """One step of all searches, with the batch's logits after the rules. Returns which rows become copies: (row, of
    row), no row being both."""
    copies = []
    for number in range(max(len(search.groups) for search in searches)):
        alike = defaultdict(list)
        for search in searches:
            if number < len(search.groups) and not search.groups[number].is_done:
                alike[search.groups[number].width].append(search)
        for width, some in alike.items():
            groups = [search.groups[number] for search in some]
            places = [row.place for group in groups for row in group.rows]
            logprobs_QWV = logits_BV[places].log_softmax(-1).view(len(groups), width, -1)
            totals_QW = torch.tensor([group.totals for group in groups], device=logits_BV.device)
            handicap_QV = _handicap(some, number, logprobs_QWV) if number else None
            found = best_continuations(logprobs_QWV, totals_QW, 2 * width, handicap_QV)
            for group, *continuations in zip(groups, *(one.tolist() for one in found), strict=True):
                copies += group.advance(list(zip(*continuations, strict=True)))
    return copies


def _handicap(searches: Sequence[BeamSearch], number: int, like_QWV: Tensor) -> Tensor:
    """handicap_QV of group `number`: the diversity penalty for each beam of an earlier group that has just said it."""
    handicap_QV = like_QWV.new_zeros(len(searches), like_QWV.shape[2])
    for handicap_V, search in zip(handicap_QV, searches, strict=True):
        said = [id for group in search.groups[:number] for id in group.just_said]
        if said:
            ids_N = torch.tensor(said, device=like_QWV.device)
            handicap_V.index_add_(0, ids_N, handicap_V.new_full((len(said),), search.diversity_penalty))
    return handicap_QV
