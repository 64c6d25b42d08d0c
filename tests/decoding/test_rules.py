"""Rules that change logits before a token is chosen, by hand-made numbers."""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from hypothesis import given

from rejoinder.decoding import (
    forbid,
    forbid_control_tokens,
    forbid_early_end,
    forbid_ngrams_of,
    force,
    last_ids_of,
    penalise_repetition,
    penalise_said,
)
from rejoinder.text import END_ID, NUM_CONTROL_IDS

NEVER = -torch.inf


def test_of_the_control_tokens_only_the_end_may_be_chosen() -> None:
    after_BV = forbid_control_tokens(torch.full((2, NUM_CONTROL_IDS + 3), 5.0))
    allowed = [END_ID, NUM_CONTROL_IDS, NUM_CONTROL_IDS + 1, NUM_CONTROL_IDS + 2]
    assert (after_BV == 5.0).nonzero().tolist() == [[row, id] for row in (0, 1) for id in allowed]
    assert (after_BV == NEVER).sum() == 2 * (NUM_CONTROL_IDS - 1)


def test_the_end_must_wait_until_enough_was_said() -> None:
    after_BV = forbid_early_end(torch.ones(3, 4), torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0]))
    assert after_BV[:, END_ID].tolist() == [NEVER, 1.0, 1.0]
    assert after_BV[:, :END_ID].eq(1).all()
    assert after_BV[:, END_ID + 1 :].eq(1).all()


def test_what_was_said_becomes_less_likely_whatever_its_sign() -> None:
    logits_BV = torch.tensor([[2.0, -2.0, 0.0, 2.0]]).repeat(4, 1)
    said_ids_BT = torch.tensor([[1, 0, 2], [0, 1, 3], [3, 3, -1], [-1, -1, -1]])
    after_BV = penalise_repetition(logits_BV, said_ids_BT, torch.tensor([2.0, 1.0, 2.0, 2.0]))
    assert after_BV.tolist() == [[1, -4, 0, 2], [2, -2, 0, 2], [2, -2, 0, 1], [2, -2, 0, 2]]


def test_what_cannot_be_said_stays_so() -> None:
    after_BV = penalise_repetition(torch.tensor([[NEVER]]), torch.tensor([[0]]), torch.tensor([2.0]))
    assert after_BV.tolist() == [[NEVER]]


def test_presence_is_subtracted_once_and_frequency_for_each_time() -> None:
    said_ids_BT = torch.tensor([[2, 1, 2, 2, -1]]).repeat(4, 1)
    said_ids_BT[3] = -1
    presence_B, frequency_B = torch.tensor([1.0, 0.0, -0.5, 1.0]), torch.tensor([0.0, 0.5, 1.0, 1.0])
    after_BV = penalise_said(torch.ones(4, 3), said_ids_BT, presence_B, frequency_B)
    assert after_BV.tolist() == [[1, 0, 0], [1, 0.5, -0.5], [1, 0.5, -1.5], [1, 1, 1]]


def test_ids_are_ruled_out_in_their_rows_alone() -> None:
    after_BV = forbid(torch.ones(3, 4), torch.tensor([0, 0, 2]), torch.tensor([1, 3, 0]))
    assert ruled_out(after_BV) == [[1, 3], [], [0]]


def test_a_forced_token_is_all_that_is_left() -> None:
    after_BV = force(torch.ones(3, 4), torch.tensor([0, 2]), torch.tensor([1, 3]))
    assert ruled_out(after_BV) == [[0, 2, 3], [], [0, 1, 2]]
    assert after_BV.log_softmax(-1)[0, 1] == 0  # certain


def test_a_run_is_forbidden_at_its_last_token() -> None:
    runs = [(6, 7), (8,), (5, 7), (4, 5, 6, 9)]
    assert last_ids_of([5, 6], runs) == [7, 8]
    assert last_ids_of([4, 5, 6], runs) == [7, 8, 9]
    assert last_ids_of([], runs) == [8]


def test_what_would_repeat_a_run_is_ruled_out() -> None:
    """6 stands before 7 and before 8."""
    source_ids_BS = torch.tensor([[5, 6, 7, 6, 8, -1]]).expand(4, -1)
    newest_said_BT = torch.tensor([[6, 5]]).expand(4, -1)
    after_BV = forbid_ngrams_of(torch.ones(4, 10), source_ids_BS, newest_said_BT, torch.tensor([0, 1, 2, 3]))
    assert ruled_out(after_BV) == [[], [5, 6, 7, 8], [7, 8], [7]]


ids = st.lists(st.integers(0, 3), max_size=9)


@given(st.lists(st.tuples(ids, ids, st.integers(0, 5)), min_size=1, max_size=4))
def test_runs_of_tokens_are_found_as_by_looking_at_each(rows: list[tuple[list[int], list[int], int]]) -> None:
    """Sources, replies and lengths of all kinds in one batch, against the definition."""
    expected = [
        sorted(
            {
                source[at + n - 1]
                for at in range(len(source) - n + 1)
                if source[at : at + n - 1] == said[len(said) - n + 1 :]
            }
            if 0 < n <= len(said) + 1
            else set()
        )
        for source, said, n in rows
    ]
    after_BV = forbid_ngrams_of(
        torch.ones(len(rows), 5),
        filled_up([source for source, _, _ in rows]),
        filled_up([said[::-1] for _, said, _ in rows]),
        torch.tensor([n for _, _, n in rows]),
    )
    assert ruled_out(after_BV) == expected


def filled_up(rows: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [-1] * (longest - len(row)) for row in rows], dtype=torch.long)


def ruled_out(logits_BV: torch.Tensor) -> list[list[int]]:
    return [row.isinf().nonzero()[:, 0].tolist() for row in logits_BV]


def test_who_would_have_nothing_left_to_say_may_say_it_again() -> None:
    source_ids_BS, said_BT, ones_B = torch.tensor([[0, 1], [0, 1]]), torch.tensor([[0], [0]]), torch.tensor([1, 1])
    logits_BV = torch.tensor([[1.0, 2.0, NEVER], [1.0, 2.0, 3.0]])
    after_BV = forbid_ngrams_of(logits_BV, source_ids_BS, said_BT, ones_B)
    assert after_BV.tolist() == [[1.0, 2.0, NEVER], [NEVER, NEVER, 3.0]]


def test_the_logits_given_are_left_alone() -> None:
    logits_BV = torch.ones(1, NUM_CONTROL_IDS + 1)
    forbid_control_tokens(logits_BV)
    forbid_early_end(logits_BV, torch.tensor([0]), torch.tensor([1]))
    penalise_repetition(logits_BV, torch.tensor([[3]]), torch.tensor([2.0]))
    penalise_said(logits_BV, torch.tensor([[3]]), torch.tensor([2.0]), torch.tensor([2.0]))
    forbid(logits_BV, torch.tensor([0]), torch.tensor([3]))
    force(logits_BV, torch.tensor([0]), torch.tensor([3]))
    forbid_ngrams_of(logits_BV, torch.tensor([[3]]), torch.tensor([[3]]), torch.tensor([1]))
    assert logits_BV.eq(1).all()
