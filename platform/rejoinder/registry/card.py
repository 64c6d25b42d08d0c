"""A checkpoint, its chain and its evaluation in, the model card out: Markdown, for people (Mitchell et al. 2019)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rejoinder import catalog, checkpoints
from rejoinder.errors import RecipeError
from rejoinder.evaluation import Evaluation
from rejoinder.recipe import Recipe
from rejoinder.registry.lineage import Link
from rejoinder.shards import Manifest

MAX_SAMPLES = 3
FIGURES_OF_NOTE = (
    "bits_per_byte", "perplexity", "chrf", "bleu", "word_f1", "rouge_l", "distinct_1", "distinct_2", "repetition",
    "safety", "reply_words",
)  # fmt: skip


def model_card(checkpoint: Path, links: Sequence[Link], manifest: Manifest | None, evaluation: Evaluation) -> str:
    """What a version's users and their lawyers want to know, all of it from what was recorded."""
    recipe, progress = checkpoints.read_recipe(checkpoint), checkpoints.read_progress(checkpoint)
    sections = {
        f"{recipe.registry.model}: {recipe.model.name}, recipe {recipe.name}": _summary(checkpoint, recipe),
        "Data": _data(recipe, manifest),
        "Training": _training(recipe, progress.step),
        f"Figures, {evaluation.split} split": _figures(evaluation),
        "Samples": _samples(evaluation),
        "Limits": _limits(recipe),
        "Making it again": _again(recipe, links),
    }
    lines = []
    for level, (title, text) in enumerate(sections.items()):
        lines += [f"{'##' if level else '#'} {title}", "", *text, ""]
    return "\n".join(lines)


def _summary(checkpoint: Path, recipe: Recipe) -> Iterator[str]:
    yield (
        f"Writes the next reply of a conversation. {_num_weights(checkpoint) / 1e6:,.2f} million weights, trained from "
        f"{'a pretrained model' if recipe.model.name == 'pretrained' else 'scratch'} by Rejoinder. Reads the last "
        f"{recipe.text.max_context_turns} turns (at most {recipe.text.max_context_tokens} tokens), replies with at "
        f"most {recipe.text.max_reply_tokens} tokens."
    )
    yield ""
    yield (
        "Meant for chat of the kind that it was trained on. Not meant for advice on which anything depends, nor for "
        "passing for a person."
    )


def _data(recipe: Recipe, manifest: Manifest | None) -> Iterator[str]:
    files = manifest.corpora if manifest else []
    yield "| corpus | licence, as its authors state it | described in |"
    yield "|---|---|---|"
    for corpus in recipe.data.corpora:
        about = _about(corpus.name)
        if about:
            yield f"| {about[0]} | {about[1]} | {about[2]} |"
        else:
            path = getattr(corpus, "path", None)
            source = f" from {Path(path).name}" if path else ""  # not where it lies: a card is for others
            has_files = "path" in type(corpus).model_fields or any(of.reader == corpus.name for of in files)
            yield (
                f"| your own, read by `{corpus.name}`{source} | yours to know | – |"
                if has_files
                else f"| `{corpus.name}`, which needs no files | – | – |"
            )
    if manifest is None:
        return
    yield ""
    yield f"{manifest.num_conversations:,} conversations of {manifest.num_turns:,} turns."
    for split in manifest.splits:
        yield f"* {split}: {manifest.total(split, 'num_exchanges'):,} exchanges"
    for what, number in manifest.left_out.items():
        if number:
            yield f"* left out: {number:,} {what}"
    for what, number in manifest.left_in.items():
        if number:
            yield f"* found and left in: {number:,} {what}"


def _training(recipe: Recipe, step: int) -> Iterator[str]:
    training = recipe.training
    yield (
        f"{step:,} of {training.num_steps:,} steps of {training.batch_tokens:,} tokens; {training.optimizer.name}, "
        f"rate {training.learning_rate:g} ({training.schedule.name}, {training.warmup_steps} steps of warm-up), "
        f"{training.precision}, seed {training.seed}. The checkpoint with the lowest validation loss."
    )
    yield ""
    settings = json.dumps(recipe.model.model_dump(mode="json"), ensure_ascii=False)
    yield f"Model: `{settings}`."


def _figures(evaluation: Evaluation) -> Iterator[str]:
    yield f"{evaluation.num_exchanges:,} exchanges that were not trained on."
    yield ""
    yield "| figure | value | 95 % interval |"
    yield "|---|---|---|"
    figures = getattr(evaluation, "figures", None) or {}
    names = [name for name in FIGURES_OF_NOTE if name in figures]
    names += [name for name in figures if name not in names]
    shown = set()
    for name in names:
        estimate = figures[name]
        value, low, high = (float("nan") if part is None else float(part) for part in tuple(estimate)[:3])
        interval = f"{low:.4g} to {high:.4g}" if math.isfinite(low) else "–"
        yield f"| {name} | {value:.4g} | {interval} |"
        shown.add(f"{evaluation.split}_{name}")
    for name, value in evaluation.metrics.items():
        if name not in shown:
            yield f"| {name} | {value:.4g} | – |"


def _samples(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.samples:
        yield "None were taken."
    for sample in evaluation.samples[:MAX_SAMPLES]:
        yield "```"
        yield from (f"| {turn}" for turn in sample.context.splitlines())
        yield f"human:  {sample.reply}"
        yield f"model:  {sample.model_reply}"
        yield "```"


def _limits(recipe: Recipe) -> Iterator[str]:
    yield "* It continues conversations as its corpora do: with their language, their manners and their prejudices."
    yield "* It knows nothing for certain. What it says of the world is what was often said, right or wrong."
    yield f"* It forgets what was said more than {recipe.text.max_context_turns} turns ago."
    if not any(step.name == "profanity" for step in recipe.text.filters):
        yield "* Swear words were not left out of what it learnt (`text.filters`)."
    yield "* Intervals: how far other exchanges of the same corpora would move a figure. Other corpora move it further."


def _again(recipe: Recipe, links: Iterable[Link]) -> Iterator[str]:
    yield "    python jobs/models.py reproduce VERSION     # from the corpus files; says whether every hash is the same"
    yield ""
    yield "| link | | sha256 |"
    yield "|---|---|---|"
    for link in links:
        yield f"| {link.what} | {link.name} | {f'`{link.sha256[:16]}`' if link.sha256 else '–'} |"


def _about(reader: str) -> tuple[str, str, str] | None:
    """Title, licence and citation of a public corpus."""
    try:
        about = getattr(catalog.pick("rejoinder.corpora", reader), "ABOUT", None)
    except RecipeError:
        return None
    return (about.title, about.licence, about.citation) if about else None


def _num_weights(checkpoint: Path) -> int:
    """Numbers in the weights file, from its header."""
    with (checkpoint / checkpoints.WEIGHTS).open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
