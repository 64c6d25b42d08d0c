"""Folders at an address: there when whole, read from a copy, told apart from damage, and patient with a server."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rejoinder import cluster
from rejoinder.checkpoints import CheckpointStore
from rejoinder.errors import StorageError
from rejoinder.recipe import Recipe
from rejoinder.storage import Storage, sha256_of
from rejoinder.storage.remote import Remote, RemoteFolder

CHECKOUT = Path(__file__).resolve().parents[2]
WRITE_FOR_EVER = """
import sys
from rejoinder.storage.remote import Remote, RemoteFolder
folder = RemoteFolder(Remote(sys.argv[1], 1), "things")
print("begins", flush=True)
for _ in range(10_000):
    with folder.written("big") as file:
        file.write_bytes(bytes(40_000_000))
    folder.remove("big")
"""


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_what_is_written_stands_there_and_is_read_by_one_who_has_nothing(s3: Any, folder: RemoteFolder) -> None:
    folder.write_text("deep/note.txt", "grün")
    with folder.written("empty") as file:
        file.touch()
    assert s3.files() == {"things/deep/note.txt": "grün".encode(), "things/empty": b""}
    shutil.rmtree(folder.directory)
    assert folder.read_text("deep/note.txt") == "grün"
    assert folder.path("empty").read_bytes() == b""
    assert folder.sizes() == {"deep/note.txt": 5, "empty": 0}
    assert (folder.has("deep/note.txt"), folder.has("deep"), folder.has("no")) == (True, False, False)
    assert folder.read_text("no") is None


def test_what_is_not_written_to_its_end_does_not_stand_there(s3: Any, folder: RemoteFolder) -> None:
    def write_half() -> None:
        with folder.written("file") as file:
            file.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert s3.files() == {}
    assert [path for path in folder.directory.rglob("*") if path.is_file()] == []


def test_a_folder_sent_to_another_node_has_that_nodes_cache(
    folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent = pickle.dumps(folder / "inner")
    monkeypatch.setenv("REJOINDER_CACHE", str(tmp_path / "of another node"))
    received = pickle.loads(sent)
    assert str(received) == f"{folder}/inner"
    assert received.directory.is_relative_to(tmp_path / "of another node")


def test_a_flipped_bit_in_the_cache_is_noticed_and_the_file_fetched_again(s3: Any, folder: RemoteFolder) -> None:
    folder.write_text("a", "aaaa"), folder.write_text("b", "bbbb")
    sha256s = {name: sha256_of(folder.path(name)) for name in ("a", "b")}
    shutil.rmtree(folder.directory)
    assert folder.fetch(sha256s) == []
    untouched = folder.path("b").stat().st_ino
    flip_a_bit(folder.path("a"))
    assert folder.fetch(sha256s) == []
    assert (folder.path("a").read_text(), folder.path("b").stat().st_ino) == ("aaaa", untouched)


def test_what_is_damaged_or_missing_where_it_stands_is_named(s3: Any, folder: RemoteFolder) -> None:
    folder.write_text("a", "aaaa")
    right = sha256_of(folder.path("a"))
    folder.write_text("a", "aaab")
    assert folder.fetch({"a": right, "b": right}) == ["a", "b"]


def test_a_file_is_fetched_once_by_all_processes_of_a_node(
    s3: Any, folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("a", "aaaa")
    sha256s = {"a": sha256_of(folder.path("a"))}
    shutil.rmtree(folder.directory)
    fetched = list[str]()
    download = Remote.download
    monkeypatch.setattr(Remote, "download", lambda *of: fetched.append(of[1]) or time.sleep(0.1) or download(*of))
    workers = [threading.Thread(target=folder.fetch, args=[sha256s]) for _ in range(3)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert fetched == ["things/a"]


def test_what_vouches_for_the_others_is_never_there_without_them(
    s3: Any, folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.directory / "set").mkdir(parents=True)
    for name in ("a", "manifest", "z"):
        (folder.directory / "set" / name).write_text("first")
    folder.publish("set", last="set/manifest")
    assert list(s3.files()) == ["things/set/a", "things/set/manifest", "things/set/z"]
    upload = Remote.upload

    def fails(remote: Remote, file: Path, key: str) -> None:
        if key.endswith("z"):
            raise StorageError("gone")
        upload(remote, file, key)

    monkeypatch.setattr(Remote, "upload", fails)
    with pytest.raises(StorageError):
        folder.publish("set", last="set/manifest")
    assert not folder.has("set/manifest")


def test_removing_takes_it_away_there_and_here(s3: Any, folder: RemoteFolder) -> None:
    folder.write_text("in/a", "a"), folder.write_text("b", "b")
    folder.remove("in"), folder.remove("never there")
    assert list(s3.files()) == ["things/b"]
    assert not (folder.directory / "in").exists()
    folder.remove()
    assert s3.files() == {}


def test_a_directory_that_is_mounted_may_be_kept_a_copy_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`file://` goes the way of `s3://`."""
    monkeypatch.setenv("REJOINDER_CACHE", str(tmp_path / "cache"))
    folder = RemoteFolder(Remote(f"file://{tmp_path}/far", 1.0), "things")
    assert (folder.sizes(), folder.has("a")) == ({}, False)
    folder.write_text("in/a", "a")
    assert [path.name for path in (tmp_path / "far" / "things" / "in").iterdir()] == ["a"]
    shutil.rmtree(folder.directory)
    assert folder.path("in/a").read_text() == "a"
    folder.remove()
    assert not (tmp_path / "far" / "things").exists()


