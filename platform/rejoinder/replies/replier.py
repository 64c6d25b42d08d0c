"""A piece in, its part with replies and the note that says that it stands out: what an actor does, by an engine."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from pydantic import TypeAdapter

from rejoinder import checkpoints
from rejoinder.decoding import Decoding
from rejoinder.dialogue import Responder, replies_to_all
from rejoinder.errors import EngineError, RejoinderError
from rejoinder.recipe import Recipe
from rejoinder.replies.parts import Answer, Row, read_rows, write_part
from rejoinder.replies.plan import Piece, Plan, added_columns
from rejoinder.replies.questions import question_of
from rejoinder.storage import Folder

NOTES = "_done"
"""Names that begin with _ are passed over by whoever reads a folder of Parquet or JSON lines."""
COLUMN = "--column"
NUM_EXAMPLES = 5


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

    @staticmethod
    def of(text: str) -> Done:
        """As it was written."""
        return _DONE.validate_json(text)


_DONE = TypeAdapter(Done)


class Replier:
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
        with self._folder.written(part_of(self._plan, piece)) as file:
            write_part(file, self._plan, piece, read, answers, added_columns(self._recipe.decoding))
        broken = [answer.error for answer in answers if answer.error is not None]
        done = Done(piece.num_rows, num_tokens, len(broken), tuple(broken[:NUM_EXAMPLES]))
        self._folder.write_text(note_of(piece), json.dumps(asdict(done), ensure_ascii=False))

    def _request(self, index: int, row: Row, decoding: Decoding) -> tuple[list[int], Decoding] | str:
        """What the engine is asked for this row; or what is wrong with it."""
        try:
            if row.problem is not None:
                return row.problem
            question = question_of(row.columns, self._plan.made_of[COLUMN] or None)
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


def part_of(plan: Plan, piece: Piece) -> str:
    """The name of its file."""
    return f"part-{piece.number:06d}.{plan.format}"


def note_of(piece: Piece) -> str:
    """The name of the file that says what was done of it."""
    return f"{NOTES}/{piece.number:06d}.json"


def read_note(folder: Folder, piece: Piece) -> Done:
    """What was done of it; nothing where there is no note."""
    return Done.of(folder.read_text(note_of(piece)) or "{}")
