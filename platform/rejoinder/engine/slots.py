"""Encoded contexts in, views of the running rows out: what a model keeps for each row, in memory taken once.

    places   0 1 2 3 4 5 6 7        the running rows are the first ones, so that a step works on views without copying
             a b c d . . . .        b leaves
             a d c . . . . .        the last one takes its place

Names of tensors end in their dimensions (see `models/base.py`). B comes first; where an S or T follows, a step sees
only as many tokens of context or reply as the longest running row has, rounded up so that shapes are few.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from rejoinder.errors import ModelError
from rejoinder.models import State

ROUNDED_TO = 8
MAX_SHAPES = 64
"""Shapes whose views are kept at hand."""
_DIMENSIONS = re.compile(r"_(B[A-Z0-9]*)$")


class Slots:
    """The state of up to `num_slots` rows. Memory is taken when the first context has come, and never again."""

    def __init__(self, num_slots: int, max_context_tokens: int) -> None:
        self.num_slots, self._max_context_tokens = num_slots, max_context_tokens
        self._buffers: State = {}
        self._views: dict[tuple[int, int, int], State] = {}
        self._changing: set[str] = set()

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one row; 0 before the first context."""
        return sum(buffer.nbytes for buffer in self._buffers.values()) // self.num_slots

    def put(self, new: State, rows: Sequence[int], places: Sequence[int]) -> None:
        """Writes rows of a model's first state into places; a row may go to several."""
        if not self._buffers:
            self._take_memory(new)
        device = next(iter(new.values())).device
        rows_N, places_N = torch.tensor(rows, device=device), torch.tensor(places, device=device)
        as_they_are = list(rows) == list(range(len(next(iter(new.values())))))
        for name, tensor in new.items():
            buffer = self._buffers[name]
            tensor = tensor if as_they_are else tensor.index_select(0, rows_N)
            if tensor.shape[1:] != buffer.shape[1:]:
                # A context was not filled up: what stands behind it is padding, of whoever was there before.
                buffer[places_N] = "is_pad" in name
                cut = buffer
                for dimension, size in enumerate(tensor.shape[1:], start=1):
                    cut = cut.narrow(dimension, 0, size)
                cut.index_copy_(0, places_N, tensor.to(buffer.dtype))
            else:
                buffer.index_copy_(0, places_N, tensor.to(buffer.dtype))

    def view(self, num_rows: int, num_context_tokens: int, num_reply_tokens: int) -> State:
        """The first rows, cut to so many tokens or a few more. Writing to it writes to the slots."""
        shape = (num_rows, _rounded(num_context_tokens), _rounded(num_reply_tokens))
        if shape not in self._views:
            if len(self._views) == MAX_SHAPES:
                self._views.clear()
            self._views[shape] = {name: _cut(name, buffer, *shape) for name, buffer in self._buffers.items()}
        return self._views[shape]

    def keep(self, view: State, after: State) -> None:
        """Takes what a step returned: tensors that it made anew are copied, those that it wrote to are here."""
        for name, tensor in after.items():
            if tensor is not view[name]:
                self._changing.add(name)
                view[name].copy_(tensor)

    def copy(self, copies: Sequence[tuple[int, int]], view: State, same_context: bool = False) -> None:
        """Makes rows the same as others: (place, of place), no place being both. `same_context` says that the two
        have read the same one: what has a dimension S is then left out, unless steps make it anew.

        What is cut off from the view is not copied, except of masks: beyond its own length nobody reads a row.
        """
        if not copies:
            return
        device = next(iter(self._buffers.values())).device
        to_N, of_N = torch.tensor(copies, device=device).unbind(1)
        for name, tensor in view.items():
            dimensions = _dimensions(name)
            if same_context and "S" in dimensions and name not in self._changing:
                continue
            tensor = self._buffers[name] if tensor.dtype == torch.bool else tensor
            tensor.index_copy_(0, to_N, tensor.index_select(0, of_N))

    def _take_memory(self, like: State) -> None:
        for name, tensor in like.items():
            if len(_dimensions(name)) not in (0, tensor.dim()):
                raise ModelError(f"the state's {name} has {tensor.dim()} dimensions; name each by a letter at its end")
            sizes = [
                max(size, self._max_context_tokens) if letter == "S" else size
                for size, letter in zip(tensor.shape[1:], _dimensions(name)[1:].ljust(tensor.dim() - 1), strict=True)
            ]
            self._buffers[name] = torch.zeros(self.num_slots, *sizes, dtype=tensor.dtype, device=tensor.device)


def _dimensions(name: str) -> str:
    """A letter for each dimension; empty for a name that does not tell."""
    found = _DIMENSIONS.search(name)
    return found[1] if found else ""


def _rounded(number: int) -> int:
    return -(-number // ROUNDED_TO) * ROUNDED_TO


def _cut(name: str, buffer: Tensor, num_rows: int, num_context_tokens: int, num_reply_tokens: int) -> Tensor:
    tensor = buffer[:num_rows]
    for dimension, letter in enumerate(_dimensions(name)):
        if letter in "ST":
            longest = num_context_tokens if letter == "S" else num_reply_tokens
            tensor = tensor.narrow(dimension, 0, min(longest, buffer.shape[dimension]))
    return tensor
