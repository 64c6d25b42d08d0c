"""The corridor's stages in order: each does its part, or finds it done, and says what it made and where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from rejoinder import catalog, checkpoints, cluster, console, exporters
from rejoinder.corpora import Turn
from rejoinder.dialogue import Responder
from rejoinder.errors import EvaluationError, StorageError
from rejoinder.evaluation import Compared, Evaluation, compared, evaluated, name_of, require
from rejoinder.evaluation.self_chat import SelfChat, self_chat
from rejoinder.recipe import Recipe
from rejoinder.recipe.base import absolute_path
from rejoinder.registry import Registry, Version, tracked_run
from rejoinder.replies import ROWS_PER_PIECE, Replies, counted, reply_to_file
from rejoinder.shards import Prepared, prepare, report_of
from rejoinder.storage import Folder, Storage, write_text_whole
from rejoinder.text import SPLITS
from rejoinder.training import TrainedRun, require_workers, run_fingerprint, train


@dataclass(frozen=True)
class Registered:
    """What the corridor has come to when training, evaluation and registration are done."""

    run: TrainedRun
    evaluation: Evaluation
    version: Version


def prepare_stage(recipe: Recipe, *, check_hashes: bool = False) -> Prepared:
    """Conversations to shards."""
    with console.stage("Prepare: conversations to Arrow shards"):
        prepared = prepare(recipe, check_hashes=check_hashes)
        manifest = prepared.manifest
        console.say(f"   {_state(prepared.reused)} {prepared.folder}")
        console.say(
            f"   {manifest.num_conversations:,} conversations, {manifest.num_turns:,} turns, vocabulary of "
            f"{manifest.vocabulary_size:,} ids"
        )
        for state, found in (("left out", manifest.left_out), ("left in", manifest.left_in)):
            for what, number in found.items():
                if number:
                    console.say(f"   {state}: {number:,} {what}")
        console.say(f"   look at it: file://{report_of(prepared)}")
        for split in manifest.splits:
            num_exchanges, num_tokens = (
                manifest.total(split, "num_exchanges"),
                manifest.total(split, "num_reply_tokens"),
            )
            counts = f"{num_exchanges:>9,} exchanges  {num_tokens:>11,} reply tokens"
            console.say(f"   {split:5}  {counts}  {len(manifest.splits[split]):>4} shards")
    return prepared


def train_stage(recipe: Recipe, *, fresh: bool = False) -> Registered:
    """Shards to a registered model version, by way of a trained and evaluated checkpoint."""
    require_workers(recipe)
    with cluster.connect(recipe):
        prepared = prepare_stage(recipe)
        require(recipe, prepared.manifest, "test")  # not only when all is trained
        name = Storage(recipe).run(run_fingerprint(recipe, prepared)).name
        with console.stage(f"Train: {recipe.model.name} on {_workers(recipe)}"):
            with tracked_run(recipe, prepared, name, fresh=fresh) as tracker:
                run = train(recipe, prepared, tracker, fresh=fresh)
            console.say(f"   {_state(run.reused)} {run.checkpoint}")
            console.say(f"   {_shown(run.metrics, 'valid')}")
        evaluation = evaluate_stage(recipe, run.checkpoint, prepared.folder, "test")
        with console.stage(f"Register: version of {recipe.registry.model!r} in MLflow"):
            registry = Registry(recipe)
            version = registry.register(run, tracker.run_id, evaluation)
            console.say(f"   {version}, alias 'candidate', in {registry.uri}")
    return Registered(run, evaluation, version)


def evaluate_stage(
    recipe: Recipe, checkpoint: Path, shards: Path | Folder, split: str, name: str | None = None
) -> Evaluation:
    """Checkpoint to figures, samples and a report; what was measured of the same checkpoint before is used again."""
    with console.stage(f"Evaluate: {split} split"):
        kept = evaluated(recipe, checkpoint, shards, split, name)
        evaluation = kept.evaluation
        console.say(f"   {_state(kept.reused)} {kept.file}")
        if kept.is_translated:
            console.say("   trained with another tokenizer: measured on the same exchanges in its own tokens")
        console.say(f"   {evaluation.num_exchanges:,} exchanges: {_shown(evaluation.metrics, split)}")
        for line in evaluation.lines():
            console.say(f"   {line}")
        console.say(f"   look at it: {_link(kept.page)}")
        for number, sample in enumerate(evaluation.samples, start=1):
            console.say(f"\n   sample {number}")
            for turn in sample.context.splitlines():
                console.say(f"      | {turn}")
            console.say(f"      human:  {sample.reply}")
            console.say(f"      model:  {sample.model_reply}")
    return evaluation


def evaluate_job(recipe: Recipe, of: str, split: str, against: str | None = None) -> Evaluation:
    """Evaluates a checkpoint's directory, or a registered version by alias or number; and how it differs from another.

    Of two, the first one's evaluation is given back.
    """
    if split not in SPLITS:
        raise EvaluationError(f"--split {split}: {catalog.choices(split, list(SPLITS))}")
    with cluster.connect(recipe):
        prepared = prepare_stage(recipe)
        require(recipe, prepared.manifest, split)
        chosen, versions = list[tuple[str, Path]](), list[Version | None]()
        for which in (of, against):
            if which is not None:
                checkpoint, version = _find(recipe, which)
                checkpoints.require_decoding(checkpoint, recipe.decoding, which)
                chosen.append((name_of(checkpoint) if version is None else which, checkpoint))
                versions.append(version)
        found = list[Evaluation]()
        for (name, checkpoint), version in zip(chosen, versions, strict=True):
            found.append(evaluate_stage(recipe, checkpoint, prepared.folder, split, name))
            if version is not None:
                Registry(recipe).record(version, found[-1], checkpoints.read_progress(checkpoint).step)
        first, *others = chosen
        for other in others:
            compare_stage(recipe, first, other, prepared.folder, split)
        return found[0]


def compare_stage(
    recipe: Recipe, of: tuple[str, Path], against: tuple[str, Path], shards: Path | Folder, split: str
) -> Compared:
    """Two checkpoints, each with its name, to their differences on the same exchanges, and a report."""
    (name, checkpoint), (other_name, other) = of, against
    with console.stage(f"Compare: {name} against {other_name} on the {split} split"):
        found = compared(recipe, checkpoint, other, shards, split, (name, other_name))
        for line in found.lines():
            console.say(f"   {line}")
        console.say(f"   look at it: {_link(found.page)}")
    return found


def chat_in_terminal(recipe: Recipe, of: str) -> None:
    """Reads a turn, writes a reply as the recipe's `decoding` says, until an empty line or the end of the input."""
    wanted, serving = recipe.decoding, recipe.serving
    checkpoint = checkpoint_of(recipe, of)
    checkpoints.require_decoding(checkpoint, wanted, of)
    responder = Responder(
        checkpoints.load(checkpoint), wanted.num_rows, 0, serving.fallback_reply, serving.max_reply_tokens
    )
    decoding = responder.decoding(wanted)
    responder.engine.start()
    console.say("Say something; an empty line ends the conversation.")
    turns: list[Turn] = []
    try:
        while text := input("you:    ").strip():
            if len(text) > (limit := serving.max_turn_characters):
                console.say(f"{len(text):,} characters; the limit is serving.max_turn_characters = {limit:,}")
                continue
            turns.append(Turn("user", text))
            context = responder.context(turns, "assistant")
            several = decoding.num_replies > 1
            replies = responder.replies(context, decoding) if several else [responder.reply(context, decoding)]
            turns.append(Turn("assistant", replies[0].text))
            for reply in replies:
                console.say(f"model:  {reply.text}" + (f"   ({reply.score:.2f})" if reply.score is not None else ""))
                for one in reply.logprobs:
                    others = "  ".join(f"{text!r} {math.exp(logprob):.3f}" for text, logprob in one.most_probable)
                    console.say(f"        {one.text!r:14} {math.exp(one.logprob):.3f}   {others}".rstrip())
    except EOFError:
        console.say()
    finally:
        responder.engine.stop()


