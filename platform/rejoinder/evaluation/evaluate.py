"""A checkpoint and a split in, figures, slices and samples out, measured by Ray tasks that share the split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from rejoinder import checkpoints, cluster
from rejoinder.errors import EvaluationError
from rejoinder.evaluation import extra_sections, metrics
from rejoinder.evaluation.answers import answers, context_of, drawn, with_turn_breaks
from rejoinder.evaluation.bootstrap import Bootstrap, Estimate, Statistics, join, take
from rejoinder.evaluation.measure import measure_each
from rejoinder.evaluation.metrics.base import words
from rejoinder.evaluation.per_exchange import PerExchange
from rejoinder.evaluation.results import Evaluation, Sample, Section, Slice
from rejoinder.evaluation.slices import slicings
from rejoinder.evaluation.speed import measure_speed
from rejoinder.models.products import quick_products
from rejoinder.recipe import Recipe
from rejoinder.shards import Manifest, ShardSet, fetched
from rejoinder.storage import Folder, Storage

NUM_SAID_MOST = 10
MIN_EXCHANGES = 32
"""Of a part: starting a task costs more than measuring fewer."""


@dataclass(frozen=True)
class _Source:
    """What a task opens: a checkpoint and a split."""

    recipe: Recipe
    checkpoint: Folder
    shards: Folder
    split: str

    def open(self) -> tuple[checkpoints.Trained, ShardSet]:
        torch.set_num_threads(1)
        # Asked of Ray: a task that was given none sees every GPU of its machine.
        device = "cuda" if ray.get_gpu_ids() else "cpu"
        trained = checkpoints.load(checkpoints.fetched(self.checkpoint), device)
        return trained, ShardSet(fetched(self.shards, [self.split]), self.split)


@dataclass(frozen=True)
class _Part:
    """What one task measured."""

    numbers: np.ndarray[Any, Any]
    nats: np.ndarray[Any, Any]
    replies: list[str]
    statistics: dict[str, Statistics]
    human: dict[str, Statistics]
    """The same of the persons' replies, where they need no others."""


def require(recipe: Recipe, manifest: Manifest, split: str) -> None:
    """Raises EvaluationError, with all there is to say, for an empty split or metrics that cannot be computed here."""
    problems = list(metrics.problems(recipe.evaluation.metrics))
    if manifest.total(split, "num_exchanges") == 0:
        problems.insert(0, f"the {split} split is empty; set data.{split}_fraction above 0 and prepare again")
    if problems:
        raise EvaluationError("\n".join(problems))


