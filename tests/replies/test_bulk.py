"""A file in, the same rows with replies out: what is done stays done, what belongs to another job is not touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from rejoinder import checkpoints
from rejoinder.corpora import Turn
from rejoinder.dialogue import Responder
from rejoinder.errors import CheckpointError, CorpusError, RecipeError, StorageError
from rejoinder.recipe import Recipe
from rejoinder.replies import bulk, reply_to_file
from rejoinder.replies.plan import Piece, Plan
from rejoinder.storage import Folder

NUM_ROWS = 23


@pytest.fixture
def small(make_recipe: Callable[..., Recipe]) -> Recipe:
    """One actor, on all of the test's Ray."""
    return make_recipe("serving.cpus_per_replica=4", "serving.num_slots=3", "decoding.temperature=1")


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """An untrained model's checkpoint."""
    return make_checkpoint()


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """Rows of which the eighth is broken and the twelfth is empty."""
    rows = [json.dumps({"id": f"row {number}", "text": f"I have {number} dogs."}) for number in range(NUM_ROWS)]
    rows[7], rows[11] = "{broken", json.dumps({"id": "row 11", "text": " "})
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(rows) + "\n")
    return file


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Of all parts, in their order."""
    parts = sorted(folder.glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor's work in this process; tests/jobs/test_reply.py has it done by actors."""

    def work(recipe: Recipe, checkpoint: Path, folder: Folder, plan: Plan, left: Sequence[Piece]) -> None:
        replier = bulk.Replier(recipe, Folder(checkpoint), folder, plan)
        for piece in left:
            assert replier({"number": [piece.number]}) == {"num_rows": [piece.num_rows], "error": [""], "says": [""]}
        replier._responder.engine.stop()

    monkeypatch.setattr(bulk, "_work", work)