def reply_job(
    recipe: Recipe, of: str, input: str | None, output: str | None, *, format: str | None = None,
    column: str | None = None, rows_per_piece: int = ROWS_PER_PIECE, fresh: bool = False,
) -> Replies:  # fmt: skip
    """A checkpoint's replies to every row of files; the same command goes on after an interruption."""
    if input is None or output is None:
        missing = "--input FILE" if input is None else "--output DIRECTORY"
        raise StorageError(f"{missing} is needed: conversations to reply to, and where the rows with replies go")
    with console.stage(f"Reply: {of} to {input}"):
        found = reply_to_file(
            recipe, checkpoint_of(recipe, of), absolute_path(input), absolute_path(output), format=format,
            column=column, rows_per_piece=rows_per_piece, fresh=fresh,
        )  # fmt: skip
        before = f", {found.num_found:,} of them found, made before" if found.num_found else ""
        console.say(f"   {_state(found.num_found == found.num_parts)} {found.output}")
        console.say(f"   {counted(found.done.num_rows, 'row')} in {counted(found.num_parts, 'piece')}{before}")
        if found.done.num_broken:
            console.say(f"   {counted(found.done.num_broken, 'row')} without a reply, such as")
            for line in found.done.broken:
                console.say(f"      {line}")
    return found


