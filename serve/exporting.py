"""Feedback in, JSON lines that the corpus reader chat_messages takes out: replies that were liked, or put right."""

from __future__ import annotations

import json
from pathlib import Path

from rejoinder import console
from rejoinder.errors import ServingError
from rejoinder.recipe import Recipe
from rejoinder.storage import Folder
from serve.store import Database, feedback, url_of
from serve.store.feedback import Feedback


def export_feedback(recipe: Recipe, to: str, min_rating: int) -> tuple[int, int]:
    """Writes the file, whole or not at all; how many conversations are in it, how many opinions were not to learn from.

    Of several opinions on one reply the last one that says what is right counts. Raises ServingError when there are
    none.
    """
    if not 1 <= min_rating <= 5:
        raise ServingError(f"--min-rating {min_rating}: ratings are 1 to 5")
    database = Database(url_of(recipe))
    with database:
        database.migrate()
        lines: dict[str, dict[str, object]] = {}
        num_left_out = 0
        for given in database.work(lambda rows: list(feedback.everything(rows)), writes=False):
            if (line := line_of(given, min_rating)) is None:
                num_left_out += 1
                if is_against(given, min_rating):
                    lines.pop(given.reply_id, None)
            else:
                lines[given.reply_id] = line
    if not lines:
        raise ServingError(
            f"nothing to export from {database}: {num_left_out} opinions, and none has a thumb up, a rating of at "
            f"least {min_rating} or a correction"
        )
    file = Path(to).expanduser().absolute()
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines.values())
    Folder(file.parent).write_text(file.name, text)
    console.say(f"{len(lines):,} conversations in {file}; {num_left_out:,} opinions left out")
    console.say("to learn from them, add to data.corpora of a recipe:")
    console.say(f"   - {{name: chat_messages, path: {file}}}")
    return len(lines), num_left_out


def line_of(given: Feedback, min_rating: int) -> dict[str, object] | None:
    """One conversation that ends as it should; None for an opinion that does not say how."""
    if given.correction is not None:
        reply = given.correction
    elif is_against(given, min_rating) or (given.thumb is None and given.rating is None):
        return None
    else:
        reply = given.reply
    said = [*given.messages, ("assistant", reply)]
    opinion = {"thumb": given.thumb, "rating": given.rating, "is_corrected": given.correction is not None}
    return {
        "id": given.reply_id,
        "messages": [{"role": role, "content": text} for role, text in said],
        "feedback": opinion | {"model_version": given.version, "regenerate": given.regenerate},
    }


def is_against(given: Feedback, min_rating: int) -> bool:
    """Whether the reply was not liked."""
    return given.thumb == "down" or (given.rating is not None and given.rating < min_rating) or given.regenerate
