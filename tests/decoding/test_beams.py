"""Beam search, over tables of logits in place of a model: small enough to try every reply there is."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from rejoinder.decoding import (
    BeamSearch,
    Candidate,
    Decoding,
    DecodingRows,
    Row,
    advance_beams,
    best_continuations,
    length_penalty,
)
from rejoinder.text import END_ID, NUM_CONTROL_IDS

WORDS = range(NUM_CONTROL_IDS, NUM_CONTROL_IDS + 3)
NUM_IDS, LONGEST = NUM_CONTROL_IDS + len(WORDS), 4
START = 1


def decoding(**changes: Any) -> Decoding:
    settings = {"temperature": 0, "top_k": 0, "top_p": 1, "repetition_penalty": 1, "min_reply_tokens": 0}
    return Decoding(**(settings | {"max_reply_tokens": LONGEST} | changes))


class Table:
    """log p(next id | number of tokens, last id), drawn by a seed; only words and the end are possible."""

    def __init__(self, seed: int) -> None:
        drawn = 1.5 * torch.randn(LONGEST, NUM_IDS, NUM_IDS, generator=torch.Generator().manual_seed(seed))
        drawn[..., [id for id in range(NUM_CONTROL_IDS) if id != END_ID]] = -torch.inf
        self.logprobs = drawn.log_softmax(-1)

    def after(self, said: list[int] | tuple[int, ...]) -> Tensor:
        return self.logprobs[min(len(said), LONGEST - 1), said[-1] if said else START]

    def logprob(self, said: tuple[int, ...], has_ended: bool) -> float:
        whole = (*said, END_ID) if has_ended else said
        return sum(float(self.after(whole[:place])[id]) for place, id in enumerate(whole))


def search(tables: list[Table], *decodings: Decoding) -> list[list[Candidate]]:
    """All searches at once, each with its own table; what each has found, the best first."""
    rows = [[Row(one, (), number) for number in range(one.num_beams)] for one in decodings]
    searches = [BeamSearch(one, some) for one, some in zip(decodings, rows, strict=True)]
    batch = list(itertools.chain(*rows))
    for place, row in enumerate(batch):
        row.place = place
    table_of = [table for table, some in zip(tables, rows, strict=True) for _ in some]
    together = DecodingRows(batch, torch.device("cpu"))
    while not all(one.is_done for one in searches):
        logits_BV = torch.stack([table.after(row.said_ids) for table, row in zip(table_of, batch, strict=True)])
        before = [list(row.said_ids) for row in batch]
        copies = advance_beams(searches, together.ruled(logits_BV))
        assert not {to for to, _ in copies} & {of for _, of in copies}
        for to, of in copies:
            assert batch[to].said_ids[:-1] == before[of]
    return [one.candidates for one in searches]


def every_reply(table: Table, alpha: float) -> list[tuple[float, tuple[int, ...], bool]]:
    """(score, ids, has ended), the best first."""
    found = []
    for length in range(LONGEST + 1):
        for said in itertools.product(WORDS, repeat=length):
            for has_ended in {length < LONGEST, False} if length == LONGEST else {True}:
                score = table.logprob(said, has_ended) / length_penalty(length + has_ended, alpha)
                found.append((score, said, has_ended))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_as_wide_as_all_replies_it_finds_what_brute_force_finds(seed: int, alpha: float) -> None:
    table = Table(seed)
    wide = decoding(num_beams=64, length_penalty=alpha, early_stopping=False)
    (found,), expected = search([table], wide), every_reply(table, alpha)
    for candidate, (score, said, has_ended) in zip(found[:10], expected[:10], strict=True):
        assert (candidate.ids, candidate.has_ended) == (said, has_ended)
        assert candidate.score == pytest.approx(score, abs=1e-5)
        assert candidate.logprob == pytest.approx(table.logprob(said, has_ended), abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_one_beam_is_greedy(seed: int) -> None:
    table, said = Table(seed), list[int]()
    while len(said) < LONGEST and (id := int(table.after(said).argmax())) != END_ID:
        said.append(id)
    for alpha, stops_early in ((0.0, False), (0.6, True)):
        one = decoding(num_beams=1, length_penalty=alpha, early_stopping=stops_early)
        assert search([table], one)[0][0].ids == tuple(said)


def test_searches_of_all_kinds_share_their_steps_and_find_what_each_finds_alone() -> None:
    kinds = [
        decoding(num_beams=2), decoding(num_beams=4, length_penalty=1.0), decoding(num_beams=2, early_stopping=False),
        decoding(num_beams=6, num_beam_groups=3, diversity_penalty=0.7), decoding(num_beams=3, max_reply_tokens=2),
        decoding(num_beams=4, num_beam_groups=2, diversity_penalty=2.0), decoding(num_beams=2, bad_ids=((WORDS[0],),)),
    ]  # fmt: skip
    tables = [Table(seed) for seed in range(len(kinds))]
    together = search(tables, *kinds)
    alone = [search([table], kind)[0] for table, kind in zip(tables, kinds, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert [(candidate.ids, candidate.has_ended) for candidate in one] == [
            (candidate.ids, candidate.has_ended) for candidate in other
        ]


@pytest.mark.parametrize("seed", range(4))
def test_going_on_until_nothing_can_be_better_is_never_worse(seed: int) -> None:
    table = Table(seed)
    (soon,), (late,) = (
        search([table], decoding(num_beams=2, length_penalty=1.0, early_stopping=early)) for early in (True, False)
    )
    assert late[0].score >= soon[0].score


def test_groups_of_beams_avoid_what_earlier_groups_say() -> None:
    table = Table(0)
    (found,) = search([table], decoding(num_beams=3, num_beam_groups=3, diversity_penalty=50.0, min_reply_tokens=1))
    assert len({candidate.ids[0] for candidate in found}) == 3
    (alike,) = search([table], decoding(num_beams=3, num_beam_groups=3, diversity_penalty=0.0, min_reply_tokens=1))
    assert len(alike) == 1, "the same reply is given once"


def test_a_handicap_counts_in_the_comparison_and_not_in_the_log_probability() -> None:
    logprobs_QWV = torch.tensor([[[-1.0, -2.0, -9.0], [-1.5, -9.0, -9.0]]])
    totals_QW, handicap_QV = torch.tensor([[0.0, -0.1]]), torch.tensor([[5.0, 0.0, 0.0]])
    found = best_continuations(logprobs_QWV, totals_QW, 3, handicap_QV)
    totals, beams, ids = (one[0].tolist() for one in found)
    assert (beams, ids) == ([0, 0, 1], [1, 0, 0])
    assert totals == pytest.approx([-2.0, -1.0, -1.6])


def test_a_beam_ends_with_a_stop_run_that_it_keeps() -> None:
    table = Table(1)
    stops = decoding(num_beams=3, stop_ids=tuple((word,) for word in WORDS), min_reply_tokens=1)
    (found,) = search([table], stops)
    assert {len(candidate.ids) for candidate in found} == {1}
    assert all(candidate.has_ended for candidate in found)
    assert found[0].logprob == pytest.approx(float(_without_end(table.after([])).max()), abs=1e-5)


def _without_end(logprobs_V: Tensor) -> Tensor:
    logprobs_V = logprobs_V.clone()
    logprobs_V[END_ID] = -torch.inf
    return logprobs_V.log_softmax(-1)


def test_the_length_penalty_is_that_of_the_paper() -> None:
    assert length_penalty(1, 0.6) == 1.0
    assert length_penalty(13, 1.0) == pytest.approx(3.0)
    assert length_penalty(40, 0.0) == 1.0
