"""What waits for a store: whole lines of a file, up to a limit, taken up by whoever comes next."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rejoinder.registry import delivery
from rejoinder.registry.delivery import Delivery, Kept, hand_over


class Store:
    """Stands for a recorder: takes entries, fails or hangs as told."""

    uri = "memory"

    def __init__(self, error: Exception | None = None) -> None:
        self.taken: list[dict[str, Any]] = []
        self.error, self.num_calls, self.may_go_on = error, 0, threading.Event()
        self.may_go_on.set()

    def record(self, entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Exception | None]:
        self.num_calls += 1
        self.may_go_on.wait(10)
        if self.error:
            return entries, self.error
        self.taken += entries
        return [], None


def entry(step: int) -> dict[str, Any]:
    """A point."""
    return {"ms": 0, "step": step, "metrics": {"train_loss": 1.0}}


def test_what_one_process_kept_another_takes_up(tmp_path: Path) -> None:
    Kept(tmp_path / "waiting").add([entry(1), entry(2)])
    again = Kept(tmp_path / "waiting")
    again.add([entry(3)])
    assert Kept(tmp_path / "waiting").entries() == [entry(1), entry(2), entry(3)] == again.entries()


def test_half_a_line_of_a_killed_process_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "waiting"
    Kept(file).add([entry(1)])
    with file.open("a") as out:
        out.write('{"ms": 0, "st')
    again = Kept(file)
    again.add([entry(2)])
    assert Kept(file).entries() == [entry(1), entry(2)]


def test_what_was_delivered_leaves_no_file(tmp_path: Path) -> None:
    kept, store = Kept(tmp_path / "waiting"), Store()
    kept.add([entry(1)])
    assert hand_over(kept, store) is None
    assert (store.taken, kept.lines) == ([entry(1)], [])
    assert not kept.file.exists()


def test_no_more_is_kept_than_the_limit_and_what_is_lost_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "MAX_KEPT_BYTES", 1000)
    kept = Kept(tmp_path / "waiting")
    for step in range(100):
        kept.add([entry(step)])
    assert kept.file.stat().st_size <= 1000 + len(kept.lines)
    assert kept.entries() == [entry(step) for step in range(len(kept.lines))]
    assert kept.num_refused == 100 - len(kept.lines)
    assert caplog.text.count("is full; points are lost until MLflow answers") == 1


def test_a_place_that_cannot_be_written_leaves_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    kept = Kept(tmp_path / "file" / "waiting")
    kept.add([entry(1)])
    kept.add([entry(2)])
    assert kept.entries() == [entry(1), entry(2)]
    assert caplog.text.count("points for MLflow wait in memory only") == 1


def test_handing_over_does_not_wait_for_a_store_that_hangs(tmp_path: Path) -> None:
    store = Store()
    store.may_go_on.clear()
    running = Delivery(store, tmp_path / "waiting", interval_s=0.01)
    running.put(entry(1))
    while store.num_calls == 0:
        time.sleep(0.01)
    began = time.perf_counter()
    for step in range(2, 1002):
        running.put(entry(step))
    assert time.perf_counter() - began < 0.2
    store.may_go_on.set()
    running.close(5)
    assert store.taken == [entry(step) for step in range(1, 1002)]


def test_an_outage_is_said_when_it_begins_and_when_it_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(ConnectionError("refused"))
    running = Delivery(store, tmp_path / "waiting", interval_s=0.01)
    running.put(entry(1))
    while store.num_calls < 3:
        time.sleep(0.01)
    store.error = None
    running.close(5)
    assert store.taken == [entry(1)]
    assert caplog.text.count("does not take points (refused); training goes on, they wait in") == 1
    assert caplog.text.count("answers again and has all points") == 1


def test_a_delivery_that_was_not_waited_for_leaves_the_file_alone(tmp_path: Path) -> None:
    store = Store()
    store.may_go_on.clear()
    running = Delivery(store, tmp_path / "waiting", interval_s=0.01)
    running.put(entry(1))
    while store.num_calls == 0:
        time.sleep(0.01)
    running.close(0.05)
    next_one = Kept(tmp_path / "waiting")
    next_one.add([entry(2)])
    store.may_go_on.set()
    running._thread.join(5)
    assert Kept(tmp_path / "waiting").entries() == [entry(1), entry(2)]


def test_samples_of_the_machine_come_by_themselves_all_but_the_first(tmp_path: Path) -> None:
    store, numbers = Store(), iter(range(1000))
    running = Delivery(
        store, tmp_path / "waiting", interval_s=0.01, sample=lambda: entry(next(numbers)), sample_interval_s=0.01
    )
    while len(store.taken) < 3:
        time.sleep(0.01)
    running.close(5)
    assert store.taken[:3] == [entry(1), entry(2), entry(3)]
