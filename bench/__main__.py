"""`python -m bench NAME`: asks the questions of bench/NAME/ and prints a line a figure.

It writes bench/results/NAME.json, .md and plots, and puts the table into the bench's page, docs/benchmarks.md.
NAME-QUESTION asks one question alone and only prints, unless it is one that NAME leaves out because it takes long.
Exit status 1 when a figure is short of its floor.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.framework import HEAD, Line, Result, judge, markdown_table, read_floors, shown_in, text_table
from bench.setting import Setting, num_cores, peers_python

ROOM = Path(__file__).parent
PEERS = ("datasets==", "eole==", "joeynmt==")
RESULTS = ROOM / "results"
PAGES = ROOM.parent / "docs"


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0 when every figure reaches its floor, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compares Rejoinder with its peers.")
    parser.add_argument("bench", help=f"one of {', '.join(benches())}, or BENCH-QUESTION")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs (default: 3)")
    parser.add_argument("--wall-s", type=float, help="seconds that a contender trains, or a question of serving takes")
    parser.add_argument("--tiny", action="store_true", help="a hundredth of the work; judges and writes nothing")
    parser.add_argument("--no-peers", action="store_true", help="ours alone; ratios are not judged")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write into (default: bench/results)")
    arguments = parser.parse_args(argv)
    name, _, alone = arguments.bench.partition("-")
    if name not in benches() or (alone and alone not in questions(name)):
        parser.error(f"there is no bench {arguments.bench!r}; there are {', '.join(benches())}")
    asked = {alone: questions(name)[alone]} if alone else {
        question: module for question, module in questions(name).items() if not getattr(module, "ALONE", False)
    }  # fmt: skip
    needs_peers = any(getattr(module, "NEEDS_PEERS", True) for module in asked.values())
    peers = peers_python(name) if needs_peers and not arguments.no_peers else None
    results, lines = {}, []
    started, load = time.time(), os.getloadavg()[0]
    if load > num_cores() / 4:
        print(f"the machine is busy (load {load:.1f} on {num_cores()} cores): take no figure of this run for good")
    for question, module in asked.items():
        with tempfile.TemporaryDirectory(prefix=f"rejoinder-bench-{question}-") as folder:
            setting = Setting(Path(folder), num_cores(), arguments.rounds, arguments.tiny, peers, arguments.wall_s)
            print(f"{name}.{question}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
            results[question] = module.measure(setting)
        floors = {} if arguments.tiny else read_floors(f"{name}.{question}")
        judged = judge(results[question].figures, floors, with_peers=not arguments.no_peers)
        print("\n".join("  " + line for line in text_table([line.cells() for line in judged])), flush=True)
        lines += judged
    print("\n" + "\n".join(text_table([HEAD, *(line.cells() for line in lines)])))
    short = [line.figure.name for line in lines if line.verdict == "SHORT"]
    print(f"\n{time.time() - started:.0f} s; " + (f"short: {', '.join(short)}" if short else "no figure is short"))
    whole = not alone or getattr(asked[alone], "ALONE", False)
    if whole and not arguments.tiny and not arguments.no_peers:
        write(arguments.results, arguments.bench, results, lines, started)
        print(f"written: {arguments.results / arguments.bench}.json, .md and the plots beside them")
        if arguments.results == RESULTS:
            shown = (RESULTS / f"{arguments.bench}.md").read_text(encoding="utf-8") + "\n" + images(name, results)
            page = PAGES / getattr(importlib.import_module(f"bench.{name}"), "PAGE", "benchmarks.md")
            page.write_text(shown_in(page.read_text(encoding="utf-8"), arguments.bench, shown), encoding="utf-8")
    return 1 if short else 0


def benches() -> list[str]:
    """The folders of this room that hold questions."""
    return sorted(module.name for module in pkgutil.iter_modules([str(ROOM)]) if module.ispkg)


def questions(bench: str) -> dict[str, ModuleType]:
    """The files of a bench that have a `measure`: name -> module, in the order of the alphabet."""
    found = pkgutil.iter_modules([str(ROOM / bench)])
    modules = {one.name: importlib.import_module(f"bench.{bench}.{one.name}") for one in found if not one.ispkg}
    return {name: module for name, module in modules.items() if hasattr(module, "measure")}


def write(folder: Path, name: str, results: dict[str, Result], lines: list[Line], started: float) -> None:
    """NAME.json, NAME.md and a plot for each question that draws one."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "bench": name,
        "figures": [line.plain() for line in lines],
        "facts": {question: result.facts for question, result in results.items()},
        **made_with(started),
        "load_average_of_15_minutes": os.getloadavg()[2],  # above the cores: others were at work too
    }
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    own = [result.table for result in results.values() if result.table]
    (folder / f"{name}.md").write_text(table(lines, content, own), encoding="utf-8")
    bench = name.partition("-")[0]
    for question, result in results.items():
        if result.plot is not None:
            result.plot(folder / f"{bench}-{question}.svg")


def images(bench: str, results: dict[str, Result]) -> str:
    """The plots of a result, as the page in docs/ shows them."""
    drawn = [question for question, result in results.items() if result.plot is not None]
    return "\n\n".join(f"![{bench}: {one}](../{ROOM.name}/{RESULTS.name}/{bench}-{one}.svg)" for one in drawn) + "\n"


def table(lines: list[Line], made: dict[str, Any], own: Sequence[str] = ()) -> str:
    """The markdown of a result: the table, or the questions' own ones, then what it was measured with."""
    versions = ", ".join(f"{package} {number}" for package, number in made["versions"].items())
    foot = f"{made['cores']} cores ({made['processor']}), commit `{made['commit']}`; {versions}."
    tables = own or [markdown_table([HEAD, *(line.cells() for line in lines)])]
    return "\n".join(tables) + f"\n{foot}\n"


def made_with(started: float) -> dict[str, Any]:
    """Versions, cores, processor, commit and time of a measurement."""
    packages = ("ray", "torch", "pyarrow", "tokenizers", "transformers", "numpy")
    pins = [line for file in sorted(ROOM.glob("peers-*.txt")) for line in file.read_text(encoding="utf-8").splitlines()]
    peers = dict(line.split("==") for line in pins if line.startswith(PEERS))
    return {
        "versions": {"python": platform.python_version()} | {one: version(one) for one in packages} | peers,
        "cores": num_cores(),
        "processor": _processor(),
        "commit": _commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "took_s": round(time.time() - started),
    }


def _processor() -> str:
    """Its name as Linux has it; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The checkout's commit, with `+` when something was changed since; `unknown` outside git."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "--no-optional-locks", *words]
        return subprocess.run(command, cwd=ROOM, capture_output=True, text=True, check=False)

    head = git("rev-parse", "--short", "HEAD")
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if git("status", "--porcelain", "--", "..", ":!results").stdout.strip() else "")


if __name__ == "__main__":
    sys.exit(main())
