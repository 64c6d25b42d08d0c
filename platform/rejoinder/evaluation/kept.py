"""A checkpoint in, its evaluation out: made, or found in the files beside the checkpoint. Two in: their comparison.

CHECKPOINT-evaluation-SPLIT.json         what was measured, and the key that says of what
CHECKPOINT-evaluation-SPLIT-KEY.npz      what was counted of each exchange
CHECKPOINT-evaluation-SPLIT.html         the report
CHECKPOINT-against-OTHER-SPLIT.html      the report of a comparison, and its figures as JSON
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from rejoinder import checkpoints
from rejoinder.errors import EvaluationError
from rejoinder.evaluation.bootstrap import Paired
from rejoinder.evaluation.evaluate import evaluate, sections_of_two
from rejoinder.evaluation.per_exchange import PerExchange, comparisons
from rejoinder.evaluation.report import Measurement, render, render_comparison
from rejoinder.evaluation.results import FORMAT, SHOWN, Evaluation
from rejoinder.recipe import Recipe
from rejoinder.shards import fetched, read_manifest, translated
from rejoinder.storage import Folder, Storage, sha256_of
from rejoinder.text import Tokenizer


class Kept(NamedTuple):
    """An evaluation and where it is."""

    evaluation: Evaluation
    per_exchange: PerExchange
    folder: Folder
    stem: str
    """What its files' names begin with."""
    reused: bool
    is_translated: bool = False
    """Whether the model knows other ids than the prepared set, and was measured on the same exchanges in its own."""

    @property
    def file(self) -> str:
        """The figures."""
        return f"{self.folder}/{self.stem}.json"

    @property
    def page(self) -> str:
        """The report."""
        return f"{self.folder}/{self.stem}.html"


class Compared(NamedTuple):
    """How two checkpoints differ, the first minus the second."""

    differences: dict[str, Paired]
    page: str

    def lines(self) -> list[str]:
        """The figures that most are asked for, for a terminal."""
        shown = {name: self.differences[name] for name in SHOWN if name in self.differences}
        width = max((len(SHOWN[name]) for name in shown), default=0)
        return [
            f"{SHOWN[name]:{width}}  {of.difference:+9.3g}   {of.low:+.3g} to {of.high:+.3g}   p = {of.p:.3f}"
            for name, of in shown.items()
        ]


def evaluated(recipe: Recipe, checkpoint: Path, shards: Path | Folder, split: str, name: str | None = None) -> Kept:
    """The evaluation of this checkpoint on this split as this recipe wants it; `name` is what the report calls it."""
    given = shards if isinstance(shards, Folder) else Folder(shards)
    prepared = in_ids_of(checkpoint, given, split)
    is_translated = prepared is not given
    folder, stem = Storage(recipe).holding(checkpoint.parent), f"{checkpoint.name}-evaluation-{split}"
    key = _key(recipe, checkpoint, prepared, split)
    counted = f"{stem}-{hashlib.sha256(key.encode()).hexdigest()[:8]}.npz"
    evaluation = Evaluation.from_json(folder.read_text(f"{stem}.json"), key)
    if evaluation is not None and folder.has(counted):
        try:
            return Kept(evaluation, PerExchange.load(folder.path(counted)), folder, stem, True, is_translated)
        except EvaluationError:  # damaged, so it is made again
            pass
    evaluation, per_exchange = evaluate(recipe, checkpoint, prepared, split)
    with folder.written(counted) as file:
        per_exchange.save(file)
    folder.write_text(f"{stem}.html", render(Measurement(name or name_of(checkpoint), evaluation), _about(recipe)))
    folder.write_text(f"{stem}.json", evaluation.to_json(key))  # last: it vouches for the others
    return Kept(evaluation, per_exchange, folder, stem, False, is_translated)


def compared(
    recipe: Recipe, of: Path, against: Path, shards: Path | Folder, split: str, names: tuple[str, str]
) -> Compared:
    """The differences between two checkpoints, with a report that shows their replies side by side."""
    first, second = (
        evaluated(recipe, checkpoint, shards, split, name)
        for checkpoint, name in zip((of, against), names, strict=True)
    )
    settings = recipe.evaluation
    differences = comparisons(
        first.per_exchange, second.per_exchange, None, settings.num_resamples, recipe.training.seed
    )
    sections = sections_of_two(recipe, of, against, shards, split)
    stem = f"{of.name}-against-{sha256_of(against / checkpoints.MANIFEST)[:8]}-{split}"
    both = Measurement(names[0], first.evaluation), Measurement(names[1], second.evaluation)
    first.folder.write_text(f"{stem}.html", render_comparison(*both, differences, _about(recipe), sections))
    plain = {name: {field: _plain(value) for field, value in of._asdict().items()} for name, of in differences.items()}
    first.folder.write_text(f"{stem}.json", json.dumps({"of": names[0], "against": names[1], "split": split} | plain))
    return Compared(differences, f"{first.folder}/{stem}.html")


def in_ids_of(checkpoint: Path, prepared: Folder, split: str) -> Folder:
    """The prepared set itself, or this split's exchanges in the ids that the checkpoint's model knows."""
    checkpoints.verify(checkpoint)
    tokenizer = Tokenizer.load(checkpoint / checkpoints.TOKENIZER)
    if tokenizer.sha256 == read_manifest(prepared, [split]).tokenizer_sha256:
        return prepared
    return translated(prepared, split, tokenizer, checkpoints.read_recipe(checkpoint).text)


def _key(recipe: Recipe, checkpoint: Path, prepared: Folder, split: str) -> str:
    """Changes with everything that an evaluation depends on."""
    manifest = read_manifest(fetched(prepared, [split]), [split])
    weights = sha256_of(checkpoint / checkpoints.MANIFEST)
    return f"{FORMAT} {manifest.fingerprint} {recipe.fingerprint('evaluation', 'decoding')} {weights}"


def name_of(checkpoint: Path) -> str:
    """The run and the step, of a checkpoint that has no other name."""
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return f"{run.name}/{checkpoint.name}"


def _about(recipe: Recipe) -> dict[str, Any]:
    """The settings that the figures depend on."""
    return recipe.model_dump(mode="json", include={"name", "evaluation", "decoding"})


def _plain(value: float) -> float | None:
    return value if value == value else None
