"""`python -m bench`: its exit status and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import __main__ as program
from bench import framework, records
from bench.framework import Figure, Result

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`ask(ours)`: a bench of one question, whose peer has 10 and whose floor is twice that; its exit status."""
    floors = tmp_path / "floors.yaml"
    floors.write_text("data.speed: {speed: {ratio: 2}}\n")
    monkeypatch.setattr(framework, "FLOORS", floors)
    monkeypatch.setattr(program, "peers_python", lambda name: Path(sys.executable))

    def run(ours: float, *words: str) -> int:
        result = Result([Figure("speed", "MB/s", [ours], [10])], {"size": 3}, lambda file: None)
        question = SimpleNamespace(__doc__="How fast?", measure=lambda setting: result)
        monkeypatch.setattr(program, "questions", lambda bench: {"speed": question})
        return program.main(["data", "--results", str(tmp_path / "results"), *words])

    return run


def test_a_short_figure_ends_with_status_1_and_its_name(
    ask: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(19) == 1
    assert "SHORT" in (shown := capsys.readouterr().out)
    assert "short: speed" in shown
    assert ask(20) == 0
    assert "no figure is short" in capsys.readouterr().out


def test_the_result_says_what_was_measured_and_with_what(ask: Callable[..., int], tmp_path: Path) -> None:
    ask(30)
    result = json.loads((tmp_path / "results" / "data-speed.json").read_text())
    assert result["figures"][0]["ratio"] == 3
    assert result["figures"][0]["verdict"] == "ok"
    assert result["facts"] == {"size": 3}
    assert result["rounds"] == 3
    assert result["cores"] == len(os.sched_getaffinity(0))
    assert {"python", "ray", "torch", "pyarrow", "tokenizers", "datasets"} <= result["versions"].keys()
    assert result["commit"]
    page = records.markdown(tmp_path / "results", ["data-speed", "data-size"])
    assert "| speed | 30 MB/s | 10 MB/s | 3x | >= 2x | ok |" in page
    assert "Not taken yet: `data-size`." in page
    assert f"commit `{result['commit']}`" in page


def test_questions_of_different_commits_say_so(ask: Callable[..., int], tmp_path: Path) -> None:
    ask(30)
    first = tmp_path / "results" / "data-speed.json"
    other = json.loads(first.read_text()) | {"commit": "0ther"}
    (tmp_path / "results" / "data-size.json").write_text(json.dumps(other))
    page = records.markdown(tmp_path / "results", ["data-speed", "data-size"])
    assert "* speed: " in page
    assert "* size: " in page
    assert page.count("| speed | 30 MB/s |") == 2


@pytest.mark.parametrize("words", [["--tiny"], ["--no-peers"]])
def test_what_was_not_measured_in_full_is_not_written(
    ask: Callable[..., int], tmp_path: Path, words: list[str]
) -> None:
    assert ask(1, *words) == 0
    assert not (tmp_path / "results").exists()


def test_an_unknown_bench_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        program.main(["dta"])
    assert left.value.code == 2
    assert "no bench 'dta'; there are data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("bench", "alone", "others"),
    [
        ("data", ["scale"], {"opening", "padding", "prepare", "reading"}),
        ("models", [], {"side_by_side"}),
        ("training", ["gpu"], {"quality", "recurrent", "scaling", "speed", "starting"}),
    ],
)
def test_the_long_question_is_asked_only_by_name(bench: str, alone: list[str], others: set[str]) -> None:
    asked = program.questions(bench)
    assert asked.keys() == {*alone, *others}
    assert [name for name, module in asked.items() if getattr(module, "ALONE", False)] == alone


def test_every_peer_is_pinned_and_none_is_a_package_of_ours() -> None:
    ours = {line.split("==")[0] for line in (CHECKOUT / "requirements.lock").read_text().splitlines()}
    for file in (CHECKOUT / "bench").glob("peers-*.txt"):
        pins = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        assert pins
        assert all(len(line.split("==")) == 2 for line in pins), pins
        assert not ours & {line.split("==")[0] for line in pins}, "a peer would run on another version than we do"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["data-opening", "data-padding", "data-scale"])  # the others take many minutes
def test_the_bench_runs_in_a_tiny_size_without_its_peers(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", name, "--tiny", "--no-peers", "--rounds", "1"],
        cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": f"platform{os.pathsep}."}, text=True, timeout=850,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "no figure is short" in done.stdout