def test_the_tree_of_a_recipe_knows_what_is_kept_where(s3: Any, make_recipe: Callable[..., Recipe]) -> None:
    storage = Storage(make_recipe(f"storage.uri={s3.uri}", "registry.tracking_uri=http://127.0.0.1:1"))
    run = storage.run("abc")
    assert str(run) == f"{s3.uri}/runs/test-abc"
    assert str(storage.holding(run.directory / "checkpoints")) == f"{s3.uri}/runs/test-abc/checkpoints"
    assert str(storage.holding(Path("/elsewhere"))) == "/elsewhere"


def test_what_reaches_the_bucket_is_handed_to_every_worker(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    handed = cluster.runtime_env()["env_vars"]
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "REJOINDER_CACHE")
    assert {name: handed[name] for name in names} == {name: os.environ[name] for name in names}


def test_no_such_bucket_is_said_at_once(s3: Any) -> None:
    folder = RemoteFolder(Remote("s3://nobodys-bucket/x", 60), "things")
    for action in (lambda: folder.read_text("a"), lambda: folder.write_text("a", "a"), folder.sizes):
        with pytest.raises(StorageError, match=r"^s3://nobodys-bucket.*: there is no bucket 'nobodys-bucket'; make it"):
            action()


def test_wrong_credentials_are_said_at_once(s3: Any, folder: RemoteFolder) -> None:
    s3.forget_everyone()
    sentence = rf"^{s3.uri}/things/a: refused \((ACCESS_DENIED|INVALID_ACCESS_KEY_ID)\); are AWS_ACCESS_KEY_ID and"
    for action in (lambda: folder.read_text("a"), lambda: folder.write_text("a", "a")):
        with pytest.raises(StorageError, match=sentence):
            action()


def test_nobody_listening_is_said_when_it_was_waited_for(s3: Any, folder: RemoteFolder) -> None:
    s3.go()
    started = time.monotonic()
    with pytest.raises(StorageError, match=rf"^{s3.uri}/things/a: cannot be reached, tried for \d s \(.*connect"):
        folder.read_text("a")
    assert time.monotonic() - started < 10
    s3.come_back()


@pytest.mark.slow
def test_a_server_that_is_away_for_some_seconds_costs_only_them(
    s3: Any, folder: RemoteFolder, caplog: pytest.LogCaptureFixture
) -> None:
    patient = RemoteFolder(Remote(s3.uri, retry_s=30), "things")
    patient.write_text("a", "a")
    s3.go()
    threading.Timer(3, s3.come_back).start()
    patient.write_text("b", "b")
    assert list(s3.files()) == ["things/a", "things/b"]
    assert re.search(r"things/b does not answer \(.*\); trying again", caplog.text)


@pytest.mark.slow
def test_a_process_killed_while_it_uploads_leaves_the_whole_file_or_none(s3: Any, folder: RemoteFolder) -> None:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "platform")}
    for pause_s in (0.3, 0.5, 0.7, 0.9, 1.1):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, s3.uri], env=environment, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(pause_s)
            process.send_signal(signal.SIGKILL)
        assert list(folder.sizes().values()) in ([], [40_000_000])
        folder.remove()