@pytest.mark.usefixtures("without_ray")
def test_every_row_has_its_reply_once_and_a_second_run_makes_what_is_missing(
    small: Recipe, checkpoint: Path, chats: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    made = reply_to_file(small, checkpoint, str(chats), str(output), rows_per_piece=5)
    assert (made.done.num_rows, made.done.num_broken, made.num_parts, made.num_found) == (NUM_ROWS, 2, 5, 0)
    rows = rows_of(output)
    assert [row["row_index"] for row in rows] == list(range(NUM_ROWS))
    assert [row.get("id") for row in rows] == [None if number == 7 else f"row {number}" for number in range(NUM_ROWS)]
    problems = {row["row_index"]: row["model_reply_error"] for row in rows if row["model_reply"] is None}
    assert set(problems) == {7, 11}
    assert problems[7].startswith(f"{chats}:8: not JSON (")
    assert problems[11] == f"{chats}:12: column 'text' holds nothing to reply to: every turn is empty"
    assert made.done.broken == tuple(problems.values())
    assert rows[3]["model_reply"] == alone(small, checkpoint, "I have 3 dogs.", 3)

    lost, kept = output / "part-000002.jsonl", output / "part-000003.jsonl"
    before = kept.stat().st_ino
    lost.unlink()
    again = reply_to_file(small, checkpoint, str(chats), str(output), rows_per_piece=5)
    assert (again.done, again.num_found) == (made.done, 4)
    assert rows_of(output) == rows  # also where replies are drawn
    assert kept.stat().st_ino == before


def alone(recipe: Recipe, checkpoint: Path, text: str, index: int) -> str:
    """What the model says to one text, with nobody else there."""
    responder = Responder(checkpoints.load(checkpoint), 5, fallback_reply=recipe.serving.fallback_reply)
    responder.engine.start()
    decoding = responder.decoding(recipe.decoding, seed=recipe.training.seed * 1_000_003 + index)
    said = responder.reply(responder.context([Turn("user", text)], "assistant"), decoding)
    responder.engine.stop()
    return said.text


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(
    "asked",
    [
        ["decoding.temperature=1"],
        ["decoding.temperature=1", "decoding.num_candidates=4", "decoding.mmi_weight=0.5"],
        ["decoding.temperature=0", "decoding.num_beams=4", "decoding.mmi_weight=0.5"],
        ["decoding.temperature=0", "decoding.num_beams=4", "decoding.num_logprobs=1"],
    ],
)
def test_a_row_has_as_many_replies_as_are_asked_for_the_best_first(
    make_recipe: Callable[..., Recipe], checkpoint: Path, chats: Path, tmp_path: Path, asked: list[str]
) -> None:
    recipe = make_recipe("serving.num_slots=5", "decoding.num_replies=3", *asked)
    output = tmp_path / "out"
    made = reply_to_file(recipe, checkpoint, str(chats), str(output), rows_per_piece=10)
    rows = rows_of(output)
    assert [row["row_index"] for row in rows] == list(range(NUM_ROWS))
    assert (made.done.num_rows, made.done.num_broken) == (NUM_ROWS, 2)
    for row in rows:
        if row["row_index"] in (7, 11):
            assert (row["model_reply"], row["model_replies"]) == (None, None)
            continue
        several = row["model_replies"]
        assert len(several) == 3
        assert (several[0]["text"], several[0]["finish"]) == (row["model_reply"], row["model_reply_finish"])
        scores = [one["score"] for one in several]
        assert scores == sorted(scores, reverse=True)
        assert ("logprobs" in several[0]) == ("model_reply_logprobs" in row) == (recipe.decoding.num_logprobs == 1)
    assert rows[3]["model_reply"] == alone(recipe, checkpoint, "I have 3 dogs.", 3)

    (output / "part-000001.jsonl").unlink()
    assert reply_to_file(recipe, checkpoint, str(chats), str(output), rows_per_piece=10).num_found == 2
    assert texts_of(rows_of(output)) == texts_of(rows)  # scores depend, in their last bits, on who shared the batch


def texts_of(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Of each row's replies."""
    return [[one["text"] for one in row["model_replies"] or ()] for row in rows]


@pytest.mark.usefixtures("without_ray")
def test_no_reply_is_longer_than_this_recipe_says(
    make_recipe: Callable[..., Recipe], checkpoint: Path, chats: Path, tmp_path: Path
) -> None:
    recipe = make_recipe("serving.max_reply_tokens=3", "decoding.num_logprobs=0")
    reply_to_file(recipe, checkpoint, str(chats), str(tmp_path / "out"))
    numbers = [len(row["model_reply_logprobs"]) for row in rows_of(tmp_path / "out") if row["model_reply"]]
    assert max(numbers) == 3


@pytest.mark.usefixtures("without_ray")
def test_a_turn_that_is_too_long_has_no_reply(
    make_recipe: Callable[..., Recipe], checkpoint: Path, tmp_path: Path
) -> None:
    rows = [{"text": "a" * 10}, {"text": "a" * 11}, {"turns": ["b" * 11, "c"]}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = make_recipe("serving.max_turn_characters=10")
    reply_to_file(recipe, checkpoint, str(tmp_path / "in.jsonl"), str(tmp_path / "out"))
    first, *others = rows_of(tmp_path / "out")
    assert first["model_reply"]
    says = "a turn of 11 characters; the limit is serving.max_turn_characters = 10"
    assert [row["model_reply_error"] for row in others] == [f"{tmp_path}/in.jsonl:{line}: {says}" for line in (2, 3)]


def test_what_the_model_cannot_do_is_refused_before_anything_starts(
    make_recipe: Callable[..., Recipe], make_checkpoint: Callable[..., Path], chats: Path, tmp_path: Path
) -> None:
    """The recipe of the job is valid by itself; the model has learnt with another."""
    blind = make_checkpoint(0, make_recipe("model={name: recurrent, width: 16, attention: none}"))
    wanted = ["decoding.temperature=0", "decoding.num_beams=2", "decoding.coverage_penalty=0.2"]
    with pytest.raises(RecipeError) as refused:
        reply_to_file(make_recipe(*wanted), blind, str(chats), str(tmp_path / "out"))
    assert str(refused.value).splitlines() == [
        f"replies of {blind}: 1 problem",
        "  decoding.coverage_penalty = 0.2 with model.attention = none: such a model does not tell where it looks in "
        "its context; set decoding.coverage_penalty=0, or model.attention=general",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_ray")
def test_a_suffix_asks_for_one_file(small: Recipe, checkpoint: Path, chats: Path, tmp_path: Path) -> None:
    output = tmp_path / "answers.parquet"
    made = reply_to_file(small, checkpoint, str(chats), str(output), rows_per_piece=10)
    table = parquet.read_table(output)
    assert table.column_names == ["id", "text", "row_index", "model_reply", "model_reply_finish", "model_reply_error"]
    assert table["row_index"].to_pylist() == list(range(NUM_ROWS))
    assert (made.output, made.num_parts, table["model_reply"].null_count) == (output, 3, 2)
    assert list((tmp_path / "answers.parquet.parts").glob("part-*")) == []
    written = output.stat().st_mtime_ns
    assert reply_to_file(small, checkpoint, str(chats), str(output), rows_per_piece=10).num_found == 3
    assert output.stat().st_mtime_ns == written


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_what_fails_in_an_actor_is_said_as_it_is(
    small: Recipe, checkpoint: Path, chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shrunk(*_: object) -> bulk.Plan:
        plan = planned(*_)
        chats.write_text('{"text": "hi"}\n')
        return plan

    planned = bulk.make_plan
    monkeypatch.setattr(bulk, "make_plan", shrunk)
    with pytest.raises(
        CorpusError, match=r"chats\.jsonl: has changed since the job was begun; begin again with --fresh"
    ):
        reply_to_file(small, checkpoint, str(chats), str(tmp_path / "out"))


@pytest.fixture
def begun(small: Recipe, checkpoint: Path, chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output whose plan stands, and nothing else."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bulk, "_work", killed)
        with pytest.raises(KeyboardInterrupt):
            reply_to_file(small, checkpoint, str(chats), str(tmp_path / "out"))
    return tmp_path / "out"


def test_an_output_of_another_job_is_left_alone(
    small: Recipe, checkpoint: Path, chats: Path, begun: Path, make_checkpoint: Callable[..., Path]
) -> None:
    changed = small.model_copy(update={"decoding": small.decoding.model_copy(update={"temperature": 0.5})})
    for recipe, model, differing in (
        (small, make_checkpoint(1), "model"),
        (changed, checkpoint, "decoding"),
        (changed, make_checkpoint(1), "model and another decoding"),
    ):
        with pytest.raises(
            StorageError, match=rf"{begun}: was begun with another {differing}; give a new --output, or"
        ):
            reply_to_file(recipe, model, str(chats), str(begun))
    chats.write_text('{"text": "hi"}\n')
    with pytest.raises(StorageError, match="was begun with another input"):
        reply_to_file(small, checkpoint, str(chats), str(begun))


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_something_else_is_neither_written_to_nor_deleted(
    small: Recipe, checkpoint: Path, chats: Path, tmp_path: Path, begun: Path, fresh: bool
) -> None:
    (tmp_path / "mine").mkdir()
    for letter in (tmp_path / "mine" / "letter.txt", begun / "letter.txt"):
        letter.write_text("dear")
        with pytest.raises(StorageError, match=r"holds other files, such as letter\.txt; give a new --output"):
            reply_to_file(small, checkpoint, str(chats), str(letter.parent), fresh=fresh)
        assert letter.read_text() == "dear"
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-000000.jsonl").write_text("of another program")
    with pytest.raises(StorageError, match=r"holds other files, such as part-000000\.jsonl"):
        reply_to_file(small, checkpoint, str(chats), str(tmp_path / "parts"), fresh=fresh)


@pytest.mark.usefixtures("without_ray")
def test_fresh_begins_again(
    small: Recipe, chats: Path, tmp_path: Path, begun: Path, make_checkpoint: Callable[..., Path]
) -> None:
    other = make_checkpoint(1)
    made = reply_to_file(small, other, str(chats), str(begun), fresh=True)
    assert (made.num_found, made.done.num_rows) == (0, NUM_ROWS)
    precious = tmp_path / "answers.jsonl"
    precious.write_text("precious")
    with pytest.raises(StorageError, match=r"answers\.jsonl: is there already; give a new --output, or --fresh"):
        reply_to_file(small, other, str(chats), str(precious))
    assert precious.read_text() == "precious"
    reply_to_file(small, other, str(chats), str(precious), fresh=True)
    assert len(precious.read_text().splitlines()) == NUM_ROWS


@pytest.mark.parametrize(
    ("output", "settings", "says"),
    [
        ("out.jsonl", {"format": "parquet"}, r"out\.jsonl with --format parquet: one of them must go"),
        ("out", {"format": "csv"}, r"--format csv: .*there are: jsonl, parquet"),
        ("out", {"rows_per_piece": 0}, "--rows-per-piece 0: at least 1 is needed"),
        ("s3://bucket/out", {}, "--output s3://bucket/out: an address is not written to; give a directory"),
    ],
)
def test_what_cannot_be_is_said_at_the_door(
    small: Recipe, checkpoint: Path, chats: Path, tmp_path: Path, output: str, settings: dict[str, Any], says: str
) -> None:
    place = output if "://" in output else str(tmp_path / output)
    with pytest.raises(StorageError, match=says):
        reply_to_file(small, checkpoint, str(chats), place, **settings)


def test_a_damaged_checkpoint_is_refused_before_anything_starts(
    small: Recipe, checkpoint: Path, chats: Path, tmp_path: Path
) -> None:
    (checkpoint / checkpoints.WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: damaged"):
        reply_to_file(small, checkpoint, str(chats), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
