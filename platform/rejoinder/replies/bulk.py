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
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
import ray.data
import torch
from pydantic import TypeAdapter

from rejoinder import catalog, checkpoints, cluster, console, errors
from rejoinder.corpora import sources
from rejoinder.decoding import Decoding
from rejoinder.dialogue import Responder, replies_to_all
from rejoinder.errors import EngineError, RejoinderError, StorageError
from rejoinder.recipe import Recipe
from rejoinder.replies.parts import Answer, Row, join_parts, read_rows, write_part
from rejoinder.replies.plan import FORMATS, Piece, Plan, added_columns, make_plan, stamps_of
from rejoinder.replies.questions import question_of
from rejoinder.storage import Folder, Storage, is_address, locked, sha256_of

PLAN, SUMMARY, NOTES = "_plan.json", "_summary.json", "_done"
"""Names that begin with _ are passed over by whoever reads a folder of Parquet or JSON lines."""
ROWS_PER_PIECE = 500
NUM_EXAMPLES = 5
_COLUMN = "--column"


@dataclass(frozen=True)
class Done:
    """What was done of a piece, or of all of them."""

    num_rows: int = 0
    num_reply_tokens: int = 0
    num_broken: int = 0
    broken: tuple[str, ...] = ()
    """Examples: the place, and why there is no reply."""

    def __add__(self, other: Done) -> Done:
        return Done(
            self.num_rows + other.num_rows,
            self.num_reply_tokens + other.num_reply_tokens,
            self.num_broken + other.num_broken,
            (self.broken + other.broken)[:NUM_EXAMPLES],
        )


_DONE = TypeAdapter(Done)


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
        _COLUMN: column or "",
        "--rows-per-piece": str(rows_per_piece),
        "--format": suffix if one_file else format or "",
    }
    with locked(folder.directory, "replying"):
        _require_ours(folder, one_file, fresh)
        plan = _plan(recipe, folder, input, suffix if one_file else format, column, rows_per_piece, made_of)
        num_parts = len(plan.pieces)
        if one_file and one_file.exists() and (summary := folder.read_text(SUMMARY)):
            _forget_parts(folder, plan)
            return Replies(one_file, _DONE.validate_json(summary), num_parts, num_parts)
        left = [piece for piece in plan.pieces if not (folder.has(_note(piece)) and folder.has(_part(plan, piece)))]
        if left:
            _work(recipe, checkpoint, folder, plan, left)
            for unfinished in folder.directory.rglob(".*.partial"):  # of those who were killed
                unfinished.unlink(missing_ok=True)
        done = sum((_read_note(folder, piece) for piece in plan.pieces), Done())
        if one_file:
            with Folder(one_file.parent).written(one_file.name) as partial:
                join_parts((folder.directory / _part(plan, piece) for piece in plan.pieces), plan.format, partial)
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
        (folder.directory / _part(plan, piece)).unlink(missing_ok=True)


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
            _Replier,
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


class _Replier:
    """The actor: an engine, and what it does with a piece."""

    def __init__(self, recipe: Recipe, checkpoint: Folder, folder: Folder, plan: Plan) -> None:
        self._recipe, self._checkpoint, self._folder, self._plan = recipe, checkpoint, folder, plan
        self._num_slots = max(recipe.serving.num_slots, recipe.decoding.num_rows)

    @cached_property
    def _responder(self) -> Responder:
        """Made with the first piece: of what fails while an actor is made, Ray keeps no more than a text."""
        serving = self._recipe.serving
        torch.set_num_threads(serving.cpus_per_replica)
        device = "cuda" if serving.gpus_per_replica else "cpu"
        trained = checkpoints.load(checkpoints.fetched(self._checkpoint), device)
        longest = serving.max_reply_tokens
        responder = Responder(trained, self._num_slots, 2 * self._num_slots, serving.fallback_reply, longest)
        responder.engine.start()
        return responder

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """One piece. What a user can put right is handed on as it is said: Ray would keep a traceback of it."""
        piece = self._plan.pieces[int(batch["number"][0])]
        try:
            self._reply_to(piece)
        except RejoinderError as error:
            return {"num_rows": [0], "error": [type(error).__name__], "says": [str(error)]}
        return {"num_rows": [piece.num_rows], "error": [""], "says": [""]}

    def _reply_to(self, piece: Piece) -> None:
        """A part, and then the note that says that it stands."""
        read = read_rows(piece)
        decoding = self._responder.decoding(self._recipe.decoding)
        asked: list[tuple[list[int], Decoding] | str] = [
            self._request(piece.first_index + place, row, decoding) for place, row in enumerate(read.rows)
        ]
        requests = (one for one in asked if not isinstance(one, str))
        replies = replies_to_all(self._responder, requests, 2 * self._num_slots)
        answers, num_tokens = list[Answer](), 0
        for row, one in zip(read.rows, asked, strict=True):
            if isinstance(one, str):
                answers.append(Answer(error=f"{row.place}: {one}"))
                continue
            answers.append(Answer(next(replies)))
            num_tokens += sum(reply.num_reply_tokens for reply in answers[-1].replies)
        with self._folder.written(_part(self._plan, piece)) as file:
            write_part(file, self._plan, piece, read, answers, added_columns(self._recipe.decoding))
        broken = [answer.error for answer in answers if answer.error is not None]
        done = Done(piece.num_rows, num_tokens, len(broken), tuple(broken[:NUM_EXAMPLES]))
        self._folder.write_text(_note(piece), json.dumps(asdict(done), ensure_ascii=False))

    def _request(self, index: int, row: Row, decoding: Decoding) -> tuple[list[int], Decoding] | str:
        """What the engine is asked for this row; or what is wrong with it."""
        try:
            if row.problem is not None:
                return row.problem
            question = question_of(row.columns, self._plan.made_of[_COLUMN] or None)
            limit = self._recipe.serving.max_turn_characters
            longest = max(map(len, (*question.system, *(turn.text for turn in question.turns))))
            if longest > limit:
                return f"a turn of {longest:,} characters; the limit is serving.max_turn_characters = {limit:,}"
            has_system = "system" in self._responder.trained.recipe.text.control_tokens
            asked = [("system", text) for text in question.system] if has_system else []
            context = self._responder.context(question.turns, question.replier, asked)
        except (ValueError, EngineError) as error:
            return " ".join(str(error).split())
        seed = (self._recipe.training.seed * 1_000_003 + index) % 2**63
        return context, replace(decoding, seed=seed)


def _part(plan: Plan, piece: Piece) -> str:
    return f"part-{piece.number:06d}.{plan.format}"


def _note(piece: Piece) -> str:
    return f"{NOTES}/{piece.number:06d}.json"


def _read_note(folder: Folder, piece: Piece) -> Done:
    return _DONE.validate_json(folder.read_text(_note(piece)) or "{}")


def counted(number: int, what: str) -> str:
    """1 row, 2,000 rows."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