def test_checkpoints_are_kept_there_and_found_by_a_machine_that_has_none(
    folder: RemoteFolder, make_checkpoint: Callable[..., Path]
) -> None:
    store, made = CheckpointStore(folder), make_checkpoint()
    for step in (1, 2, 3, 4):
        shutil.copytree(made, store.path(step))
        store.keep(step)
    store.close()
    names = ["step_00000001", "step_00000003", "step_00000004"]  # the best, of several alike the first; the last two
    assert sorted({name.split("/")[0] for name in folder.sizes()}) == names
    shutil.rmtree(folder.directory)
    elsewhere = CheckpointStore(folder)
    assert elsewhere.last() == elsewhere.path(4)
    assert sha256_of(elsewhere.path(4) / "weights.safetensors") == sha256_of(made / "weights.safetensors")
    assert sorted(path.name for path in folder.directory.iterdir() if path.is_dir())[-1:] == ["step_00000004"]
    folder.remove("step_00000004/manifest.json")  # as if its upload had been killed
    assert elsewhere.last() == elsewhere.path(3)


def test_a_checkpoint_damaged_in_the_cache_is_fetched_again_and_one_damaged_there_passed_over(
    folder: RemoteFolder, make_checkpoint: Callable[..., Path]
) -> None:
    store = CheckpointStore(folder)
    for step in (1, 2):
        shutil.copytree(make_checkpoint(), store.path(step))
        store.keep(step)
    store.close()
    flip_a_bit(store.path(2) / "weights.safetensors")
    assert store.last() == store.path(2)
    flip_a_bit(store.path(2) / "weights.safetensors")
    folder.publish("step_00000002/weights.safetensors")
    assert store.last() == store.path(1)


@pytest.mark.slow
def test_checkpoints_that_could_not_be_uploaded_are_by_the_next_command_of_the_same_machine(
    s3: Any, make_checkpoint: Callable[..., Path]
) -> None:
    folder, made = RemoteFolder(Remote(s3.uri, retry_s=0.2), "things"), make_checkpoint()
    store = CheckpointStore(folder)
    for step in (1, 2, 3):
        shutil.copytree(made, store.path(step))
    store.keep(1)
    store.close()
    s3.go()
    try:
        store.keep(2)
        with pytest.raises(StorageError, match=r"step_00000002/manifest\.json: cannot be reached"):
            store.keep(3)
    finally:
        s3.come_back()
    again = CheckpointStore(folder)
    assert again.last() == again.path(1)  # what stands there counts
    flip_a_bit(again.path(2) / "weights.safetensors")
    assert again.deliver() == ["step_00000003"]  # nobody else is given what is damaged
    assert again.last() == again.path(3)
    assert CheckpointStore(folder).deliver() == []


def test_an_upload_that_was_cut_off_half_way_is_made_again(
    folder: RemoteFolder, make_checkpoint: Callable[..., Path]
) -> None:
    store, made = CheckpointStore(folder), make_checkpoint()
    for step in (1, 2, 3):
        shutil.copytree(made, store.path(step))
    store.keep(1)
    store.close()
    folder.owe("step_00000002")
    folder.publish("step_00000002/weights.safetensors")
    assert store.last() == store.path(1)  # and what is here of the other stays as it is
    assert store.deliver() == ["step_00000002"]
    assert store.last() == store.path(2)
    folder.remove("step_00000001/manifest.json")  # as another machine may have left it
    store.keep(3)
    store.close()
    assert {name.split("/")[0] for name in folder.sizes()} == {"step_00000002", "step_00000003"}


def test_what_another_machine_has_overtaken_is_not_uploaded_any_more(
    folder: RemoteFolder, make_checkpoint: Callable[..., Path]
) -> None:
    store, made = CheckpointStore(folder), make_checkpoint()
    for step in (2, 5):
        shutil.copytree(made, store.path(step))
    folder.owe("step_00000002")
    store.keep(5)
    store.close()
    assert store.deliver() == []
    assert {name.split("/")[0] for name in folder.sizes()} == {"step_00000005"}
    folder.remove()
    assert folder.owed() == []


def test_an_upload_that_fails_is_said_by_the_next_one(
    s3: Any, folder: RemoteFolder, make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*of: Any, **names: Any) -> None:
        raise StorageError("s3 is gone")

    monkeypatch.setattr(RemoteFolder, "publish", fails)
    store = CheckpointStore(folder)
    store.keep(1)
    with pytest.raises(StorageError, match="s3 is gone"):
        store.keep(2)
