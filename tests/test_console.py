"""What is printed where there is no terminal; and where there is one, that nothing of it is cut off."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from rejoinder import console


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (59.7, "1 min 0 s"), (75.3, "1 min 15 s"), (3600, "60 min 0 s")],
)
def test_a_duration_reads_well(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.parametrize("text", ["[bold]not markup[/bold]", "chats.jsonl:100: broken", ":smile:", "x" * 500])
def test_text_is_printed_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.say(text)
    console.fail(text)
    assert capsys.readouterr() == (text + "\n", text + "\n")


def test_a_stage_says_what_it_is_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    with console.stage("Prepare [all]"):
        pass
    assert capsys.readouterr().out == "\n== Prepare [all]\n   done in 0.0 s\n"


def test_a_stage_that_fails_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), console.stage("Prepare"):
        raise ValueError
    assert "done" not in capsys.readouterr().out


def test_progress_is_plain_lines_with_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with console.ProgressLine("training", 2000, "steps", seconds_between_lines=0) as progress:
        progress.update(1000, "loss 2.5")  # where it began: no pace is known yet
        progress.update(2000)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "   training: 1,000/2,000 steps, loss 2.5"
    assert second == "   training: 2,000/2,000 steps, 0.0 s left"


def test_progress_without_a_total_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with console.ProgressLine("tokenizing", None, "conversations", seconds_between_lines=0) as progress:
        progress.update(12345)
    assert capsys.readouterr().out == "   tokenizing: 12,345 conversations\n"


def test_progress_is_silent_between_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with console.ProgressLine("training", 10, "steps", seconds_between_lines=60) as progress:
        progress.update(1)
    assert capsys.readouterr().out == ""


def test_in_a_narrow_terminal_the_note_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "_out", Console(file=screen, force_terminal=True, width=80, _environ={}))
    with console.ProgressLine("training", 2000, "steps") as progress:
        progress.update(1000, "epoch 2, loss 2.500, valid 1.932 bits/byte, 99,999 reply tokens/s, 3% padding")
        console.say("   step 1,000: validation loss 2.250")
        progress._bar.refresh()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n").splitlines()
    assert any(re.match(r"   training ━.* 1,000/2,000 steps .* left ", line) for line in lines)
    assert any(
        line.startswith("   epoch 2, loss 2.500, valid 1.932 bits/byte, 99,999 reply tokens/s, 3%") for line in lines
    )
    assert "   step 1,000: validation loss 2.250" in [line.rstrip() for line in lines]
    assert max(map(len, lines)) <= 80
