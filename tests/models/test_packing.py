"""A packed layer is the layer: exactly, or as exactly as its precision is; each row by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rejoinder.models import native, packing
from rejoinder.models.packing import ACTIVATED, Packed, PackedGru, PackedLinear, Precision

ALL: list[Precision] = ["fp32", "bf16", "int8"]
CLOSE = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.03}
"""Share of the largest output that an output may be away."""


@pytest.fixture(params=["kernels.c", "torch"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """int8 as it is where kernels.c can be compiled, and where it cannot."""
    if request.param == "torch":
        monkeypatch.setattr(packing, "kernels", lambda: None)
    elif native.kernels() is None:
        pytest.skip("kernels.c needs a C compiler and a CPU with AVX-512 VNNI")
    return str(request.param)


def layer_of(num_inputs: int, num_outputs: int, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(num_inputs, num_outputs, bias=bias).requires_grad_(False)


def assert_near(one: Tensor, other: Tensor, share: float) -> None:
    torch.testing.assert_close(one.float(), other, atol=share * float(other.abs().max()), rtol=0)


@pytest.mark.parametrize("precision", ALL)
@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(16, 40), (20, 64), (64, 7), (80, 24), (256, 200)])
def test_it_is_the_layer(kind: str, precision: Precision, num_inputs: int, num_outputs: int) -> None:
    layer = layer_of(num_inputs, num_outputs)
    packed = Packed(layer.weight, layer.bias, precision)
    for num_rows in (1, 2, 3, 9, 70):
        x_BI = torch.randn(num_rows, num_inputs)
        assert_near(packed(x_BI), layer(x_BI), CLOSE[precision])


@pytest.mark.parametrize("precision", ALL)
@pytest.mark.parametrize("name", ACTIVATED)
def test_it_can_have_an_activation(kind: str, precision: Precision, name: str) -> None:
    layer, x_BI = layer_of(32, 48), 3 * torch.randn(5, 32)
    expected_BO = ACTIVATED[name](layer(x_BI))
    for rows in (1, 5):
        made_BO = Packed(layer.weight, layer.bias, precision, name)(x_BI[:rows])
        assert_near(made_BO, expected_BO[:rows], 2 * CLOSE[precision])


@pytest.mark.parametrize("precision", ALL)
def test_it_can_be_added_to_what_is_there(kind: str, precision: Precision) -> None:
    layer, x_BI, sum_BO = layer_of(32, 48), torch.randn(6, 32), torch.randn(6, 48)
    expected_BO = sum_BO + layer(x_BI)
    assert_near(Packed(layer.weight, layer.bias, precision).add_to(sum_BO, x_BI), expected_BO, CLOSE[precision])


@pytest.mark.parametrize("precision", ALL)
def test_a_row_is_the_same_whoever_shares_the_batch(precision: Precision) -> None:
    """To the bit: near ties between tokens fall as they would alone."""
    if precision == "int8" and native.kernels() is None:
        pytest.skip("without kernels.c few rows are computed otherwise than many")
    layer, x_BI = layer_of(256, 100), torch.randn(40, 256)
    x_BI[7] *= 100  # what would coarsen all rows' steps if they had one
    packed = Packed(layer.weight, layer.bias, precision)
    together_BO = packed(x_BI)
    for rows in (slice(0, 1), slice(3, 5), slice(4, 7), slice(7, 8), slice(20, 37)):
        assert torch.equal(packed(x_BI[rows].clone()), together_BO[rows])


def test_int8_is_what_bytes_give() -> None:
    if native.kernels() is None:
        pytest.skip("kernels.c needs a C compiler and a CPU with AVX-512 VNNI")
    layer, x_BI = layer_of(64, 33), torch.randn(5, 64)
    weight_steps_O1 = layer.weight.abs().amax(1, keepdim=True) / 127
    input_steps_B1 = x_BI.abs().amax(1, keepdim=True) / 127
    products_BO = (x_BI / input_steps_B1).round() @ (layer.weight / weight_steps_O1).round().T
    expected_BO = products_BO * input_steps_B1 * weight_steps_O1.T + layer.bias
    torch.testing.assert_close(Packed(layer.weight, layer.bias, "int8")(x_BI), expected_BO, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", ALL)
def test_a_packed_linear_layer_takes_any_leading_dimensions(precision: Precision) -> None:
    layer, x_BTI = layer_of(16, 24, bias=False), torch.randn(2, 3, 16)
    assert_near(PackedLinear(layer, precision)(x_BTI), layer(x_BTI), CLOSE[precision])


@pytest.mark.parametrize("precision", ALL)
def test_a_packed_gru_is_the_gru_token_after_token_and_all_at_once(precision: Precision) -> None:
    torch.manual_seed(0)
    gru = nn.GRU(16, 24, num_layers=2, batch_first=True).requires_grad_(False)
    packed = PackedGru(gru, precision)
    inputs_BTD, hidden_LBD = torch.randn(3, 4, 16), torch.randn(2, 3, 24)
    expected_BTD, last_LBD = gru(inputs_BTD, hidden_LBD)
    assert torch.equal(packed(inputs_BTD, hidden_LBD)[0], expected_BTD)
    for place in range(4):
        outputs_B1D, hidden_LBD = packed(inputs_BTD[:, place : place + 1], hidden_LBD)
        assert_near(outputs_B1D[:, 0], expected_BTD[:, place], 2 * CLOSE[precision])
    assert_near(hidden_LBD, last_LBD, 2 * CLOSE[precision])


def test_without_a_compiler_there_are_no_kernels_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert native.kernels.__wrapped__() is None
    assert "kernels.c could not be compiled" in caplog.text
