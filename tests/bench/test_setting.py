"""A contender is a program of its own; what it answers and how it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.setting import Setting, answer_of


def test_the_answer_is_found_among_what_else_was_printed() -> None:
    assert answer_of("x", 0, 'a warning\nANSWER {"rows": 1}\nANSWER {"rows": 2}\ngoodbye') == {"rows": 2}


@pytest.mark.parametrize(("status", "output"), [(0, "nothing"), (3, 'ANSWER {"rows": 2}\nTraceback: broken')])
def test_a_contender_that_failed_is_shown(status: int, output: str) -> None:
    with pytest.raises(RuntimeError, match=f"contender ended with status {status}:\n{output}"):
        answer_of("contender", status, output)


def test_everybody_has_the_same_cores_and_no_cluster_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://somewhere:10001")
    environment = Setting(tmp_path, cores=3).environment(EXTRA="1")
    assert environment["RAYON_NUM_THREADS"] == environment["OMP_NUM_THREADS"] == "3"
    assert "RAY_ADDRESS" not in environment
    assert environment["EXTRA"] == "1"


def test_a_contender_gets_its_arguments_and_answers(tmp_path: Path) -> None:
    """A module that stands in the contender's working directory, run by the very same words."""
    (tmp_path / "double.py").write_text(
        "from bench.setting import answers\nanswers(lambda number: {'doubled': 2 * number})\n"
    )
    assert Setting(tmp_path, cores=1).run("double", number=21) == {"doubled": 42}
