"""A Transformer in, two ONNX graphs out: one that reads contexts, one that says the next token.

    context.onnx    context_ids_BS, padded with 0 at the end  ->  the decoder's state, tensor by tensor
    step.onnx       ids_B, 1 first, and the state  ->  logits_BV, and the tensors of the state that have changed

What changes is an output of its own name with `next_` before it, to be fed in again. The B is free in all of them, and
the S of `context_ids_BS`. Names and sizes stand in `model.json`.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from rejoinder.checkpoints import Trained
from rejoinder.errors import ModelError
from rejoinder.exporters import require_packages
from rejoinder.models import Seq2Seq
from rejoinder.models.transformer import Transformer
from rejoinder.recipe import PluginSettings
from rejoinder.text import END_ID, NUM_CONTROL_IDS, PAD_ID, START_ID

CONTEXT, STEP, DESCRIPTION = "context.onnx", "step.onnx", "model.json"
OPSET = 20


class Settings(PluginSettings):
    name: Literal["onnx"] = "onnx"


class _Context(nn.Module):
    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def forward(self, context_ids_BS: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.start(context_ids_BS, context_ids_BS == PAD_ID).values())


class _Step(nn.Module):
    def __init__(self, model: Seq2Seq, names: list[str], changing: list[str]) -> None:
        super().__init__()
        self.model, self._names, self._changing = model, names, changing

    def forward(self, ids_B: Tensor, state: list[Tensor]) -> tuple[Tensor, ...]:
        given = {name: tensor.clone() for name, tensor in zip(self._names, state, strict=True)}
        logits_BV, after = self.model.step(ids_B, given)
        ids_V = torch.arange(logits_BV.shape[1])
        never_said_V = (ids_V < NUM_CONTROL_IDS) & (ids_V != END_ID)
        return logits_BV.masked_fill(never_said_V, -torch.inf), *(after[name] for name in self._changing)


def write(trained: Trained, directory: Path) -> None:
    """context.onnx, step.onnx and model.json."""
    if not isinstance(trained.model, Transformer):
        raise ModelError(
            f"model = {trained.recipe.model.name}: only Transformers are exported to ONNX, whose graphs have no rows "
            "of different lengths for recurrent layers; serve it with jobs/deploy.py"
        )
    require_packages("onnx", "onnxscript")
    model = copy.deepcopy(trained.model).cpu().float().eval()
    ids_BS = torch.full((2, 3), NUM_CONTROL_IDS)  # two of what may vary: torch takes a 1 for a constant
    with torch.no_grad():
        state = model.start(ids_BS, ids_BS == PAD_ID)
    names = list(state)
    changing = [name for name in names if name.rpartition("_")[2] == "B" or "T" in name.rpartition("_")[2]]
    B, S = torch.export.Dim("B"), torch.export.Dim("S", max=model.max_context_tokens)
    _export(_Context(model), (ids_BS,), ["context_ids_BS"], names, ({0: B, 1: S},), directory / CONTEXT)
    _export(
        _Step(model, names, changing), (ids_BS[:, 0].contiguous(), list(state.values())), ["ids_B", *names],
        ["logits_BV", *(f"next_{name}" for name in changing)], ({0: B}, [{0: B} for _ in names]), directory / STEP,
    )  # fmt: skip
    described = {
        "num_ids": model.num_ids, "max_context_tokens": model.max_context_tokens,
        "max_reply_tokens": model.max_reply_tokens, "pad_id": PAD_ID, "start_id": START_ID, "end_id": END_ID,
        "num_control_ids": NUM_CONTROL_IDS, "state": names, "changing": changing,
    }  # fmt: skip
    (directory / DESCRIPTION).write_text(json.dumps(described, indent=1), encoding="utf-8")


def _export(
    module: nn.Module, examples: tuple[object, ...], inputs: list[str], outputs: list[str],
    dynamic: tuple[object, ...], file: Path,
) -> None:  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own insides
        torch.onnx.export(
            module.eval(), examples, str(file), input_names=inputs, output_names=outputs, dynamic_shapes=dynamic,
            opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