def self_chat_job(
    recipe: Recipe, of: str, other: str | None, *, num_conversations: int, num_turns: int, output: str | None = None
) -> SelfChat:
    """Two models, or one twice, talk to each other, here and now, without Ray."""
    with console.stage(f"Talk: {of} with {other or 'itself'}"):
        both = [checkpoint_of(recipe, which) for which in (of, other) if which is not None]
        for checkpoint in both:
            checkpoints.require_decoding(checkpoint, recipe.decoding)
        first, second = checkpoints.load(both[0]), checkpoints.load(both[1]) if other is not None else None
        names = (of, other or of)
        chat = self_chat(recipe, first, second, num_conversations=num_conversations, num_turns=num_turns, names=names)
        for talk in chat.conversations[: min(3, num_conversations)]:
            for place, turn in enumerate(talk.turns):
                mark = "   (loop)" if place in (talk.repeated_at, talk.circle_at) else ""
                console.say(f"      | {turn}{mark}")
            console.say()
        for name, value in chat.metrics.items():
            console.say(f"   {name:28}  {value:.3f}")
        if output is not None:
            file = Path(output).absolute()
            write_text_whole(file, chat.to_json())
            console.say(f"   made: {file}")
    return chat


def export_job(recipe: Recipe, of: str, format: str, to: str) -> None:
    """Writes a checkpoint's model, or a registered version's, for another runtime."""
    directory = Path(to).absolute()
    with console.stage(f"Export: {of} to {format}"):
        trained = checkpoints.load(checkpoint_of(recipe, of))
        exporters.export(trained, format, directory)
        console.say(f"   {trained.recipe.model.name} of {trained.model.num_parameters:,} weights: {directory}")


def checkpoint_of(recipe: Recipe, of: str) -> Path:
    """The checkpoint of a directory, or of a registered version by alias or number."""
    return _find(recipe, of)[0]


def _find(recipe: Recipe, of: str) -> tuple[Path, Version | None]:
    if (Path(of) / checkpoints.MANIFEST).exists():
        return Path(of).absolute(), None
    registry = Registry(recipe)
    version = registry.find(int(of) if of.isdigit() else of)
    return registry.download(version), version


def _workers(recipe: Recipe) -> str:
    scaling, kind = recipe.scaling, recipe.training.parallel.upper()
    fewest, most = scaling.min_workers, scaling.max_workers
    if (fewest, most) == (1, 1):
        return "one worker"
    return f"{most} {kind} workers" if fewest == most else f"{fewest} to {most} {kind} workers"


def _state(reused: bool) -> str:
    return "found, made before:" if reused else "made:"


def _shown(metrics: dict[str, float], split: str) -> str:
    return (
        f"perplexity {metrics[f'{split}_perplexity']:.1f} per token, "
        f"{metrics[f'{split}_bits_per_byte']:.3f} bits per byte, loss {metrics[f'{split}_loss']:.3f} nats per token"
    )


def _link(place: str) -> str:
    return place if "://" in place else f"file://{place}"
