"""What people see of a search: a table in a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

Make = Callable[..., Any]
LINES = {"training.learning_rate": {"choice": [0.01, 0.02, 0.03]}}
WORDS = ("tuning.search=grid", "tuning.scheduler=none", "tuning.objectives=[valid_loss, num_parameters]")


def outcome(sample: dict[str, Any], step: int) -> float:
    if sample["training.learning_rate"] == 0.03:
        raise ValueError("out of memory")
    return 100 * sample["training.learning_rate"] + 1 / step


def test_lines_say_what_begins_what_is_best_and_why_something_failed(
    make_space: Make, make_search: Make, play: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    search = make_search(make_space(LINES, *WORDS))
    with search.display:
        play(search, outcome)
    said = capsys.readouterr().out
    for line in (
        "trial 0 begins: learning_rate 0.01",
        "trial 0 is the best so far: valid_loss 1.1, num_parameters 1 at step 10",
        "trial 0 finished at step 100: valid_loss 1.01, num_parameters 1; 1 of 3 trials ended",
        "trial 2 failed at step 0 (out of memory): nothing measured; 3 of 3 trials ended",
    ):
        assert line in said


def test_the_table_has_a_row_a_trial_a_mark_at_the_best_and_the_time_left(
    make_space: Make, make_search: Make, play: Make
) -> None:
    search = make_search(make_space(LINES, *WORDS))
    with pytest.raises(Exception, match=r"^$"):
        play(search, outcome, killed_after=10)
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(search.display.table())
    rows = console.export_text().splitlines()
    assert rows[0].split() == ["trial", "settings", "step", "valid_loss", "num_parameters", "state"]
    assert rows[1].split() == ["*0", "learning_rate", "0.01", "50", "1.02", "1", "running"]
    assert rows[2].split() == ["1", "learning_rate", "0.02", "40", "2.025", "1", "running"]
    assert "0 of 3 trials ended, best valid_loss 1.02, num_parameters 1 (trial 0), about" in rows[-1]
    assert rows[-1].rstrip().endswith("left")