def evaluate(recipe: Recipe, checkpoint: Path, shards: Path | Folder, split: str) -> tuple[Evaluation, PerExchange]:
    """The loss of the whole split, replies to `evaluation.max_replies` of it, and every figure that the recipe names.

    Raises EvaluationError for an empty split or a metric that cannot be computed, CheckpointError for a damaged
    checkpoint, RecipeError for a `decoding` that is not for its model; all before any task starts.
    """
    source, shard_set = _opened(recipe, checkpoint, shards, split)
    settings = recipe.evaluation
    conversations = [shard_set.conversation_id(number) for number in range(len(shard_set))]
    num = None if settings.max_replies is None else max(settings.max_replies, settings.num_samples)
    order = drawn(conversations, num)
    by_length = sorted(order, key=lambda number: (int(shard_set.context_lengths[number]), number))
    with cluster.connect(recipe):
        task, num_devices = _on_one_device(recipe)
        num_parts = min(num_devices, -(-len(shard_set) // MIN_EXCHANGES))
        shares = [by_length[part::num_parts] for part in range(num_parts)]
        parts = [task(_measure_part).remote(source, share, part, num_parts) for part, share in enumerate(shares)]
        extra = [task(_section).remote(source, make) for make in extra_sections.OF_ONE]
        measured: list[_Part] = cluster.results(parts)
        sections = [section for section in cluster.results(extra) if section is not None]
        timed = order[: settings.num_timed_replies]
        (speed,) = cluster.results([task(_speed).remote(source, timed)])  # by itself, when all else is done

    replied, replies = _in_order(shares, [part.replies for part in measured])
    of_replies = _joined(shares, [part.statistics for part in measured])
    of_humans = _joined(shares, [part.human for part in measured])
    of_loss, replying = metrics.with_loss(settings.metrics)
    _, conversations_N = np.unique(conversations, return_inverse=True)
    per_exchange = PerExchange(
        shard_set.manifest.fingerprint, split, conversations_N, replied,
        metrics.statistics(of_loss, metrics.Answers(losses_N3=_losses(shard_set, measured))) | of_replies,
        metrics.signatures(replying), slicings(shard_set), shard_set.manifest.tokenizer_sha256,
    )  # fmt: skip
    figures, slices = _figures(recipe, per_exchange)
    human = replace(per_exchange, statistics=of_humans, slicings=[])
    evaluation = Evaluation(
        split,
        len(shard_set),
        {f"{split}_{name}": of.value for name, of in (figures | speed).items() if math.isfinite(of.value)}
        | {f"{split}_{name}": value for of in sections for name, value in (of.metrics or {}).items()},
        _samples(shard_set, order[: settings.num_samples], dict(zip(replied.tolist(), replies, strict=True))),
        len(replied),
        figures,
        _figures(recipe, human)[0],
        slices,
        speed,
        per_exchange.signatures,
        _lengths(shard_set, replied, replies),
        Counter(replies).most_common(NUM_SAID_MOST),
        sections,
    )
    return evaluation, per_exchange


def sections_of_two(recipe: Recipe, first: Path, second: Path, shards: Path | Folder, split: str) -> list[Section]:
    """What a comparison's report shows besides figures."""
    source, _ = _opened(recipe, first, shards, split)
    other, _ = _opened(recipe, second, shards, split)
    with cluster.connect(recipe):
        task, _ = _on_one_device(recipe)
        found = cluster.results([task(_section_of_two).remote(source, other, make) for make in extra_sections.OF_TWO])
    return [section for section in found if section is not None]


def _opened(recipe: Recipe, checkpoint: Path, shards: Path | Folder, split: str) -> tuple[_Source, ShardSet]:
    prepared = shards if isinstance(shards, Folder) else Folder(shards)
    shard_set = ShardSet(fetched(prepared, [split]), split)
    require(recipe, shard_set.manifest, split)
    checkpoints.verify(checkpoint)
    checkpoints.require_decoding(checkpoint, recipe.decoding)
    shared = Storage(recipe).holding(checkpoint)
    if not shared.has(checkpoints.MANIFEST):  # a version from the registry, which other nodes have not downloaded
        shared.publish("", last=checkpoints.MANIFEST)
    return _Source(recipe, shared, prepared, split), shard_set


def _on_one_device(recipe: Recipe) -> tuple[Any, int]:
    """What makes a task of a function, on a core or a GPU of its own; and how many of these there are."""
    num_gpus = int(ray.cluster_resources().get("GPU", 0)) if recipe.scaling.gpus_per_worker else 0
    options = {"num_gpus": 1} if num_gpus else {"num_cpus": 1}
    return lambda function: ray.remote(function).options(**options), num_gpus or max(1, cluster.num_cpus())


def _measure_part(source: _Source, replied: Sequence[int], part: int, num_parts: int) -> _Part:
    """The Ray task: every `num_parts`-th exchange of each batch, and replies to these."""
    trained, shard_set = source.open()
    with quick_products():
        batches = list(measure_each(trained.model, shard_set, source.recipe.evaluation.batch_tokens, part, num_parts))
    numbers = np.concatenate([rows for rows, _ in batches]) if batches else np.zeros(0, np.int64)
    nats = np.concatenate([nats for _, nats in batches]) if batches else np.zeros(0)
    model = answers(source.recipe, trained, shard_set, replied)
    human = _human(shard_set, replied)
    _, replying = metrics.with_loss(source.recipe.evaluation.metrics)
    alone = [of for of in replying if any(figure.is_alone for figure in metrics.figures_of(of).values())]
    of_humans = metrics.statistics(alone, metrics.Answers(human, human))
    return _Part(
        numbers,
        nats,
        model,
        metrics.statistics(replying, metrics.Answers(human, model)),
        {name: of for name, of in of_humans.items() if metrics.FIGURES[name].is_alone},
    )


def _section(source: _Source, make: Any) -> Section | None:
    found: Section | None = make(source.recipe, *source.open())
    return found


def _section_of_two(source: _Source, other: _Source, make: Any) -> Section | None:
    (trained, shard_set), (second, _) = source.open(), other.open()
    found: Section | None = make(source.recipe, trained, second, shard_set)
    return found


def _speed(source: _Source, numbers: Sequence[int]) -> dict[str, Estimate]:
    trained, shard_set = source.open()
    return measure_speed(source.recipe, trained, shard_set, numbers)


def _human(shard_set: ShardSet, numbers: Sequence[int]) -> list[str]:
    """What was replied, as far as it is learnt from."""
    if not numbers:
        return []
    tokenizer = shard_set.tokenizer()
    return [tokenizer.to_text(ids.tolist()) for ids in shard_set.rows(np.array(numbers)).reply_ids]


def _losses(shard_set: ShardSet, measured: list[_Part]) -> np.ndarray[Any, Any]:
    """(N, 3): nats, tokens and bytes of each exchange's reply."""
    losses_N3 = np.zeros((len(shard_set), 3))
    for part in measured:
        losses_N3[part.numbers, 0] = part.nats
    losses_N3[:, 1], losses_N3[:, 2] = shard_set.reply_lengths, shard_set.reply_num_bytes
    return losses_N3


def _in_order(shares: list[list[int]], replies: list[list[str]]) -> tuple[np.ndarray[Any, Any], list[str]]:
    """The numbers of all parts, rising, and what was replied to each."""
    pairs = sorted(pair for share, of in zip(shares, replies, strict=True) for pair in zip(share, of, strict=True))
    return np.array([number for number, _ in pairs], np.int64), [reply for _, reply in pairs]


def _joined(shares: list[list[int]], parts: list[dict[str, Statistics]]) -> dict[str, Statistics]:
    """The parts' statistics as one, in the order of the exchanges' numbers."""
    order = np.argsort(np.array([number for share in shares for number in share], np.int64))
    return {name: take(join([part[name] for part in parts]), order) for name in parts[0]}


def _figures(recipe: Recipe, of: PerExchange) -> tuple[dict[str, Estimate], list[Slice]]:
    """Every figure, and those of every slice that has any exchange."""
    settings, seed = recipe.evaluation, recipe.training.seed
    draws = dict[int, Bootstrap]()
    found, in_slices = dict[str, Estimate](), dict[tuple[str, str], dict[str, Estimate]]()
    for name, statistics in of.statistics.items():
        rows, figure = of.rows_of(name), metrics.FIGURES[name]
        bootstrap = draws.setdefault(len(rows), of.bootstrap_of(name, settings.num_resamples, seed))

        def estimate(chosen: Any = None, of: Any = (bootstrap, statistics, figure)) -> Estimate:
            bootstrap, statistics, figure = of
            return _within(bootstrap.estimate(statistics, figure.of, chosen), figure)

        found[name] = estimate()
        for slicing in of.slicings:
            for place, part in enumerate(slicing.names):
                chosen = slicing.slice_N[rows] == place
                if chosen.any():
                    in_slices.setdefault((slicing.kind, part), {})[name] = estimate(chosen)
    return found, [
        Slice(
            slicing.kind,
            part,
            int((slicing.slice_N == place).sum()),
            int((slicing.slice_N[of.replied_M] == place).sum()),
            in_slices[slicing.kind, part],
        )
        for slicing in of.slicings
        for place, part in enumerate(slicing.names)
        if (slicing.kind, part) in in_slices
    ]


def _within(estimate: Estimate, figure: metrics.Figure) -> Estimate:
    """An interval does not reach where the figure cannot be."""
    return Estimate(estimate.value, *(min(max(end, figure.low), figure.high) for end in estimate[1:]))


def _samples(shard_set: ShardSet, numbers: Sequence[int], replies: dict[int, str]) -> list[Sample]:
    tokenizer = shard_set.tokenizer()
    humans = _human(shard_set, numbers)
    return [
        Sample(with_turn_breaks(context_of(shard_set, number), tokenizer), human, replies[number])
        for number, human in zip(numbers, humans, strict=True)
    ]


def _lengths(shard_set: ShardSet, replied: Any, replies: list[str]) -> dict[str, list[int]]:
    def counts(texts: list[str]) -> list[int]:
        return list(np.bincount([len(words(text)) for text in texts]).tolist()) if texts else []

    return {"human": counts(_human(shard_set, replied.tolist())), "model": counts(replies)}
