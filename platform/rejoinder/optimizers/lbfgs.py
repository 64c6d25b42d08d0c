"""L-BFGS: the curvature is guessed from the last gradients' differences (Liu and Nocedal 1989; Wolfe line search as in
Nocedal and Wright 2006). It asks for the loss again and again: `NEEDS_CLOSURE`.

For data that is small enough for large batches: differences of gradients of different batches are mostly noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rejoinder.optimizers.groups import Decay, split_by_decay
from rejoinder.recipe import PluginSettings, Recipe

NEEDS_CLOSURE = True
LISTS, NUMBERS = ("old_dirs", "old_stps", "ro"), ("t", "prev_loss", "n_iter", "func_evals")


class Settings(PluginSettings):
    name: Literal["lbfgs"] = "lbfgs"
    iterations: Annotated[int, Field(gt=0)] = 20
    """Directions that a step goes in, all on its one batch; each costs a forward and a backward pass or more."""
    history: Annotated[int, Field(gt=0)] = 10
    """Pairs of differences that are remembered, and kept in checkpoints; each is twice the size of the weights."""
    line_search: Literal["none", "strong_wolfe"] = "strong_wolfe"
    """How far to go: `none` takes the rate, `strong_wolfe` begins with it and searches until the loss has fallen."""
    weight_decay: Decay = 0.0
    """This share of each matrix is added to its gradient, and its part to the loss (L2); biases, norms and embeddings
    are left alone."""

    def contradictions(self, recipe: Recipe) -> Iterator[str]:
        if recipe.training.precision == "fp16":
            yield (
                "training.precision = fp16 scales the loss, and training.optimizer = lbfgs searches along it as it is; "
                "set training.precision=bf16 or fp32, or take another optimizer"
            )
        if recipe.training.parallel == "fsdp":
            yield (
                "training.parallel = fsdp divides the weights, and training.optimizer = lbfgs cannot go on from a "
                "checkpoint with a share of them; set training.parallel=ddp, or take another optimizer"
            )


def build(settings: Settings, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """The natural rate is 1: begin with `training.learning_rate=1` and the schedule `constant`."""
    return Lbfgs(settings, model, learning_rate)


class Lbfgs(torch.optim.LBFGS):
    """torch's, with weight decay, and with a state of tensors alone, which checkpoints hold without pickle."""

    def __init__(self, settings: Settings, model: nn.Module, learning_rate: float) -> None:
        super().__init__(
            [weight for weight in model.parameters() if weight.requires_grad],  # each costs its size, history times
            lr=learning_rate,
            max_iter=settings.iterations,
            history_size=settings.history,
            line_search_fn="strong_wolfe" if settings.line_search == "strong_wolfe" else None,
        )
        self._decay, (decaying, _) = settings.weight_decay, split_by_decay(model)
        self._decaying = [weight for weight in decaying if weight.requires_grad]

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Several iterations; the loss before the first of them."""

        def decayed() -> Tensor:
            loss = closure().detach()
            for weight in self._decaying if self._decay else ():
                pull = self._decay * weight.detach()
                loss = loss + (weight.detach() * pull).sum() / 2
                weight.grad = pull if weight.grad is None else weight.grad + pull
            return loss

        if not self.param_groups[0]["lr"]:
            return decayed()  # a schedule's last step may be 0, which the line search divides by
        before: Tensor = super().step(decayed)  # type: ignore[no-untyped-call]
        return before

    def state_dict(self) -> dict[str, Any]:
        """As every optimizer's, with tensors where torch keeps lists and numbers."""
        whole = super().state_dict()
        return whole | {"state": {number: _as_tensors(state) for number, state in whole["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` gives. Not through torch's, which would round numbers to the weights' type."""
        super().load_state_dict(state_dict | {"state": {}})
        first: Tensor = self.param_groups[0]["params"][0]
        # torch looks for its weights here, too.
        self._params = self.param_groups[0]["params"]
        for state in state_dict["state"].values():
            self.state[first] = _from_tensors(state, first.device)


def _as_tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    """Without "al", which is overwritten before it is read."""
    tensors = {}
    for key, value in state.items():
        if key in LISTS and value:
            tensors[key] = torch.stack(value)
        elif key not in (*LISTS, "al"):
            tensors[key] = torch.as_tensor(value, dtype=torch.double if isinstance(value, float) else None)
    return tensors


def _from_tensors(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Any]:
    state: dict[str, Any] = {key: value.clone().to(device) for key, value in tensors.items() if key not in NUMBERS}
    state |= {key: tensors[key].item() for key in NUMBERS if key in tensors}
    return state | {key: list(state[key]) if key in state else [] for key in LISTS}
