"""Whole or not at all; one process at a time; disk errors in a sentence."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rejoinder.errors import StorageError
from rejoinder.recipe import Recipe
from rejoinder.storage import Folder, Storage, explain_os_error, locked, sha256_of, write_text_whole, written_whole

PLATFORM = Path(__file__).resolve().parents[2] / "platform"
HOLD = """
import sys, time
from pathlib import Path
from rejoinder.storage import locked
with locked(Path(sys.argv[1]), "preparing this set"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_everything_that_is_made_lies_under_the_storage_uri(recipe: Recipe) -> None:
    storage = Storage(recipe)
    assert storage.shards("abc").directory == Path(recipe.storage.uri, "shards", "test-abc")
    assert storage.run("abc").directory == Path(recipe.storage.uri, "runs", "test-abc")
    assert {storage.ray.parent, storage.mlflow.parent, storage.models.parent} == {Path(recipe.storage.uri)}


def test_a_directory_appears_when_its_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "set"
    with written_whole(target) as partial:
        (partial / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert list(target.parent.iterdir()) == [target]


def test_a_directory_that_is_being_filled_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with written_whole(tmp_path / "step_1") as partial:
        (partial / "file").write_text("content")
        assert Folder(tmp_path).sizes() == {}
    assert Folder(tmp_path).sizes() == {"step_1/file": 7}


def test_directories_may_come_and_go_while_they_are_listed(tmp_path: Path) -> None:
    is_over = threading.Event()

    def come_and_go() -> None:
        while not is_over.is_set():
            with written_whole(tmp_path / "step_1") as partial:
                for number in range(20):
                    (partial / f"{number}").touch()
            Folder(tmp_path).remove("step_1")

    writer = threading.Thread(target=come_and_go)
    writer.start()
    try:
        for _ in range(300):
            assert set(Folder(tmp_path).sizes().values()) <= {0}
    finally:
        is_over.set()
        writer.join()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    def write_half_of_it() -> None:
        with written_whole(tmp_path / "set") as partial:
            (partial / "file").touch()
            raise error

    with pytest.raises(error):
        write_half_of_it()
    assert list(tmp_path.iterdir()) == []


def test_what_stood_there_is_replaced_as_a_whole_and_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(ValueError), written_whole(target):
        raise ValueError
    assert (target / "old").exists()
    with written_whole(target) as partial:
        (partial / "new").touch()
    assert [file.name for file in target.iterdir()] == ["new"]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "set.partial").mkdir()
    (tmp_path / "set.partial" / "leftover").touch()
    with written_whole(tmp_path / "set"):
        pass
    assert list((tmp_path / "set").iterdir()) == []
    assert not (tmp_path / "set.partial").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file", tmp_path / "file" / "set"):
        with (
            pytest.raises(StorageError, match=rf"{re.escape(str(target))}: a file stands where a directory is needed"),
            written_whole(target),
        ):
            pass
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_small_file_is_replaced_in_one_rename(tmp_path: Path) -> None:
    target = tmp_path / "made" / "on" / "the" / "way.json"
    write_text_whole(target, "first")
    write_text_whole(target, "grün")
    assert target.read_text(encoding="utf-8") == "grün"
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_is_named_with_the_way_out_and_nothing_is_left(small_disk: Path) -> None:
    sentence = rf"{re.escape(str(small_disk / 'set'))}: no space left on the disk; .*storage\.uri"
    with pytest.raises(StorageError, match=sentence), written_whole(small_disk / "set") as partial:
        (partial / "file").write_bytes(bytes(1_000_000))
    assert list(small_disk.iterdir()) == []


def test_on_a_full_disk_a_small_file_stays_as_it_was(small_disk: Path) -> None:
    file = small_disk / "manifest.json"
    write_text_whole(file, "before")
    with pytest.raises(StorageError, match=r"manifest\.json: no space left on the disk; .*storage\.uri"):
        write_text_whole(file, "x" * 1_000_000)
    assert file.read_text() == "before"
    assert list(small_disk.iterdir()) == [file]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "/place: no space left on the disk; free some, or set storage.uri to a larger one"),
        (errno.EDQUOT, "/place: no space left on the disk; free some, or set storage.uri to a larger one"),
        (errno.EACCES, "/place: may not be written to; set storage.uri to a directory of yours"),
        (errno.EROFS, "/place: may not be written to; set storage.uri to a directory of yours"),
        (errno.ENOTDIR, "/place: a file stands where a directory is needed; set storage.uri to another place"),
    ],
)
def test_what_a_user_can_put_right_is_explained(number: int, sentence: str) -> None:
    assert str(explain_os_error(OSError(number, os.strerror(number), "/place"))) == sentence


def test_what_a_user_cannot_put_right_keeps_its_own_words() -> None:
    assert explain_os_error(OSError(errno.EBADF, "Bad file descriptor")) is None


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `tmp_path / "set"`."""
    environment = os.environ | {"PYTHONPATH": str(PLATFORM)}
    command = [sys.executable, "-c", HOLD, str(tmp_path / "set")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_which_one_is_at_it(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    sentence = rf"/set: preparing this set is already being done by process {holder.pid}; wait for it, or stop it"
    with pytest.raises(StorageError, match=sentence), locked(tmp_path / "set", "preparing this set"):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(StorageError, match="preparing this set is already being done"),
        locked(tmp_path / "set", "preparing this set"),
    ):
        pass
    holder.kill()
    assert holder.wait() < 0
    with locked(tmp_path / "set", "preparing this set"):
        pass


def test_one_who_may_wait_gets_it_when_the_other_is_done(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    threading.Timer(0.2, holder.kill).start()
    with locked(tmp_path / "set", "preparing this set", wait_s=30):
        assert holder.wait() < 0


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
