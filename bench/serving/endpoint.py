"""A contender that serves over HTTP, as a program of its own that is told what to do: started, asked, ended."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.setting import Setting, answer_of

_ANSWER = "ANSWER "
PATIENCE_S = 300.0


@dataclass
class Endpoint:
    """Where it listens, and its other end."""

    contender: str
    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)
    """What it printed."""

    def tell(self, order: str, **arguments: Any) -> dict[str, Any]:
        """What the program's function of this name answers. Raises RuntimeError when it has ended."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next one. A program that says nothing for minutes is ended."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))
                if line.startswith(_ANSWER):
                    return dict(json.loads(line.removeprefix(_ANSWER)))
        finally:
            watchdog.cancel()
        return answer_of(self.contender, self.process.wait() or 1, "\n".join(self.lines))


@contextmanager
def running(setting: Setting, contender: str, **arguments: Any) -> Iterator[Endpoint]:
    """Starts `bench.serving.contenders.NAME` on a free port and waits until it answers; at the end it stops."""
    port = free_port()
    environment = setting.environment(
        REJOINDER_HOME=str(setting.folder / "home"),
        MALLOC_MMAP_THRESHOLD_="1073741824", MALLOC_TRIM_THRESHOLD_="1073741824",
    )  # fmt: skip
    told = {"port": port, "home": str(setting.folder / f"{contender.rpartition('.')[2]}-{port}"), **arguments}
    process = subprocess.Popen(
        setting.command(contender, None, told),
        env=environment, cwd=setting.folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    endpoint = Endpoint(contender, process)
    try:
        endpoint.url = str(endpoint.answer()["url"])
        yield endpoint
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """One on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
