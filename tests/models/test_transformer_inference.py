"""A Transformer prepared for inference says what the trained one says, of contexts of any length."""

from __future__ import annotations

import pytest
import torch

from rejoinder.models import prepared_for_inference
from rejoinder.models.packing import Precision
from rejoinder.models.transformer import Settings, Transformer, build
from rejoinder.text import PAD_ID

CLOSE = {"fp32": 1e-4, "bf16": 0.03, "int8": 0.06}
"""Share of the largest logit that a logit may be away."""


@pytest.fixture(
    params=[
        {"positions": "rotary"},
        {"positions": "learned", "norm_position": "post", "activation": "gelu"},
        {"positions": "sinusoidal", "norm": "rms", "activation": "swiglu"},
    ],
    ids=lambda changes: "-".join(changes.values()),
)
def model(request: pytest.FixtureRequest) -> Transformer:
    torch.manual_seed(0)
    settings = Settings(
        width=32, num_heads=4, num_encoder_layers=2, num_decoder_layers=2, feedforward_width=64, **request.param
    )
    made = build(settings, 100, 12, 8).eval()
    for layer in made.decoder_layers:  # fresh weights hardly look at the context
        layer.cross_attention.out.weight.data *= 30  # type: ignore[operator, union-attr]
    return made


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("length", [1, 5, 12])  # 12 is the longest: its state is not filled up
def test_every_step_is_near_the_trained_models(model: Transformer, precision: Precision, length: int) -> None:
    prepared = prepared_for_inference(model, precision)
    ids_BS = torch.randint(20, 100, (3, length))
    ids_BS[1, 3:] = PAD_ID
    with torch.inference_mode():
        state, fast_state = (one.start(ids_BS, ids_BS == PAD_ID) for one in (model, prepared))
        for _ in range(6):
            ids_B = torch.randint(20, 100, (3,))
            (logits_BV, state), (fast_BV, fast_state) = model.step(ids_B, state), prepared.step(ids_B, fast_state)
            near = CLOSE[precision] * float(logits_BV.abs().max())
            torch.testing.assert_close(fast_BV, logits_BV, atol=near, rtol=0)
