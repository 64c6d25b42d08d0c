"""Jobs whose storage is a bucket: interrupted, on machines that have nothing yet, with a server that goes away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from rejoinder.recipe import Recipe
from rejoinder.shards import prepare
from rejoinder.storage import filesystem_of

CHECKOUT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
MakeRecipe = Callable[..., Recipe]


class Machine:
    """A machine that has nothing but the recipe and the credentials; every one has a cache of its own."""

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        directory.mkdir()
        self.directory, self.file = directory, directory / "recipe.yaml"
        self.file.write_text(recipe.to_yaml())
        self.environment = os.environ | {"REJOINDER_CACHE": str(directory / "cache"), "HOME": str(directory)}

    def start(self, job: str, *words: str) -> subprocess.Popen[str]:
        """The job, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, str(CHECKOUT / "jobs" / f"{job}.py"), str(self.file), *words], cwd=self.directory,
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, job: str, *words: str) -> tuple[int, str]:
        """Exit status and output of the job."""
        process = self.start(job, *words)
        output, _ = process.communicate(timeout=240)
        return process.returncode, output

    def cached(self, pattern: str) -> list[str]:
        """Names of the copies that it has."""
        return sorted(path.name for path in (self.directory / "cache").rglob(pattern))


@pytest.fixture
def machine(s3: Any, make_recipe: MakeRecipe, tmp_path: Path) -> Callable[..., Machine]:
    """`machine("one", "model.width=8", ...)`: a new one."""
    common = ["cluster.num_cpus=2", f"storage.uri={s3.uri}", f"registry.tracking_uri=sqlite:///{tmp_path}/mlflow.db"]
    return lambda name, *words: Machine(tmp_path / name, make_recipe(*common, *words))


def written(s3: Any, ending: str) -> dict[str, Any]:
    """File under the prefix that ends so -> when it was written."""
    filesystem, path = filesystem_of(s3.uri)
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    return {entry.path: entry.mtime for entry in found if re.search(ending, entry.path)}


