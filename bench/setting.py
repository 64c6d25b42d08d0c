"""How much to measure and where; runs a contender as a program of its own and gives back its answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rejoinder.cluster import CHECKOUT

_ANSWER = "ANSWER "


@dataclass(frozen=True)
class Setting:
    """What every question is given."""

    folder: Path
    """For what is made on the way; taken away afterwards."""
    cores: int
    """What each contender may use: threads, processes or Ray's CPUs."""
    rounds: int = 3
    tiny: bool = False
    """A hundredth of the work: shows that the bench runs, measures nothing."""
    peers: Path | None = None
    """The Python of the peers' environment; None measures ours alone."""
    wall_s: float | None = None
    """What each contender may train where quality is compared, or a question about serving may take, without what is
    started for it; None is the question's own default."""

    def size(self, full: int, tiny: int) -> int:
        """A size of the data: the full one, or the tiny one."""
        return tiny if self.tiny else full

    def run(
        self, contender: str, *, python: Path | None = None, num_processes: int = 1,
        extra: Mapping[str, str] | None = None, **arguments: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Runs a module such as `bench.data.contenders.NAME` with these arguments and waits for its answer.

        With several processes torchrun starts it; the answer printed last counts. `extra` is added to its environment.
        Raises RuntimeError with the end of its output when it fails.
        """
        done = subprocess.run(
            self.command(contender, python, arguments, num_processes), env=self.environment(**extra or {}),
            cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return answer_of(contender, done.returncode, done.stdout)

    def command(
        self, contender: str, python: Path | None, arguments: dict[str, Any], num_processes: int = 1
    ) -> list[str]:
        """What `run` starts."""
        words = [str(python or sys.executable), "-m"]
        if num_processes > 1:
            words += ["torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}", "-m"]
        return [*words, contender, json.dumps(arguments)]

    def environment(self, **more: str) -> dict[str, str]:
        """The same cores for everybody, our code, and no cluster or cache of the user's."""
        inherited = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")}
        return inherited | {
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT / "platform"), str(Path(__file__).resolve().parents[1])]),
            "RAYON_NUM_THREADS": str(self.cores),
            "OMP_NUM_THREADS": str(self.cores),
            "REJOINDER_HOME": str(self.folder / "home"),
            "HF_HOME": str(self.folder / "huggingface"),
            "HF_HUB_OFFLINE": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            **more,
        }


def answer_of(contender: str, status: int, output: str) -> dict[str, Any]:
    """The answer in what a contender printed."""
    lines = output.splitlines()
    answers = [line.removeprefix(_ANSWER) for line in lines if line.startswith(_ANSWER)]
    if status != 0 or not answers:
        # Of several processes the first to fail knows why; what stands last is only that torchrun gave up.
        begins = (number for number, line in enumerate(lines) if line.endswith("Traceback (most recent call last):"))
        first = next(begins, 0)
        told = lines[first : first + 40] if len(lines) - first > 65 else lines[first:-25]
        raise RuntimeError(f"{contender} ended with status {status}:\n" + "\n".join([*told, *lines[-25:]]))
    answer: dict[str, Any] = json.loads(answers[-1])
    return answer


def answers(contender: Callable[..., dict[str, Any]]) -> None:
    """The other end of `Setting.run`: argv's JSON as arguments, the answer as the last line."""
    print(_ANSWER + json.dumps(contender(**json.loads(sys.argv[1]))), flush=True)


def peers_python(bench: str) -> Path:
    """The Python of `bench/.peers/NAME`, made from `bench/peers-NAME.txt` when it does not stand as told.

    An environment of its own that sees the project's packages behind its own: the peers run on the very same versions
    of what both use, and nothing of theirs comes into the project's environment.
    """
    room = Path(__file__).parent
    pins, directory = room / f"peers-{bench}.txt", room / ".peers" / bench
    python, ready = directory / "bin" / "python", directory / "ready"
    shared = "\n".join(str(Path(path).resolve()) for path in sys.path if path.endswith("site-packages"))
    made_of = pins.read_text(encoding="utf-8") + shared
    if ready.exists() and ready.read_text(encoding="utf-8") == made_of:
        return python
    print(f"installing the peers of {pins.name} into {directory}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    (packages / "project.pth").write_text(shared, encoding="utf-8")
    subprocess.run(
        [
            str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--no-deps",  # what a peer asks for beside its own pins is what the project has
            "--requirement", str(pins),
        ],
        check=True,
    )  # fmt: skip
    ready.write_text(made_of, encoding="utf-8")
    return python


def num_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0))
