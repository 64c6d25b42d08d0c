"""oneDNN's products say what MKL's say, in every layout of a model and its gradient, and only within the block."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rejoinder.models.products import pays_here, quick_products

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN"
)


def is_replaced() -> bool:
    """Whether fp32 products differ from what they were by themselves: in their operator, not in their result."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        torch.ones(128, 128) @ torch.ones(128, 128)
    return any(event.key == "mkldnn::_linear_pointwise" for event in seen.key_averages())


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@needs_onednn
@pytest.mark.parametrize("layout", ["as it is", "left turned", "right turned", "both turned", "cut out"])
def test_every_layout_gives_the_same_product(layout: str) -> None:
    a, b = drawn(130, 90), drawn(90, 110)
    if layout in ("left turned", "both turned"):
        a = drawn(90, 130).t()
    if layout in ("right turned", "both turned"):
        b = drawn(110, 90).t()
    if layout == "cut out":
        a, b = drawn(130, 200)[:, 50:140], drawn(300, 110)[::3][:90]
    right = (a.double() @ b.double()).float()
    with quick_products(True):
        assert torch.allclose(a @ b, right, atol=1e-4)
        assert torch.allclose(torch.addmm(right[0], a, b), right + right[0], atol=1e-4)
        assert torch.allclose(torch.addmm(right, a, b, beta=2, alpha=3), 5 * right, atol=1e-3)


@needs_onednn
def test_a_layers_gradient_is_the_same_and_the_same_each_time() -> None:
    layer, x = nn.Linear(256, 300), drawn(70, 256).requires_grad_()

    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()]))

    by_mkl = gradients()
    with quick_products(True):
        first, again = gradients(), gradients()
    for mine, theirs, repeated in zip(first, by_mkl, again, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-3)
        assert torch.equal(mine, repeated)


@needs_onednn
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_other_numbers_are_multiplied_as_before(dtype: torch.dtype) -> None:
    a, b = (10 * drawn(128, 128)).to(dtype), (10 * drawn(129, 128)).to(dtype).t()
    right = a @ b
    with quick_products(True):
        assert torch.equal(a @ b, right)
        assert (a @ b).dtype is dtype


@needs_onednn
def test_what_has_no_numbers_or_does_not_fit_is_as_before() -> None:
    with quick_products(True):
        assert (torch.ones(0, 5) @ torch.ones(5, 3)).shape == (0, 3)
        assert torch.equal(torch.ones(5, 0) @ torch.ones(0, 3), torch.zeros(5, 3))
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            torch.ones(2_000, 600) @ torch.ones(500, 2_000)


@needs_onednn
def test_it_holds_within_the_block_alone_and_as_long_as_one_of_several_is_open() -> None:
    assert not is_replaced()
    with quick_products(True):
        with quick_products(True):
            assert is_replaced()
        assert is_replaced()
        with quick_products(False):
            assert is_replaced()
    assert not is_replaced()


def test_cpus_that_mkl_knows_are_left_to_it(tmp_path: Path) -> None:
    named = tmp_path / "cpuinfo"
    named.write_text("vendor_id\t: GenuineIntel\n")
    assert not pays_here(named)
    assert not pays_here(tmp_path / "nothing")
