"""`python -m bench NAME`: asks the questions of bench/NAME/ and prints a line a figure.

Each question writes bench/results/NAME-QUESTION.json and its plot as soon as it is answered, and puts its figures into
the bench's page, docs/benchmarks.md. NAME-QUESTION asks one question alone. Exit status 1 when a figure is short of its
floor.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

from bench import records
from bench.framework import HEAD, Line, judge, read_floors, shown_in, text_table
from bench.setting import Setting, num_cores, peers_python

ROOM = Path(__file__).parent
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
    lines: list[Line] = []
    started, load = time.time(), os.getloadavg()[0]
    if load > num_cores() / 4:
        print(f"the machine is busy (load {load:.1f} on {num_cores()} cores): take no figure of this run for good")
    for question, module in asked.items():
        begun = time.time()
        with tempfile.TemporaryDirectory(prefix=f"rejoinder-bench-{question}-") as folder:
            setting = Setting(Path(folder), num_cores(), arguments.rounds, arguments.tiny, peers, arguments.wall_s)
            print(f"{name}.{question}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
            result = module.measure(setting)
        floors = {} if arguments.tiny else read_floors(f"{name}.{question}")
        judged = judge(result.figures, floors, with_peers=not arguments.no_peers)
        print("\n".join("  " + line for line in text_table([line.cells() for line in judged])), flush=True)
        lines += judged
        if not arguments.tiny and not arguments.no_peers:
            records.write(arguments.results, f"{name}-{question}", result, judged, begun, arguments.rounds)
            if arguments.results == RESULTS:
                _show(name, question)
    print("\n" + "\n".join(text_table([HEAD, *(line.cells() for line in lines)])))
    short = [line.figure.name for line in lines if line.verdict == "SHORT"]
    print(f"\n{time.time() - started:.0f} s; " + (f"short: {', '.join(short)}" if short else "no figure is short"))
    return 1 if short else 0


def _show(bench: str, question: str) -> None:
    """Puts what is known of the question, and of those that stand beside it, into the bench's page."""
    modules = questions(bench)
    stands_alone = getattr(modules[question], "ALONE", False)
    beside = [one for one, module in modules.items() if not getattr(module, "ALONE", False)]
    mark, names = (f"{bench}-{question}", [question]) if stands_alone else (bench, beside)
    page = PAGES / getattr(importlib.import_module(f"bench.{bench}"), "PAGE", "benchmarks.md")
    shown = records.markdown(RESULTS, [f"{bench}-{one}" for one in names])
    page.write_text(shown_in(page.read_text(encoding="utf-8"), mark, shown), encoding="utf-8")


def benches() -> list[str]:
    """The folders of this room that hold questions."""
    return sorted(module.name for module in pkgutil.iter_modules([str(ROOM)]) if module.ispkg)


def questions(bench: str) -> dict[str, ModuleType]:
    """The files of a bench that have a `measure`: name -> module, in the order of the alphabet."""
    found = pkgutil.iter_modules([str(ROOM / bench)])
    modules = {one.name: importlib.import_module(f"bench.{bench}.{one.name}") for one in found if not one.ispkg}
    return {name: module for name, module in modules.items() if hasattr(module, "measure")}


if __name__ == "__main__":
    sys.exit(main())