def until(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    """Waits while the process runs."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)


def set_in_a_directory(make_recipe: MakeRecipe, directory: Path, *words: str) -> dict[str, bytes]:
    """The files of the same set, made without any bucket."""
    made = prepare(make_recipe(*words, f"storage.uri={directory}")).directory
    return {path.name: path.read_bytes() for path in made.iterdir() if path.is_file() and path.name[0] != "."}


def set_in(s3: Any) -> dict[str, bytes]:
    """The files of the one set in the bucket."""
    return {name.rsplit("/", 1)[-1]: content for name, content in s3.files().items() if name.startswith("shards/")}


def test_a_set_in_a_bucket_is_found_by_a_machine_that_has_nothing(
    s3: Any, machine: Callable[..., Machine], make_recipe: MakeRecipe, ray_cluster: None, tmp_path: Path
) -> None:
    status, output = machine("one").run("prepare")
    assert status == 0, output
    assert f"made: {s3.uri}/shards/test-" in output
    second = machine("two")
    status, output = second.run("prepare")
    assert status == 0, output
    assert f"found, made before: {s3.uri}/shards/test-" in output
    assert second.cached("*.arrow") == []  # nothing was asked of it that needs one
    status, output = second.run("prepare", "--verify")
    assert status == 0, output
    assert len(second.cached("*.arrow")) == 6
    assert set_in(s3) == set_in_a_directory(make_recipe, tmp_path / "here")


def test_killed_while_building_another_machine_redoes_only_what_is_missing(
    s3: Any, machine: Callable[..., Machine], make_recipe: MakeRecipe, ray_cluster: None, tmp_path: Path
) -> None:
    words = ["data.corpora.0.num_conversations=8000", "data.exchanges_per_shard=800"]
    process = machine("one", *words).start("prepare")
    until(lambda: len(written(s3, r"/records/train")) >= 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(1)  # Ray's workers notice that their driver has gone
    records = written(s3, r"/records/train")
    before = written(s3, r"/train-\d+\.arrow$")
    assert not written(s3, r"/manifest\.json$")
    status, output = machine("two", *words).run("prepare")
    assert status == 0, output
    after = written(s3, r"/train-\d+\.arrow$")
    kept = [record.replace("/records/", "/").removesuffix(".json") for record in records]
    assert len(kept) >= 3
    assert {file: after[file] for file in kept} == {file: before[file] for file in kept}
    assert len(after) > len(kept)
    assert set_in(s3) == set_in_a_directory(make_recipe, tmp_path / "here", *words)


def test_a_run_in_a_bucket_goes_on_on_a_machine_that_has_nothing(s3: Any, machine: Callable[..., Machine]) -> None:
    words = ["training.checkpoint_every_steps=2", "training.validate_every_steps=2", "scaling.num_workers=1"]
    status, output = machine("one", *words).run("train")
    assert status == 0, output
    checkpoints = f"{next(name.split('/checkpoints/')[0] for name in s3.files() if 'step_' in name)}/checkpoints"
    whole = {name: content for name, content in s3.files().items() if name.startswith(f"{checkpoints}/step_00000004")}

    status, output = machine("two", *words).run("train")
    assert status == 0, output
    assert len(re.findall("found, made before", output)) == 3  # the set, the run, the evaluation

    filesystem, path = filesystem_of(s3.uri)
    filesystem.delete_dir(f"{path}/{checkpoints}/step_00000004")
    status, output = machine("three", *words).run("train")
    assert status == 0, output
    assert f"going on from the checkpoint of step 2 in {s3.uri}/{checkpoints}" in output
    again = {name: content for name, content in s3.files().items() if name.startswith(f"{checkpoints}/step_00000004")}
    weights = f"{checkpoints}/step_00000004/weights.safetensors"
    assert again.keys() == whole.keys()
    assert again[weights] == whole[weights]


def test_a_server_that_is_away_for_some_seconds_costs_only_them(s3: Any, machine: Callable[..., Machine]) -> None:
    words = ["data.corpora.0.num_conversations=8000", "data.exchanges_per_shard=5000", "storage.retry_s=60"]
    process = machine("one", *words).start("prepare")
    until(lambda: written(s3, r"/gathered/.*json"), process)
    s3.go()
    time.sleep(4)
    s3.come_back()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output


def test_a_server_that_is_gone_ends_the_job_with_one_sentence(s3: Any, machine: Callable[..., Machine]) -> None:
    words = ["data.corpora.0.num_conversations=8000", "data.exchanges_per_shard=5000", "storage.retry_s=2"]
    process = machine("one", *words).start("prepare")
    until(lambda: written(s3, r"/gathered/.*json"), process)
    s3.go()
    started = time.monotonic()
    output, _ = process.communicate(timeout=240)
    s3.come_back()
    assert process.returncode == 1
    assert time.monotonic() - started < 30
    last = output.strip().splitlines()[-1]
    assert re.match(rf"error: {s3.uri}/\S+: cannot be reached, tried for \d s \(.*\); is AWS_ENDPOINT_URL right", last)
    assert "Traceback" not in output


def test_conversations_in_a_bucket_are_read(s3: Any, machine: Callable[..., Machine]) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    lines = (json.dumps({"id": str(number), "messages": turns}) for number in range(40))
    filesystem, path = filesystem_of(f"{s3.uri}/talks.jsonl")
    with filesystem.open_output_stream(path) as stream:
        stream.write("\n".join(lines).encode())
    words = [f"data.corpora=[{{name: chat_messages, path: '{s3.uri}/talks.jsonl'}}]", "data.on_duplicate=keep"]
    status, output = machine("one", *words, "data.on_leak=warn").run("prepare")
    assert status == 0, output
    assert "40 conversations" in output
