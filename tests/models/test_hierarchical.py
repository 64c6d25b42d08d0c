"""Turns out of contexts, and what the conversation's reader makes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rejoinder.batches import pad
from rejoinder.models import Seq2Seq
from rejoinder.models.hierarchical import turns_of
from rejoinder.text import PAD_ID
from rejoinder.text.tokenizer import OTHER_ID, SELF_ID

CONTEXTS = [[OTHER_ID, 20], [OTHER_ID, 21, 22, SELF_ID, 23, OTHER_ID, 24, 25, 26, SELF_ID, OTHER_ID, 27], [28, SELF_ID]]
LogitsOf = Callable[[Seq2Seq, list[list[int]]], list[Tensor]]


@pytest.fixture
def model(build_small: Callable[..., Seq2Seq]) -> Seq2Seq:
    return build_small("hierarchical")


def turns(contexts: list[list[int]]) -> tuple[list[list[int]], list[int], list[int]]:
    context_ids_BS = pad(contexts)
    turn_ids_MP, row_M, place_M = turns_of(context_ids_BS, context_ids_BS == PAD_ID)
    return turn_ids_MP.tolist(), row_M.tolist(), place_M.tolist()


def test_the_worked_example() -> None:
    turn_ids, row, place = turns([[OTHER_ID, 20, SELF_ID, 21, 22], [30, OTHER_ID, 31]])
    assert turn_ids == [[4, 20, 0], [3, 21, 22], [30, 0, 0], [4, 31, 0]]
    assert (row, place) == ([0, 0, 1, 1], [0, 1, 0, 1])


def test_turns_put_together_are_the_contexts() -> None:
    turn_ids, rows, places = turns(CONTEXTS)
    together: list[list[int]] = [[] for _ in CONTEXTS]
    for ids, row in zip(turn_ids, rows, strict=True):
        together[row] += [id for id in ids if id != PAD_ID]
    assert together == CONTEXTS
    assert [rows.count(row) for row in range(3)] == [1, 5, 2]
    assert places == [0, 0, 1, 2, 3, 4, 0, 1]


@pytest.mark.parametrize("context", [[20], [20, 21], [SELF_ID], [OTHER_ID, SELF_ID], [20, OTHER_ID, 21]])
def test_a_context_begins_a_turn_with_or_without_a_marker(context: list[int]) -> None:
    turn_ids, _, _ = turns([context])
    assert [id for ids in turn_ids for id in ids if id != PAD_ID] == context


def test_a_row_without_any_token_is_one_empty_turn(model: Seq2Seq) -> None:
    state = model.start(torch.tensor([[PAD_ID, PAD_ID], [20, 21]]), torch.tensor([[True, True], [False, False]]))
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_rows_of_many_turns_step_as_they_learn(
    build_small: Callable[..., Seq2Seq], assert_steps_are_forward: Callable[..., None]
) -> None:
    assert_steps_are_forward(build_small("hierarchical"), CONTEXTS)
    wider = build_small(
        "hierarchical", conversation_width=20, hidden_width=12, num_encoder_layers=2, num_decoder_layers=2
    )
    assert_steps_are_forward(wider, CONTEXTS)


FIRST, SECOND = [20, 21, 22], [23, 24, 25]


@pytest.mark.parametrize(
    "changed",
    [
        [OTHER_ID, 20, 24, 22, SELF_ID, 23, 21, 25],  # two words across turns
        [SELF_ID, *SECOND, OTHER_ID, *FIRST],  # the order of the turns
        [SELF_ID, *FIRST, OTHER_ID, *SECOND],  # who says what
        [OTHER_ID, *FIRST, *SECOND],  # one turn instead of two
        [OTHER_ID, 20, 21, SELF_ID, 22, *SECOND],  # where the second begins
    ],
)
def test_what_stands_in_which_turn_counts(model: Seq2Seq, logits_of: LogitsOf, changed: list[int]) -> None:
    (one,), (other,) = logits_of(model, [[OTHER_ID, *FIRST, SELF_ID, *SECOND]]), logits_of(model, [changed])
    assert (one - other).abs().max() > 0.01


def test_a_turn_is_read_by_itself(model: Seq2Seq) -> None:
    """The same turn has the same vector wherever it stands: the conversation's reader is given equal inputs."""
    seen: list[Tensor] = []
    reader = model.get_submodule("turn_encoder")
    reader.register_forward_hook(lambda _module, _inputs, outputs: seen.append(outputs[1].detach()))
    context_ids_BS = torch.tensor([[OTHER_ID, 20, 21, SELF_ID, 22, OTHER_ID, 20, 21]])
    model.start(context_ids_BS, context_ids_BS == PAD_ID)
    torch.testing.assert_close(seen[0][:, 0], seen[0][:, 2])
