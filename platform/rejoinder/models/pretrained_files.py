"""The directory of a Hugging Face checkpoint in; its architecture out, or one sentence that says what is wrong with it.

Nothing is downloaded, no pickle is opened and no code of a checkpoint is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

SEQ2SEQ = {
    "t5": ("q", "v"),
    "mt5": ("q", "v"),
    "bart": ("q_proj", "v_proj"),
    "mbart": ("q_proj", "v_proj"),
    "blenderbot": ("q_proj", "v_proj"),
    "blenderbot-small": ("q_proj", "v_proj"),
    "pegasus": ("q_proj", "v_proj"),
}
"""`model_type` of the sequence-to-sequence models that are known to work here; what LoRA adapts in each by default."""
ENCODERS = ("bert", "roberta", "xlm-roberta")
"""`model_type` of the encoders that both halves of a model can start from."""
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
NUM_PIECES, PIECE_BYTES = 16, 65_536
_EMBEDDINGS = ("shared.weight", "model.shared.weight")
_OUTPUT = "lm_head.weight"


def require_packages(*packages: str) -> None:
    """Raises ValueError when the extra is not installed. Looks, and imports nothing: that would take seconds."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"needs the package {' and '.join(missing)}; pip install '.[pretrained]' in the checkout")


def read_architecture(path: str) -> tuple[dict[str, Any], bool]:
    """(config.json, whether the output layer is the embedding). Raises ValueError with the way out."""
    directory = Path(path)
    if not directory.is_dir():
        raise ValueError(
            f"path = {path}: no such directory; give one with {CONFIG} and {WEIGHTS}. Nothing is downloaded here: "
            "`hf download NAME --local-dir DIRECTORY` does it"
        )
    config = _read_json(directory / CONFIG)
    if config is None:
        raise ValueError(f"path = {path}: the directory has no {CONFIG} that can be read; is it a checkpoint?")
    kind = config.get("model_type")
    if kind not in SEQ2SEQ and kind not in ENCODERS:
        raise ValueError(
            f"path = {path}: the architecture {kind!r} is not supported; sequence-to-sequence models: "
            f"{', '.join(SEQ2SEQ)}; encoders to start from: {', '.join(ENCODERS)}"
        )
    if not (directory / WEIGHTS).is_file() and not (directory / INDEX).is_file():
        raise ValueError(
            f"path = {path}: the directory has no {WEIGHTS}; pickled weights are not read, save the model again with "
            "save_pretrained of the package transformers"
        )
    generation = _read_json(directory / "generation_config.json") or {}
    known = {key: value for key, value in generation.items() if key.endswith("_token_id")}
    return known | {key: value for key, value in config.items() if value is not None}, _is_tied(directory, config)


def start_and_end(path: str, config: dict[str, Any]) -> tuple[int | None, int | None]:
    """Ids that the checkpoint begins and ends a text with; an encoder's are those of its tokenizer."""
    if config["model_type"] in ENCODERS:
        return _id_of(path, "cls_token"), _id_of(path, "sep_token")
    start = config.get("decoder_start_token_id", config.get("bos_token_id"))
    if start is None:
        start = config.get("pad_token_id", 0)  # T5's, whose configuration need not say so
    end = config.get("eos_token_id", 1 if "t5" in config["model_type"] else 2)
    return start, end[0] if isinstance(end, list) else end


def max_positions(config: dict[str, Any]) -> int | None:
    """The longest text in tokens, where the architecture has one."""
    longest, kind = config.get("max_position_embeddings"), config["model_type"]
    if longest is None or "t5" in kind:
        return None
    return int(longest) - (2 if "roberta" in kind else 0)  # RoBERTa's first two stand for padding


def weights_fingerprint(path: str) -> str:
    """16 hexadecimal digits of the weights' sizes and of some pieces of them: a whole hash would take long."""
    digest = hashlib.sha256()
    for file in sorted(Path(path).glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as stream:
            for piece in range(NUM_PIECES):
                stream.seek(size * piece // NUM_PIECES)
                digest.update(stream.read(PIECE_BYTES))
    return digest.hexdigest()[:16]


def _id_of(path: str, name: str) -> int | None:
    """The id of a special token such as [CLS]."""
    token = (_read_json(Path(path) / "tokenizer_config.json") or {}).get(name)
    token = token.get("content") if isinstance(token, dict) else token
    added = (_read_json(Path(path) / "tokenizer.json") or {}).get("added_tokens", [])
    return next((one["id"] for one in added if one["content"] == token), None)


def _is_tied(directory: Path, config: dict[str, Any]) -> bool:
    """T5 v1.1 has an output layer of its own, whatever its configuration says; old files hold the same one twice."""
    if config["model_type"] in ENCODERS:
        return True
    index = _read_json(directory / INDEX)
    if index is not None:
        files = {name: directory / file for name, file in index["weight_map"].items()}
    else:
        with safe_open(directory / WEIGHTS, "pt") as file:
            files = dict.fromkeys(file.keys(), directory / WEIGHTS)
    embedding = next((name for name in _EMBEDDINGS if name in files), None)
    if _OUTPUT not in files or embedding is None:
        return True
    tensors = []
    for name in (embedding, _OUTPUT):
        with safe_open(files[name], "pt") as file:
            tensors.append(file.get_tensor(name))
    return torch.equal(*tensors)


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
