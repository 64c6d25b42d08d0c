"""What README and docs/ say is true of the checkout: the map, the commands, the links."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rejoinder import command_line
from rejoinder.recipe import load_recipe

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
# Not worth a line of their own: their folder's line says it.
WITHOUT_A_LINE = {"__init__.py", ".gitignore", "README.md", "CONTRIBUTING.md"}


def files_of_git() -> set[str]:
    """Every file that is part of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT, capture_output=True, text=True,
        check=True,
    ).stdout.split()  # fmt: skip
    return {name for name in listed if (CHECKOUT / name).exists()}


def files_of_the_map() -> set[str]:
    """Every path that the README's map names; folders end with a slash."""
    text = (CHECKOUT / "README.md").read_text().split("## The house")[1]
    paths, parents = set(), dict[int, str]()
    for line in text.splitlines():
        if not (match := re.match(r"( {4,})(\S+) {2,}\S", line)):
            continue
        indent, name = len(match[1]), match[2]
        above = [parents[depth] for depth in sorted(parents) if depth < indent]
        parents = {depth: parent for depth, parent in parents.items() if depth < indent}
        if name.endswith("/"):
            parents[indent] = name
        paths.add("".join(above) + name)
    return paths


def test_the_map_names_every_file_and_nothing_else() -> None:
    named = files_of_the_map()
    described_as_a_whole = tuple(name for name in named if name in ("tests/", "docs/", "bench/results/"))
    expected = {
        name
        for name in files_of_git()
        if Path(name).name not in WITHOUT_A_LINE and not name.startswith(described_as_a_whole)
    }
    assert {name for name in named if not name.endswith("/")} == expected
    assert all((CHECKOUT / name).exists() for name in named)


def lines_of_commands() -> list[tuple[str, list[str]]]:
    """Page and words of every `python jobs/NAME.py ...` that stands in one."""
    found = []
    for page in PAGES:
        for line in re.findall(r"python (jobs/\w+\.py[^`\n]*)", page.read_text().replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            if not any(word.startswith("[") for word in words):
                found.append((page.name, words))
    return found


def commands() -> list[Any]:
    return [pytest.param(words, id=f"{page}: {' '.join(words)}") for page, words in lines_of_commands()]


def recipe_printed_into(name: str) -> str | None:
    """The recipe that a page's `... --print > NAME` writes there."""
    for _, words in lines_of_commands():
        if words[-2:] == [">", name]:
            recipe, *changes = words[1:-3]
            return load_recipe(CHECKOUT / "jobs" / "recipes" / f"{recipe}.yaml", changes).to_yaml()
    return None


@pytest.mark.parametrize("words", commands())
def test_a_command_of_the_docs_is_understood(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job, *rest = words
    if rest[-2:-1] == [">"]:
        del rest[-2:]
    elif rest and (text := recipe_printed_into(rest[0])):
        (tmp_path / rest[0]).write_text(text)
        rest[0] = str(tmp_path / rest[0])
    monkeypatch.syspath_prepend(CHECKOUT / "jobs")
    monkeypatch.chdir(CHECKOUT)
    spec = importlib.util.spec_from_file_location("job_under_test", CHECKOUT / job)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rest = [word for word in rest if word not in ("--help", "--print")]
    command_line.run(getattr(module, Path(job).stem), [*rest, "--print"])
    assert "training:" in capsys.readouterr().out


def test_every_make_target_of_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE))
    asked = {
        name for page in PAGES for name in re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert asked
    assert asked <= targets


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_ci_runs_what_the_readme_says_and_nothing_by_hand() -> None:
    lines = (CHECKOUT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make ")] == [
        "make check",
        "make test",
        "make test-slow",
        "make demo",
    ]
