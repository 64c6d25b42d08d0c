"""What does not fit is refused with the recipe, before anything has started: by its path, its value and the way out."""

from __future__ import annotations

from typing import Any

import pytest

from rejoinder.errors import RecipeError
from rejoinder.recipe import override, validate


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("{name: transformer, width: 30, num_heads: 4}", "num_heads = 4 must divide width = 30"),
        ("{name: recurrent, attention: multi_head, width: 16, num_heads: 5}", "num_heads = 5 must divide width = 16"),
        ("{name: gru_attention, width: 15}", "width = 15 must be even; try 16"),
        ("{name: hierarchical, width: 15}", "width = 15 must be even; try 16"),
        ("{name: transformer, positions: alibi}", "'rotary', 'learned' or 'sinusoidal'"),
        ("{name: transformer, activation: swish}", "'swiglu'"),
        ("{name: convolutional, activation: swiglu}", "'glu'"),
        ("{name: transformer, norm_position: both}", "'pre' or 'post'"),
        ("{name: transformer, layer_drop: 1}", "less than 1"),
        ("{name: transformer, initialisation: zeros}", "'default', 'xavier', 'kaiming' or 'normal'"),
        ("{name: transformer, initialisation_std: 0.1}", "only read with initialisation = normal, not default"),
        ("{name: recurrent, activation: relu}", "activation = relu is for cell = rnn, not lstm"),
        ("{name: recurrent, input_feeding: true, variational_dropout: true}", "give up either"),
    ],
)
def test_a_contradiction_is_refused_with_the_recipe(tree: dict[str, Any], model: str, complaint: str) -> None:
    with pytest.raises(RecipeError) as refused:
        validate(override(tree, [f"model={model}"]))
    assert complaint in str(refused.value)
    assert "model" in str(refused.value)


def test_positions_are_as_many_as_the_texts_longest(tree: dict[str, Any]) -> None:
    """Learned positions cannot be too few: there is no setting of how many there are but the text's own."""
    from rejoinder.models import build_model

    words = ["model={name: transformer, width: 16, positions: learned}", "text.max_context_tokens=77"]
    recipe = validate(override(tree, words))
    model = build_model(recipe, 40)
    assert model.get_parameter("context_positions.weight").shape[0] == 77
    assert model.get_parameter("reply_positions.weight").shape[0] == recipe.text.max_reply_tokens
