"""The team's store as deploy/ runs it: the real `mlflow server` on a real PostgreSQL and an S3 server, end to end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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
from tests.real import free_port, postgresql

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
COMPOSE = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"
KEYS = {"POSTGRES_PASSWORD": "opensesame", "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of an empty database of a PostgreSQL of our own, which asks for its password."""
    pytest.importorskip("psycopg", reason="the extra [postgresql] is not installed")
    with postgresql(KEYS["POSTGRES_PASSWORD"]) as server:
        yield f"tester:{KEYS['POSTGRES_PASSWORD']}@127.0.0.1:{server.port}/test"


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
def team(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses of the server and of its S3, both started as deploy/compose.yaml says, with other ports."""
    home, s3, port = tmp_path_factory.mktemp("team"), f"http://127.0.0.1:{free_port()}", free_port()
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    values = KEYS | {"S3_ENDPOINT": s3}

    def filled(text: str) -> str:
        """${NAME:-default} as compose fills it in."""
        text = re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", lambda of: values.get(of[1], of[2] or ""), text)
        return re.sub(r"mlflow:\w+@database:5432/mlflow", database, text)

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
    team: tuple[str, str], database: str, with_words: Callable[..., Recipe], prepared: Prepared,
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

    straight = Registry(with_words(f"registry.tracking_uri=postgresql://{database}"))
    actions = [entry.decision.action for entry in straight.ledger.standing().entries]
    assert actions == ["promoted", "promoted", "rolled back"]
    assert straight.find("champion").number == 1
    with pytest.raises(RegistryError, match=r"postgresql://tester:…@.*password"):
        Registry(with_words(f"registry.tracking_uri=postgresql://{database}".replace("opensesame", "guess")))
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
