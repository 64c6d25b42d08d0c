"""argv in, a call of the job out; every failure has its exit status."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from rejoinder.command_line import RECIPES, run
from rejoinder.errors import RecipeError, ShardError
from rejoinder.recipe import Recipe, explain, load_recipe


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REJOINDER_HOME", str(tmp_path))
    monkeypatch.setenv("REJOINDER_DEBUG", "")  # --debug sets it: put back afterwards


class Job:
    """Remembers what it was called with."""

    def __init__(self) -> None:
        self.called: list[tuple[Recipe, dict[str, Any]]] = []

    @property
    def function(self) -> Any:
        def train(
            recipe: Recipe,
            *,
            fresh: Annotated[bool, "start over"] = False,
            of_split: Annotated[str, "which split"] = "test",
            version: Annotated[int | None, "which version"] = None,
        ) -> None:
            """Trains."""
            self.called.append((recipe, {"fresh": fresh, "of_split": of_split, "version": version}))

        return train

    def __call__(self, *argv: str) -> tuple[Recipe, dict[str, Any]]:
        run(self.function, argv)
        return self.called[-1]


@pytest.fixture
def job() -> Job:
    return Job()


def run_failing(error: BaseException, *argv: str) -> object:
    """The exit status of a job that raises."""

    def job(recipe: Recipe) -> None:
        raise error

    with pytest.raises(SystemExit) as leaving:
        run(job, ["tiny", *argv])
    return leaving.value.code


def test_without_words_it_is_the_demo(job: Job) -> None:
    assert job() == (load_recipe(RECIPES / "demo.yaml"), {"fresh": False, "of_split": "test", "version": None})


def test_words_change_settings(job: Job) -> None:
    recipe, _ = job("training.num_steps=700", "model.width=8")
    assert (recipe.name, recipe.training.num_steps, recipe.model.width) == ("demo", 700, 8)


def test_a_recipe_is_given_by_name_or_by_path(job: Job, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text((RECIPES / "tiny.yaml").read_text().replace("name: tiny", "name: mine"))
    assert job("tiny")[0].name == "tiny"
    assert job(str(mine))[0].name == "mine"


def test_a_file_here_comes_before_a_recipe_of_that_name(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").write_text((RECIPES / "demo.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert job("tiny")[0].name == "demo"


def test_keyword_only_parameters_are_flags(job: Job) -> None:
    assert job("tiny", "--fresh", "--of-split", "valid", "--version", "3")[1] == {
        "fresh": True,
        "of_split": "valid",
        "version": 3,
    }


def test_flags_may_stand_between_words(job: Job) -> None:
    recipe, flags = job("tiny", "--fresh", "training.num_steps=30", "--version", "3", "training.seed=5")
    assert (recipe.training.num_steps, recipe.training.seed, flags["fresh"], flags["version"]) == (30, 5, True, 3)


def test_print_shows_the_final_recipe_and_does_nothing(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job.function, ["tiny", "training.num_steps=30", "--print"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert load_recipe(tmp_path / "printed.yaml") == load_recipe(RECIPES / "tiny.yaml", ["training.num_steps=30"])
    assert job.called == []


def test_help_lists_flags_and_settings_and_does_nothing(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        job("tiny", "model.name=transformer", "--help")
    text = capsys.readouterr().out
    assert leaving.value.code == 0
    assert "Trains." in text
    assert "which split (default: test)" in text
    assert explain(load_recipe(RECIPES / "tiny.yaml", ["model.name=transformer"])) in text
    assert job.called == []


def test_a_users_error_is_one_line_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(ShardError("shards-7: damaged; run jobs/prepare.py")) == 1
    assert capsys.readouterr() == ("", "error: shards-7: damaged; run jobs/prepare.py\n")


def test_a_wrong_setting_is_refused_before_the_job_begins(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        job("tiny", "training.num_stesp=3")
    assert leaving.value.code == 1
    assert "did you mean 'num_steps'?" in capsys.readouterr().err
    assert job.called == []


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(ShardError("damaged"), "--debug") == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert shown.endswith("error: damaged\n")


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C; the same command goes on from where it was\n"


def test_a_full_disk_is_explained_wherever_it_struck(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(OSError(errno.ENOSPC, "No space left on device", "/runs/x")) == 1
    assert capsys.readouterr().err.startswith(
        "error: /runs/x: no space left on the disk; free some, or set storage.uri"
    )


def test_another_error_of_the_system_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(OSError(errno.EIO, "Input/output error", "/runs/x")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_of_ours_escapes() -> None:
    def job(recipe: Recipe) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(job, ["tiny"])


@pytest.mark.parametrize("word", ["--frsh", "--version=three"])
def test_a_wrong_flag_is_2(job: Job, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        job("tiny", word)
    assert leaving.value.code == 2
    assert "usage: " in capsys.readouterr().err


def versions(
    recipe: Recipe,
    what: Annotated[Literal["list", "show"], "what to do"] = "list",
    which: Annotated[str, "which one"] = "champion",
    *,
    to: Annotated[str, "an alias"] = "champion",
) -> None:
    """Says how it was called."""
    print(recipe.name, what, which, to, recipe.training.seed)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "demo list champion champion 0"),
        (["tiny"], "tiny list champion champion 0"),
        (["show", "3"], "demo show 3 champion 0"),
        (["tiny", "training.seed=5", "show", "3", "--to", "canary"], "tiny show 3 canary 5"),
        (["tiny", "show", "training.seed=5"], "tiny show champion champion 5"),
    ],
)
def test_a_job_may_have_words_of_its_own(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(versions, argv)
    assert capsys.readouterr().out.strip() == says


@pytest.mark.parametrize("argv", [["tiny", "sho"], ["shwo"], ["tiny", "shwo", "3"]])
def test_a_word_that_is_nothing_to_do_is_refused_with_what_there_is(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        run(versions, argv)
    assert leaving.value.code == 1
    assert "is nothing to do; did you mean 'show'? (there are: list, show)" in capsys.readouterr().err


def test_a_word_too_many_is_no_override(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(versions, ["tiny", "show", "3", "4"])
    assert "'4' is no override" in capsys.readouterr().err


def test_a_job_may_refuse_words_that_it_has_no_use_for(capsys: pytest.CaptureFixture[str]) -> None:
    def require_words(words: Sequence[str]) -> None:
        if any(word.startswith("decoding.") for word in words):
            raise RecipeError("write serving.decoding")

    made = Job()
    run(made.function, ["tiny", "serving.port=9"], require_words=require_words)
    with pytest.raises(SystemExit) as leaving:
        run(made.function, ["tiny", "decoding.temperature=0"], require_words=require_words)
    assert leaving.value.code == 1
    assert len(made.called) == 1
    assert "write serving.decoding" in capsys.readouterr().err
