"""What fresh weights are drawn from, in every architecture that can be told."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rejoinder import catalog
from rejoinder.models import Seq2Seq
from rejoinder.models.settings import Seq2SeqSettings
from rejoinder.text import PAD_ID

WIDTH = 64
OURS = [
    name
    for name in catalog.names("rejoinder.models")
    if issubclass(catalog.pick("rejoinder.models", name).Settings, Seq2SeqSettings)
]


@pytest.fixture(params=OURS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build(name: str, initialisation: str, **settings: object) -> Seq2Seq:
    plugin = catalog.pick("rejoinder.models", name)
    torch.manual_seed(0)
    model: Seq2Seq = plugin.build(plugin.Settings(width=WIDTH, initialisation=initialisation, **settings), 300, 12, 10)
    return model


def matrices(model: Seq2Seq) -> dict[str, Tensor]:
    """A recurrent cell's gates are cut apart: each is a matrix."""
    found: dict[str, Tensor] = {}
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and "embedding" not in name and "positions" not in name:
            is_cell = "weight_ih" in name or "weight_hh" in name
            num_gates = 3 if is_cell and name.split(".")[0].endswith("coder") and weight.shape[0] % 3 == 0 else 1
            num_gates = 4 if "recurrent" in type(model).__module__ and is_cell else num_gates
            found |= {f"{name} {number}": gate for number, gate in enumerate(weight.detach().chunk(num_gates))}
    return found


def test_xavier_is_bounded_by_both_fans(name: str) -> None:
    for where, matrix in matrices(build(name, "xavier")).items():
        bound = (6 / sum(matrix.shape)) ** 0.5
        assert 0.9 * bound < matrix.abs().max() <= bound, where


def test_kaiming_keeps_what_relu_lets_pass(name: str) -> None:
    for where, matrix in matrices(build(name, "kaiming")).items():
        assert matrix.std().item() == pytest.approx((2 / matrix.shape[1]) ** 0.5, rel=0.1), where


def test_normal_has_the_standard_deviation_it_is_told(name: str) -> None:
    model = build(name, "normal", initialisation_std=0.05)
    for where, matrix in (matrices(model) | {"embedding": model.get_parameter("embedding.weight")[1:]}).items():
        assert matrix.std().item() == pytest.approx(0.05, rel=0.1), where
    assert build(name, "normal").get_parameter("embedding.weight")[1:].std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("initialisation", ["xavier", "kaiming", "normal"])
def test_biases_and_the_paddings_embedding_begin_at_0(name: str, initialisation: str) -> None:
    model = build(name, initialisation)
    assert not model.get_parameter("embedding.weight")[PAD_ID].any()
    for where, weight in model.named_parameters():
        if where.endswith("bias"):
            assert not weight.any(), where


@pytest.mark.parametrize("initialisation", ["xavier", "kaiming", "normal"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_recurrent_cells_still_begin_by_remembering(initialisation: str, cell: str) -> None:
    bias = build("recurrent", initialisation, cell=cell).get_parameter("decoder.bias_ih_l0")
    assert torch.equal(bias[WIDTH : 2 * WIDTH], torch.ones(WIDTH))
    assert bias.sum() == WIDTH


def test_an_output_layer_of_its_own_is_drawn_too() -> None:
    weight = build("transformer", "normal", tied_embeddings=False).output.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_lengths_of_normalised_matrices_are_those_of_what_was_drawn() -> None:
    model = build("convolutional", "normal")
    for name, direction in model.named_parameters():
        if name.endswith("direction"):
            length = model.get_parameter(name.replace("direction", "length"))
            torch.testing.assert_close(length, torch.linalg.vector_norm(direction, dim=1))


def test_a_standard_deviation_that_nothing_reads_is_refused(name: str) -> None:
    settings = catalog.pick("rejoinder.models", name).Settings
    with pytest.raises(ValidationError, match=r"initialisation_std = 0\.1 is only read with initialisation = normal"):
        settings(initialisation="xavier", initialisation_std=0.1)
