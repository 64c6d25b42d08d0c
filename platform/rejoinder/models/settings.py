"""What several architectures can be told alike: their `Settings` inherit from these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rejoinder.recipe import PluginSettings, Recipe

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Seq2SeqSettings(PluginSettings):
    """How any of our models begins, what its output layer is, and what is hidden from it while it learns."""

    initialisation: Literal["default", "xavier", "kaiming", "normal"] = "default"
    """How fresh matrices are drawn. `default` is each architecture's own: orthogonal recurrences, small residual
    branches, unit variances. `xavier` (Glorot and Bengio 2010) suits tanh, `kaiming` (He et al. 2015) ReLU; `normal`
    draws embeddings too, with initialisation_std, as BERT and GPT do. All but `default` have the padding's embedding
    at 0."""
    initialisation_std: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of `initialisation: normal`; null takes 0.02, too little for narrow recurrences."""
    tied_embeddings: bool = True
    """Whether the output layer is the embedding used again (Press and Wolf 2017); its own costs width weights an id."""
    embedding_dropout: Share | None = None
    """Share of the embeddings' numbers set to 0 while training; null takes `dropout`."""
    word_dropout: Share = 0.0
    """Share of tokens, of contexts and of replies so far, whose whole embedding is 0 while training: a reply must then
    be made from the rest (Bowman et al. 2016)."""
    dropout: Share = 0.0
    """Share of activations set to 0 while training; 0.1 helps when the data is seen many times."""

    @model_validator(mode="after")
    def _std_is_used(self) -> Seq2SeqSettings:
        if self.initialisation_std is not None and self.initialisation != "normal":
            raise ValueError(
                f"initialisation_std = {self.initialisation_std} is only read with initialisation = normal, not "
                f"{self.initialisation}; leave it out, or choose normal"
            )
        return self

    @property
    def share_of_embeddings(self) -> float:
        """The dropout of embeddings."""
        return self.dropout if self.embedding_dropout is None else self.embedding_dropout


class RecurrentSettings(Seq2SeqSettings):
    """What models that read token after token share."""

    variational_dropout: bool = False
    """Whether what dropout sets to 0 is the same at all tokens of a row (Gal and Ghahramani 2016): embeddings, between
    layers, before the output. Recurrent matrices themselves are not dropped: the fused kernels cannot."""


def without_a_look(recipe: Recipe, setting: str, way_out: str = "") -> Iterator[str]:
    """What a recipe cannot ask of a model that, with this setting, does not tell where it looks."""
    if penalty := recipe.decoding.coverage_penalty:
        yield (
            f"decoding.coverage_penalty = {penalty:g} with {setting}: such a model does not tell where it looks in its "
            f"context; set decoding.coverage_penalty=0{way_out}"
        )


def even_width(width: int, way_out: str = "") -> None:
    """Raises ValueError for a width that two directions cannot share."""
    if width % 2:
        raise ValueError(f"width = {width} must be even; try {width + 1}{way_out}")


def heads_divide(width: int, num_heads: int, *, evenly: bool = False) -> None:
    """Raises ValueError for heads that do not divide the width, or, `evenly`, not into heads of even width."""
    unit = 2 if evenly else 1
    if width % (unit * num_heads):
        fitting = [heads for heads in range(1, width + 1) if width % (unit * heads) == 0]
        near = min(fitting, key=lambda heads: abs(heads - num_heads), default=1)
        into = " into heads of even width" if evenly else ""
        raise ValueError(f"num_heads = {num_heads} must divide width = {width}{into}; try {near}")
