"""A trained model and a precision in, the same model made to write replies quickly out. See docs/serving.md, Speed."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn

from rejoinder.errors import ModelError
from rejoinder.models.base import Seq2Seq
from rejoinder.models.packing import PackedGru, PackedLinear, Precision, has_bf16
from rejoinder.models.transformer import Transformer
from rejoinder.models.transformer_inference import FastTransformer

Wanted = Literal["auto", "fp32", "bf16", "int8"]


def prepared_for_inference(model: Seq2Seq, precision: Wanted = "auto") -> Seq2Seq:
    """A copy that keeps the protocol, `hidden` included, and cannot be trained or saved.

    On a CPU: weights packed once, and a Transformer's step in few operations. `auto` is bf16 where the CPU multiplies
    it and fp32 elsewhere; `int8` rounds weights (see `packing`). On a GPU: bf16, or fp32 as it is.
    Raises ModelError for int8 on a GPU.
    """
    device = next(model.parameters()).device
    if device.type != "cpu":
        return _for_gpu(model, precision, device)
    chosen = resolved(precision)
    model = copy.deepcopy(model).eval().requires_grad_(False)
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return model
    if isinstance(model, Transformer):
        return FastTransformer(model, chosen)
    pack(model, chosen)
    return model


def resolved(precision: Wanted) -> Precision:
    """What `auto` is on this CPU."""
    if precision != "auto":
        return precision
    return "bf16" if has_bf16() else "fp32"


def pack(model: nn.Module, precision: Precision) -> None:
    """Puts packed layers in the place of all linear ones, and of a decoder's GRU."""
    for parent in list(model.modules()):
        if callable(fold := getattr(parent, "fold", None)):
            fold()
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear(child, precision))
            elif isinstance(child, nn.GRU) and name == "decoder":
                setattr(parent, name, PackedGru(child, precision))


def _for_gpu(model: Seq2Seq, precision: Wanted, device: torch.device) -> Seq2Seq:
    if precision == "int8":
        raise ModelError(f"precision = int8 is for CPUs, and the model stands on {device}; choose bf16 or auto")
    has_native_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "fp32" or (precision == "auto" and not has_native_bf16):
        return model
    return copy.deepcopy(model).bfloat16()
