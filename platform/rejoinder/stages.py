"""The corridor's stages in order: each does its part, or finds it done, and says what it made and where."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rejoinder import catalog, checkpoints, cluster, console
from rejoinder.corpora import Turn
from rejoinder.dialogue import Responder
from rejoinder.errors import EvaluationError
from rejoinder.evaluation import Evaluation, Sample, evaluate
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry, Version, tracked_run
from rejoinder.shards import REPORT, Prepared, prepare
from rejoinder.storage import Folder, Storage, sha256_of
from rejoinder.text import SPLITS, Tokenizer
from rejoinder.training import TrainedRun, run_fingerprint, train


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
        console.say(f"   look at it: file://{prepared.folder.path(REPORT)}")
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
    with cluster.connect(recipe):
        prepared = prepare_stage(recipe)
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


def evaluate_stage(recipe: Recipe, checkpoint: Path, shards: Path | Folder, split: str) -> Evaluation:
    """Checkpoint to metrics and samples; what was measured of the same checkpoint before is used again."""
    with console.stage(f"Evaluate: {split} split"):
        beside, file = Storage(recipe).holding(checkpoint.parent), f"{checkpoint.name}-evaluation-{split}.json"
        key = recipe.fingerprint("evaluation", "decoding") + sha256_of(checkpoint / checkpoints.MANIFEST)
        found = _read_evaluation(beside.read_text(file), key)
        evaluation = found or evaluate(recipe, checkpoint, shards, split)
        if found is None:
            beside.write_text(
                file, json.dumps({"key": key, "evaluation": asdict(evaluation)}, indent=1, ensure_ascii=False)
            )
        console.say(f"   {_state(found is not None)} {beside}/{file}")
        console.say(f"   {evaluation.num_exchanges:,} exchanges: {_shown(evaluation.metrics, split)}")
        for number, sample in enumerate(evaluation.samples, start=1):
            console.say(f"\n   sample {number}")
            for turn in sample.context.splitlines():
                console.say(f"      | {turn}")
            console.say(f"      human:  {sample.reply}")
            console.say(f"      model:  {sample.model_reply}")
    return evaluation


def evaluate_job(recipe: Recipe, of: str, split: str) -> Evaluation:
    """Evaluates a checkpoint's directory, or a registered version by alias or number."""
    if split not in SPLITS:
        raise EvaluationError(f"--split {split}: {catalog.choices(split, list(SPLITS))}")
    with cluster.connect(recipe):
        prepared = prepare_stage(recipe)
        checkpoint = _checkpoint(recipe, of)
        _require_same_tokenizer(checkpoint, prepared)
        return evaluate_stage(recipe, checkpoint, prepared.folder, split)


def chat_in_terminal(recipe: Recipe, of: str) -> None:
    """Reads a turn, writes a reply as the recipe's `decoding` says, until an empty line or the end of the input."""
    responder = Responder(checkpoints.load(_checkpoint(recipe, of)), fallback_reply=recipe.serving.fallback_reply)
    decoding = responder.decoding(**recipe.decoding.model_dump())
    responder.engine.start()
    console.say("Say something; an empty line ends the conversation.")
    turns: list[Turn] = []
    try:
        while text := input("you:    ").strip():
            turns.append(Turn("user", text))
            reply = responder.reply(responder.context(turns, "assistant"), decoding)
            turns.append(Turn("assistant", reply.text))
            console.say(f"model:  {reply.text}")
    except EOFError:
        console.say()
    finally:
        responder.engine.stop()


def _checkpoint(recipe: Recipe, of: str) -> Path:
    """The checkpoint of a directory, or of a registered version by alias or number."""
    if (Path(of) / checkpoints.MANIFEST).exists():
        return Path(of).absolute()
    registry = Registry(recipe)
    return registry.download(registry.find(int(of) if of.isdigit() else of))


def _require_same_tokenizer(checkpoint: Path, prepared: Prepared) -> None:
    ids_of = Tokenizer.load(checkpoint / checkpoints.TOKENIZER)
    if ids_of.sha256 != prepared.manifest.tokenizer_sha256:
        raise EvaluationError(
            f"{checkpoint} was trained with another tokenizer than {prepared.folder}; give the recipe that it was "
            f"trained with: {checkpoint / checkpoints.RECIPE}"
        )


def promote_stage(recipe: Recipe, number: int | None = None, alias: str = "champion") -> Version:
    """An alias moves to a version, by default to the candidate."""
    with console.stage(f"Promote: {alias}"):
        registry = Registry(recipe)
        version = registry.promote(number, alias)
        console.say(f"   {version} is now the {alias!r} in {registry.uri}")
    return version


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


def _read_evaluation(text: str | None, key: str) -> Evaluation | None:
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return None
    if data.get("key") != key:
        return None
    found = data["evaluation"]
    return Evaluation(**(found | {"samples": [Sample(**sample) for sample in found["samples"]]}))
