"""A model and `initialisation` in, its weights drawn anew: what is not an architecture's own, in one place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from rejoinder.models.settings import Seq2SeqSettings
from rejoinder.text import PAD_ID

DEFAULT_STD = 0.02


def initialise(model: nn.Module, settings: Seq2SeqSettings) -> None:
    """Draws every matrix as `settings.initialisation` says, a recurrent cell's gate by gate; nothing for `default`.

    Call it at the end of a model's own initialisation, which is kept where it is not a matter of drawing: biases of
    recurrent cells, which begin by remembering, and norms. `model.embedding` is the table of ids.
    """
    if settings.initialisation == "default":
        return
    std = settings.initialisation_std or DEFAULT_STD
    draws: dict[str, Callable[[Tensor], Tensor]] = {
        "xavier": nn.init.xavier_uniform_,
        "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
        "normal": partial(nn.init.normal_, std=std),
    }
    draw = draws[settings.initialisation]
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    in_tables = {id(table.weight) for table in tables}
    for table in tables:
        # Rows of a table are not summed over, so it has no fan: unit inputs, and unit logits where it is tied.
        nn.init.normal_(table.weight, std=std if settings.initialisation == "normal" else table.embedding_dim**-0.5)
        if table is model.embedding:
            table.weight.data[PAD_ID] = 0.0
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if isinstance(module, nn.RNNBase):
                for gate in weight.data.chunk(weight.shape[0] // module.hidden_size) if weight.dim() == 2 else ():
                    draw(gate)
            elif weight.dim() == 2 and id(weight) not in in_tables:
                draw(weight)
            elif name == "bias":
                nn.init.zeros_(weight)
