"""Jobs as programs, in a home of their own; and real Ray clusters on ports of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An empty home, and none of what the tests' own process has set."""
    home = tmp_path / "home"
    home.mkdir()
    dropped = ("RAY_", "MLFLOW_", "REJOINDER_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}


RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_job(environment: dict[str, str], tmp_path: Path) -> RunJob:
    """`run_job("train", "tiny", "training.num_steps=4")`, from a directory that is not the checkout."""

    def run(job: str, *words: str, text_in: str = "", timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(CHECKOUT / "jobs" / f"{job}.py"), *words], cwd=tmp_path, env=environment,
            input=text_in, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    return run


@dataclass
class Cluster:
    """A real cluster, started by `ray start`. Stopped by process id: `ray stop` would stop everybody's."""

    environment: dict[str, str]
    gcs_port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)
    # Sockets live below it, and their paths must be short.
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="rj")))
    _nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where jobs are submitted."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def start_head(self, cwd: Path, num_cpus: int) -> None:
        """The first node. Returns when jobs can be submitted."""
        self._start(
            cwd, "--head", f"--port={self.gcs_port}", f"--dashboard-port={self.dashboard_port}",
            "--dashboard-host=127.0.0.1", f"--temp-dir={self.directory}", f"--ray-client-server-port={free_port()}",
            f"--num-cpus={num_cpus}",
        )  # fmt: skip
        self._wait_for(f"{self.url}/api/version")

    def add_node(self, cwd: Path, num_cpus: int) -> None:
        """Another node of the same cluster."""
        self._start(cwd, f"--address=127.0.0.1:{self.gcs_port}", f"--num-cpus={num_cpus}")

    def submit(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """`ray job submit ...`, waiting for its end."""
        return subprocess.run(
            [str(BIN / "ray"), "job", "submit", f"--address={self.url}", *words], cwd=cwd, env=self.environment,
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip

    def stop(self) -> None:
        """Ends every node's process group, and clears their files."""
        for node in self._nodes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGTERM)
        for node in self._nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(timeout=20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, cwd: Path, *words: str) -> None:
        agents = (f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}")
        command = [str(BIN / "ray"), "start", "--block", "--disable-usage-stats", *agents, *words]
        self._nodes.append(
            subprocess.Popen(command, cwd=cwd, env=self.environment, stdout=subprocess.DEVNULL, start_new_session=True)
        )

    def _wait_for(self, url: str) -> None:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"})
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5):
                    return
            except OSError:
                assert time.monotonic() < deadline, f"{url} does not answer"
                time.sleep(0.3)


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[Cluster]:
    """A cluster that wants a token, as cluster.yaml's does. `python` is this one on all nodes."""
    path = f"{BIN}{os.pathsep}{environment['PATH']}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PATH": path}
    cluster = Cluster(environment | token)
    yield cluster
    cluster.stop()
