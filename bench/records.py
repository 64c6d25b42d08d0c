"""A question's result in, bench/results/NAME-QUESTION.json and .svg out; and from such files the text of a page."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.framework import HEAD, Line, Result, markdown_table
from bench.setting import num_cores

ROOM = Path(__file__).parent
PEERS = ("datasets==", "eole==", "joeynmt==")


def write(folder: Path, name: str, result: Result, lines: Sequence[Line], started: float, rounds: int) -> None:
    """NAME.json, and NAME.svg if the question draws one."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "question": name,
        "figures": [line.plain() for line in lines],
        "facts": result.facts,
        "table": result.table,
        "rounds": rounds,
        **made_with(started),
        "load_average_of_15_minutes": os.getloadavg()[2],  # above the cores: others were at work too
    }
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if result.plot is not None:
        result.plot(folder / f"{name}.svg")


def markdown(folder: Path, names: Sequence[str]) -> str:
    """What a page shows of these questions: tables, what they were measured with, plots; and which were never asked."""
    files = {name: folder / f"{name}.json" for name in names}
    found = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}
    rows = [line["cells"] for one in found.values() if not one["table"] for line in one["figures"]]
    parts = [markdown_table([HEAD, *rows])] if rows else []
    parts += [one["table"].rstrip() + "\n" for one in found.values() if one["table"]]
    if missing := [f"`{name}`" for name in names if name not in found]:
        parts.append(f"Not taken yet: {', '.join(missing)}.\n")
    parts += [_measured_with(found)] if found else []
    parts += [f"![{name.replace('-', ': ')}](../{ROOM.name}/results/{name}.svg)\n" for name in found
              if (folder / f"{name}.svg").exists()]  # fmt: skip
    return "\n".join(parts)


def _measured_with(found: dict[str, dict[str, Any]]) -> str:
    """A sentence for each machine, commit and set of versions."""
    groups: dict[str, list[str]] = {}
    for name, one in found.items():
        versions = ", ".join(f"{package} {number}" for package, number in one["versions"].items())
        with_what = f"{one['cores']} cores ({one['processor']}), commit `{one['commit']}`; {versions}."
        groups.setdefault(with_what, []).append(name.partition("-")[2])
    if len(groups) == 1:
        return f"{next(iter(groups))}\n"
    return "".join(f"* {', '.join(names)}: {with_what}\n" for with_what, names in groups.items())


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
    """The checkout's commit, with `+` when the code was changed since; `unknown` outside git."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "--no-optional-locks", *words]
        return subprocess.run(command, cwd=ROOM, capture_output=True, text=True, check=False)

    head = git("rev-parse", "--short", "HEAD")
    if head.returncode:
        return "unknown"
    code = [":/", ":!/bench/results", ":!/docs", ":!/bench/.peers"]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *code).stdout.strip()
    return head.stdout.strip() + ("+" if changed else "")
