"""A file of conversations in, the same rows with replies out: Ray Data actors that hold an engine each, piece by piece.

    input ─plan─▶ pieces ─actors: read, reply, write─▶ part-00000, part-00001, … ─▶ _summary.json, or one file

A piece is finished when its part stands and the note beside it says so; what is killed costs the pieces in its hands.
A reply depends on its row alone (the seed of a draw is the row's index), so a second run goes on as if there was one.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ray
import ray.data

from rejoinder import catalog, checkpoints, cluster, console, errors
from rejoinder.corpora import sources
from rejoinder.errors import StorageError
from rejoinder.recipe import Recipe
from rejoinder.replies.parts import join_parts
from rejoinder.replies.plan import FORMATS, Piece, Plan, added_columns, make_plan, stamps_of
from rejoinder.replies.replier import COLUMN, NOTES, Done, Replier, note_of, part_of, read_note
from rejoinder.storage import Folder, Storage, is_address, locked, sha256_of

PLAN, SUMMARY = "_plan.json", "_summary.json"
ROWS_PER_PIECE = 500


@dataclass(frozen=True)
class Replies:
    """What a job made."""

    output: Path
    """The folder of the parts, or the one file."""
    done: Done
    num_parts: int
    num_found: int
    """Parts that an earlier run had made."""


def reply_to_file(
    recipe: Recipe, checkpoint: Path, input: str, output: str, *, format: str | None = None,
    column: str | None = None, rows_per_piece: int = ROWS_PER_PIECE, fresh: bool = False,
) -> Replies:  # fmt: skip
    """Replies to every row of the input, as the recipe's `decoding` says, in the order of its rows.

    `output` is a folder, or a file whose suffix says the format: its parts are then joined at the end. The same call
    goes on from where it was. Raises CorpusError for an input that cannot be read, StorageError for an output that
    belongs to another input, model or settings.
    """
    if is_address(output):
        raise StorageError(f"--output {output}: an address is not written to; give a directory, or a file in one")
    place = Path(output)
    suffix = place.suffix.removeprefix(".")
    one_file = place if suffix in FORMATS else None
    if one_file and format not in (None, suffix):
        raise StorageError(f"--output {output} with --format {format}: one of them must go")
    if format is not None and format not in FORMATS:
        raise StorageError(f"--format {format}: {catalog.choices(format, list(FORMATS))}")
    if rows_per_piece < 1:
        raise StorageError(f"--rows-per-piece {rows_per_piece}: at least 1 is needed")
    folder = Folder(place.with_name(place.name + ".parts") if one_file else place)
    checkpoints.verify(checkpoint)
    checkpoints.require_decoding(checkpoint, recipe.decoding)
    made_of = {
        "model": sha256_of(checkpoint / checkpoints.MANIFEST),
        "decoding": json.dumps(recipe.decoding.model_dump(), sort_keys=True),
        "serving.max_reply_tokens": str(recipe.serving.max_reply_tokens),
        "serving.max_turn_characters": str(recipe.serving.max_turn_characters),
        "serving.fallback_reply": recipe.serving.fallback_reply,
        "training.seed": str(recipe.training.seed),
        COLUMN: column or "",
        "--rows-per-piece": str(rows_per_piece),
        "--format": suffix if one_file else format or "",
    }
    with locked(folder.directory, "replying"):
        _require_ours(folder, one_file, fresh)
        plan = _plan(recipe, folder, input, suffix if one_file else format, column, rows_per_piece, made_of)
        num_parts = len(plan.pieces)
        if one_file and one_file.exists() and (summary := folder.read_text(SUMMARY)):
            _forget_parts(folder, plan)
            return Replies(one_file, Done.of(summary), num_parts, num_parts)
        left = [piece for piece in plan.pieces if not (folder.has(note_of(piece)) and folder.has(part_of(plan, piece)))]
        if left:
            _work(recipe, checkpoint, folder, plan, left)
            for unfinished in folder.directory.rglob(".*.partial"):  # of those who were killed
                unfinished.unlink(missing_ok=True)
        done = sum((read_note(folder, piece) for piece in plan.pieces), Done())
        if one_file:
            with Folder(one_file.parent).written(one_file.name) as partial:
                join_parts((folder.directory / part_of(plan, piece) for piece in plan.pieces), plan.format, partial)
        folder.write_text(SUMMARY, json.dumps(asdict(done), indent=1, ensure_ascii=False))
        if one_file:
            _forget_parts(folder, plan)
    return Replies(one_file or folder.directory, done, num_parts, num_parts - len(left))


def _require_ours(folder: Folder, one_file: Path | None, fresh: bool) -> None:
    """Nothing is written over, or deleted, that this job has not made; `fresh` deletes what it has."""
    names = set(folder.sizes())
    others = sorted(name for name in names if not (name in (PLAN, SUMMARY) or name.startswith(("part-", f"{NOTES}/"))))
    if others or (names and PLAN not in names):
        raise StorageError(f"{folder}: holds other files, such as {(others or sorted(names))[0]}; give a new --output")
    if one_file and one_file.exists() and not names and not fresh:
        raise StorageError(f"{one_file}: is there already; give a new --output, or --fresh to write over it")
    if fresh:
        folder.remove()


def _forget_parts(folder: Folder, plan: Plan) -> None:
    """They stand in the one file."""
    for piece in plan.pieces:
        (folder.directory / part_of(plan, piece)).unlink(missing_ok=True)


def _plan(
    recipe: Recipe, folder: Folder, input: str, format: str | None, column: str | None, rows_per_piece: int,
    made_of: dict[str, str],
) -> Plan:  # fmt: skip
    """The plan that stands, if it is of the same; else a new one."""
    text = folder.read_text(PLAN)
    if text is None:
        with console.stage("Plan: the input's rows"):
            plan = make_plan(input, format, column, rows_per_piece, made_of, added_columns(recipe.decoding))
            files, pieces = counted(len(plan.files), "file"), counted(len(plan.pieces), "piece")
            console.say(f"   {counted(plan.num_rows, 'row')} in {files}, {pieces}")
        folder.write_text(PLAN, plan.to_json())
        return plan
    plan = Plan.from_json(text, f"{folder}/{PLAN}")
    differing = [name for name, value in plan.made_of.items() if made_of.get(name) != value]
    if stamps_of(sources(input)) != plan.files:
        differing.append("input")
    if differing:
        raise StorageError(
            f"{folder}: was begun with another {' and another '.join(differing)}; give a new --output, or --fresh to "
            "begin again"
        )
    return plan


def _work(recipe: Recipe, checkpoint: Path, folder: Folder, plan: Plan, left: Sequence[Piece]) -> None:
    """Ray Data hands out the pieces: to as many actors as there is room for, again where one of them died."""
    serving = recipe.serving
    shared = Storage(recipe).holding(checkpoint)
    if not shared.has(checkpoints.MANIFEST):  # a version from the registry, which other nodes have not downloaded
        shared.publish("", last=checkpoints.MANIFEST)
    if "REJOINDER_DEBUG" not in os.environ:
        # Ray warns of every actor that it may start again, on the driver's screen.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with cluster.connect(recipe):
        cluster.require(recipe, serving.cpus_per_replica, serving.gpus_per_replica, "a reply engine")
        _quieten()
        pieces = ray.data.from_items([{"number": piece.number} for piece in left], override_num_blocks=len(left))
        work = pieces.map_batches(
            Replier,
            fn_constructor_kwargs={"recipe": recipe, "checkpoint": shared, "folder": folder, "plan": plan},
            batch_size=1,
            num_cpus=serving.cpus_per_replica,
            num_gpus=serving.gpus_per_replica,
            # One call at a time: an actor holds one model, whose engine has slots enough.
            compute=ray.data.ActorPoolStrategy(size=min(_room(recipe), len(left)), max_tasks_in_flight_per_actor=1),
        )
        num_rows = plan.num_rows - sum(piece.num_rows for piece in left)
        with console.ProgressLine("replies", plan.num_rows, "rows") as line:
            line.update(num_rows)
            for made in work.iter_rows():
                if made["error"]:
                    raise getattr(errors, made["error"])(made["says"])
                num_rows += made["num_rows"]
                line.update(num_rows)


def _quieten() -> None:
    """Our own line of progress says what Ray Data's bars and log would."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _room(recipe: Recipe) -> int:
    """How many actors the cluster has room for."""
    total, serving = ray.cluster_resources(), recipe.serving
    by_gpus = [int(total.get("GPU", 0) // serving.gpus_per_replica)] if serving.gpus_per_replica else []
    return max(1, min([int(total.get("CPU", 1) // serving.cpus_per_replica), *by_gpus]))


def counted(number: int, what: str) -> str:
    """1 row, 2,000 rows."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
