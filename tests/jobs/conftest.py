"""Jobs as programs, in a home of their own; and real Ray clusters on ports of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.jobs.helpers import RunJob, environment_of, runner
from tests.real import free_port

BIN = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An empty home, and none of what the tests' own process has set."""
    return environment_of(tmp_path / "home")


@pytest.fixture
def run_job(environment: dict[str, str], tmp_path: Path) -> RunJob:
    """`run_job("train", "tiny", "training.num_steps=4")`, from a directory that is not the checkout."""
    return runner(environment, tmp_path)


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

    def start_head(self, cwd: Path, num_cpus: int, *words: str, takes_jobs: bool = True) -> None:
        """The first node, with more words for `ray start`. Returns when jobs can be submitted; where none are to be,
        Ray's dashboard, which takes them, is left out with all its processes."""
        self._start(
            cwd, "--head", f"--port={self.gcs_port}", f"--dashboard-port={self.dashboard_port}",
            "--dashboard-host=127.0.0.1", f"--temp-dir={self.directory}", f"--ray-client-server-port={free_port()}",
            f"--num-cpus={num_cpus}", f"--include-dashboard={takes_jobs}", *words,
        )  # fmt: skip
        if takes_jobs:
            self._wait_for(f"{self.url}/api/version")
        else:
            self._wait_until_it_says("Ray runtime started")

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
        with self._said(len(self._nodes)).open("wb") as out:
            self._nodes.append(
                subprocess.Popen(command, cwd=cwd, env=self.environment, stdout=out, start_new_session=True)
            )

    def _said(self, node: int) -> Path:
        """What a node has printed."""
        return self.directory / f"node-{node}.txt"

    def _wait_until_it_says(self, words: str) -> None:
        """Of the node that was started last."""
        deadline, said = time.monotonic() + 90, self._said(len(self._nodes) - 1)
        while words not in said.read_text():
            assert self._nodes[-1].poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)

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
