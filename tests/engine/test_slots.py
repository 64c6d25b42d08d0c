"""Rows of a model's state in memory taken once."""

from __future__ import annotations

import pytest
import torch

from rejoinder.engine import Slots
from rejoinder.errors import ModelError
from rejoinder.models import State

MAX_CONTEXT, MAX_REPLY = 20, 30


def state(*values: float, num_context_tokens: int = MAX_CONTEXT) -> State:
    """Rows filled with these values, half of the context padding."""
    rows_B = torch.tensor(values)
    is_pad_BS = torch.arange(num_context_tokens).expand(len(values), -1) >= num_context_tokens // 2
    return {
        "place_B": torch.zeros(len(values), dtype=torch.long),
        "context_keys_0_BHSK": rows_B[:, None, None, None].repeat(1, 2, num_context_tokens, 3),
        "context_is_pad_BS": is_pad_BS,
        "reply_keys_0_BHTK": torch.zeros(len(values), 2, MAX_REPLY, 3),
        "hidden_BLD": rows_B[:, None, None].repeat(1, 1, 4),
    }


def slots(*values: float) -> Slots:
    made = Slots(8, MAX_CONTEXT)
    made.put(state(*values), range(len(values)), range(len(values)))
    return made


def values_of(some: Slots, num_rows: int) -> list[float]:
    view = some.view(num_rows, MAX_CONTEXT, MAX_REPLY)
    assert torch.equal(view["hidden_BLD"][:, 0, 0], view["context_keys_0_BHSK"][:, 0, 0, 0])
    return view["hidden_BLD"][:, 0, 0].tolist()


def test_a_view_is_cut_to_what_is_needed_and_no_copy() -> None:
    some = slots(1, 2, 3)
    view = some.view(2, 3, 9)
    assert {name: tuple(tensor.shape) for name, tensor in view.items()} == {
        "place_B": (2,), "context_keys_0_BHSK": (2, 2, 8, 3), "context_is_pad_BS": (2, 8),
        "reply_keys_0_BHTK": (2, 2, 16, 3), "hidden_BLD": (2, 1, 4),
    }  # fmt: skip
    view["reply_keys_0_BHTK"] += 5
    whole = some.view(3, 99, 99)
    assert whole["reply_keys_0_BHTK"].shape == (3, 2, MAX_REPLY, 3)
    assert whole["reply_keys_0_BHTK"][:2, :, :16].eq(5).all()
    assert not whole["reply_keys_0_BHTK"][2].any()
    assert not whole["reply_keys_0_BHTK"][:, :, 16:].any()
    assert some.view(2, 8, 16) is some.view(2, 1, 10), "views of a shape are made once"


def test_rows_go_where_they_are_put_one_to_several_places() -> None:
    some = slots(1, 2, 3)
    some.put(state(7, 8), [0, 1, 1], [4, 1, 3])
    assert values_of(some, 5) == [1, 8, 3, 8, 7]


def test_what_a_step_made_anew_is_kept() -> None:
    some = slots(1, 2)
    view = some.view(2, MAX_CONTEXT, 1)
    some.keep(view, view | {"hidden_BLD": view["hidden_BLD"] + 1, "place_B": view["place_B"] + 1})
    after = some.view(2, MAX_CONTEXT, 1)
    assert after["hidden_BLD"][:, 0, 0].tolist() == [2, 3]
    assert after["place_B"].tolist() == [1, 1]


def test_a_row_becomes_the_same_as_another() -> None:
    some = slots(1, 2, 3)
    some.copy([(0, 2)], some.view(3, MAX_CONTEXT, MAX_REPLY))
    assert values_of(some, 3) == [3, 2, 3]


def test_rows_of_one_context_share_what_is_of_the_context() -> None:
    """Beams: what steps do not make anew need not be copied between them."""
    some = slots(1, 2)
    view = some.view(2, MAX_CONTEXT, MAX_REPLY)
    some.copy([(0, 1)], view, same_context=True)
    assert view["hidden_BLD"][:, 0, 0].tolist() == [2, 2]
    assert view["context_keys_0_BHSK"][:, 0, 0, 0].tolist() == [1, 2]
    some.keep(view, view | {"context_keys_0_BHSK": view["context_keys_0_BHSK"].clone()})
    some.copy([(0, 1)], view, same_context=True)
    assert view["context_keys_0_BHSK"][:, 0, 0, 0].tolist() == [2, 2]


def test_a_context_that_was_not_filled_up_leaves_padding_behind_it() -> None:
    some = slots(1)
    some.put(state(4, num_context_tokens=6), [0], [0])
    view = some.view(1, MAX_CONTEXT, MAX_REPLY)
    assert view["context_is_pad_BS"][0].tolist() == [False] * 3 + [True] * 17
    assert view["context_keys_0_BHSK"][0, 0, :, 0].tolist() == [4.0] * 6 + [0.0] * 14


def test_a_moved_rows_mask_is_whole_however_short_the_view() -> None:
    """A longer context may come later: what lies behind the moved row's own must still be padding then."""
    some = slots(1, 2)
    everything = some.view(2, MAX_CONTEXT, MAX_REPLY)
    everything["context_is_pad_BS"][0] = False
    some.copy([(0, 1)], some.view(2, 8, 8))
    assert everything["context_is_pad_BS"][0, 10:].all()


def test_a_name_that_tells_other_dimensions_is_refused() -> None:
    with pytest.raises(ModelError, match="the state's hidden_BLD has 2 dimensions"):
        Slots(2, MAX_CONTEXT).put({"hidden_BLD": torch.zeros(1, 4)}, [0], [0])


def test_a_name_that_tells_no_dimensions_is_never_cut() -> None:
    some = Slots(2, MAX_CONTEXT)
    some.put({"window_0": torch.ones(1, 30)}, [0], [0])
    assert some.view(1, 1, 1)["window_0"].shape == (1, 30)
    assert some.bytes_per_slot == 120
