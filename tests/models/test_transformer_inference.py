"""kernels.c reads by attention what torch's operations read."""

from __future__ import annotations

import pytest
import torch

from rejoinder.models import native
from rejoinder.models.base import State
from rejoinder.models.layers import rotations
from rejoinder.models.transformer_inference import _NativeReader, _Reader

B, H, K, S, T = 3, 2, 8, 21, 18


def made_state() -> State:
    """Rows at different places; one context of a single token."""
    torch.manual_seed(0)
    num_tokens_B = torch.tensor([1, S, 7])
    state = {"num_read_B": torch.tensor([0, 17, 5]), "context_is_pad_BS": torch.arange(S) >= num_tokens_B[:, None]}
    for name, length in (("context_keys_0_BHSK", S), ("context_values_0_BHSK", S)):
        state[name] = torch.randn(B, H, length, K)
    for name in ("reply_keys_0_BHTK", "reply_values_0_BHTK"):
        state[name] = torch.randn(B + 2, H, T + 3, K)[:B, :, :T]  # a view of slots, as the engine's are
    return state


@pytest.mark.parametrize("turns", [True, False], ids=["rotary", "no positions"])
def test_both_read_the_same_and_keep_the_same(turns: bool) -> None:
    if native.kernels() is None:
        pytest.skip("kernels.c needs a C compiler and a CPU with AVX-512 VNNI")
    rotations_PK = rotations(T, K) if turns else None
    heads_BD, query_BD = 2 * torch.randn(B, 3 * H * K), 2 * torch.randn(B, H * K)
    state, other = made_state(), made_state()
    one, two = _Reader(state, rotations_PK), _NativeReader(other, rotations_PK)
    torch.testing.assert_close(one.reply(0, heads_BD.clone()), two.reply(0, heads_BD.clone()), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.context(0, query_BD), two.context(0, query_BD), atol=1e-4, rtol=1e-4)
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, other[name], atol=1e-6, rtol=1e-6)
