"""The team's store as deploy/ runs it: the real `mlflow server` on a real PostgreSQL and an S3 server, end to end."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow import MlflowClient

from rejoinder import checkpoints
from rejoinder.errors import RegistryError
from rejoinder.evaluation import Evaluation
from rejoinder.recipe import Recipe
from rejoinder.registry import ROLLED_BACK, Decision, Registry, tracked_run
from rejoinder.registry.store import INPUT_EXAMPLE
from rejoinder.shards import Prepared
from rejoinder.training import TrainedRun

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
COMPOSE = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"
KEYS = {"POSTGRES_PASSWORD": "opensesame", "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> Path | None:
    """A program of PostgreSQL, which Debian keeps out of the PATH."""
    found = shutil.which(name)
    candidates = [Path(found)] if found else sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return candidates[-1] if candidates else None


@pytest.fixture(scope="module")
def database() -> Iterator[int]:
    """The port of a PostgreSQL of our own. It refuses to run as root, so then it is somebody else's."""
    pytest.importorskip("psycopg", reason="the extra [postgresql] is not installed")
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL is not on this machine: initdb and pg_ctl were not found")
    user = None
    if os.getuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = next(name for name in ("postgres", "nobody") if name in names)
    home, port = Path(tempfile.mkdtemp(prefix="rj-pg-", dir="/tmp")), free_port()  # sockets need short paths
    (home / "password").write_text(KEYS["POSTGRES_PASSWORD"])
    if user:
        for path in (home, home / "password"):
            shutil.chown(path, user)

    def run(*words: object) -> None:
        # Into a file: the server inherits its caller's output, and a pipe would never end.
        with (home / "said").open("ab") as said:
            done = subprocess.run(list(map(str, words)), user=user, cwd=home, stdout=said, stderr=said, check=False)
        assert done.returncode == 0, (home / "said").read_text()

    run(initdb, "--pgdata", home / "data", "--username=mlflow", "--auth=scram-sha-256", "--no-sync",
        f"--pwfile={home / 'password'}")  # fmt: skip
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(pg_ctl, "--pgdata", home / "data", "--options", options, "--wait", "start")
    try:
        import psycopg

        with psycopg.connect(f"{address(port)}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE mlflow")
        yield port
    finally:
        run(pg_ctl, "--pgdata", home / "data", "--mode=immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


def address(port: int) -> str:
    """Of the database server."""
    return f"postgresql://mlflow:{KEYS['POSTGRES_PASSWORD']}@127.0.0.1:{port}"


def answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until a server answers."""
    deadline = time.monotonic() + 240
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@pytest.fixture(scope="module")
def team(database: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses of the server and of its S3, both started as deploy/compose.yaml says, with other ports."""
    home, s3, port = tmp_path_factory.mktemp("team"), f"http://127.0.0.1:{free_port()}", free_port()
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    values = KEYS | {"S3_ENDPOINT": s3}

    def filled(text: str) -> str:
        """${NAME:-default} as compose fills it in."""
        text = re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", lambda of: values.get(of[1], of[2] or ""), text)
        return text.replace("@database:5432", f"@127.0.0.1:{database}")

    own = {name: filled(text) for name, text in services["mlflow"]["environment"].items()}
    bucket = {name: filled(text) for name, text in services["bucket"]["environment"].items()}
    dropped = ("MLFLOW_", "AWS_", "PYTHONPATH")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    command = [str(BIN / services["mlflow"]["command"][0]), *services["mlflow"]["command"][1:]]
    command = [word.replace("0.0.0.0", "127.0.0.1").replace("=5000", f"={port}") for word in command]
    started = []
    try:
        for name, words, url in (
            ("s3", [BIN / "moto_server", "-H", "127.0.0.1", "-p", s3.rpartition(":")[2]], s3),
            ("mlflow", [*command, "--workers=1"], f"http://127.0.0.1:{port}/health"),
        ):
            with (home / name).open("wb") as log:
                process = subprocess.Popen(
                    list(map(str, words)), cwd=home, env=clean | own, stdout=log, stderr=log, start_new_session=True
                )
            started.append(process)
            answers(url, process, home / name)
            if name == "s3":
                subprocess.run(
                    [sys.executable, *services["bucket"]["command"][1:]], env=clean | bucket, check=True, timeout=120
                )
        yield f"http://127.0.0.1:{port}", s3
    finally:
        for process in started:
            os.killpg(process.pid, 9)  # each is a process group of its own
            process.wait(timeout=20)


@pytest.mark.timeout(600)
def test_register_promote_load_and_roll_back_through_server_postgresql_and_s3(
    team: tuple[str, str], database: int, with_words: Callable[..., Recipe], prepared: Prepared,
    make_run: Callable[[int], TrainedRun], evaluation: Evaluation,
) -> None:  # fmt: skip
    url, s3 = team
    recipe = with_words(f"registry.tracking_uri={url}")
    registry, run = Registry(recipe), make_run(1)
    with tracked_run(recipe, prepared, run.name) as tracker:
        tracker.log({"train_loss": 3.0}, step=1)
    registry.register(run, tracker.run_id, evaluation)
    MlflowClient(url).copy_model_version("models:/chat/1", "chat")
    for number, holder in ((1, None), (2, 1)):
        registry.decide(Decision("promoted", "champion", number, holder, "it is better"))
    assert [version.number for version in registry.versions()] == [2, 1]
    assert registry.find("champion").number == 2
    registry.decide(Decision(ROLLED_BACK, "champion", 1, 2, "it was rude"))
    assert registry.find("champion").number == 1

    directory = registry.download(registry.find("champion"))
    assert (directory / checkpoints.WEIGHTS).read_bytes() == (run.checkpoint / checkpoints.WEIGHTS).read_bytes()
    assert registry.documents(registry.find("champion")) is not None
    model: Any = mlflow.pyfunc.load_model("models:/chat@champion")
    (reply,) = model.predict(INPUT_EXAMPLE)
    assert isinstance(reply, str)
    import boto3

    listed = boto3.client(
        "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="somebody", aws_secret_access_key="secret"
    ).list_objects_v2(Bucket="mlflow", Prefix="artifacts/")["Contents"]  # fmt: skip
    assert sum(entry["Key"].endswith(checkpoints.WEIGHTS) for entry in listed) == 1

    straight = Registry(with_words(f"registry.tracking_uri={address(database)}/mlflow"))
    actions = [entry.decision.action for entry in straight.ledger.standing().entries]
    assert actions == ["promoted", "promoted", "rolled back"]
    assert straight.find("champion").number == 1
    with pytest.raises(RegistryError, match=r"postgresql://mlflow:…@.*password"):
        Registry(with_words(f"registry.tracking_uri={address(database)}/mlflow".replace("opensesame", "guess")))
    assert MlflowClient(url).get_run(tracker.run_id).data.metrics["train_loss"] == 3.0


@pytest.mark.timeout(600)
def test_of_promotions_at_once_through_the_server_one_wins(
    team: tuple[str, str], with_words: Callable[..., Recipe]
) -> None:
    recipe = with_words(f"registry.tracking_uri={team[0]}", "registry.model=contested")
    client = MlflowClient(team[0])
    client.create_registered_model("contested")
    for _ in range(3):
        client.create_model_version("contested", "s3://mlflow/somewhere", await_creation_for=0)
    registries, outcomes, barrier = [Registry(recipe) for _ in range(3)], dict[int, str](), threading.Barrier(3)

    def promote(version: int) -> None:
        barrier.wait(60)
        try:
            registries[version - 1].decide(Decision("promoted", "champion", version, None, "better"))
            outcomes[version] = "won"
        except RegistryError as error:
            outcomes[version] = "lost" if "meanwhile" in str(error) else str(error)

    threads = [threading.Thread(target=promote, args=(version,)) for version in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes.values()) == ["lost", "lost", "won"]
    (winner,) = [version for version, outcome in outcomes.items() if outcome == "won"]
    assert registries[0].find("champion").number == winner
