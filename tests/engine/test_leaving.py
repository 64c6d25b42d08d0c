"""Requests that are cancelled, time out, fail or meet a stop: each is gone at once, and nobody else is hurt."""

from __future__ import annotations

import collections
import gc
import logging
import random
import threading
import time
from typing import Any

import pytest

from rejoinder.decoding import Decoding
from rejoinder.engine import Engine, EngineFull, Finish
from rejoinder.errors import EngineError
from tests.engine.conftest import eventually, is_idle

Kit = Any


def test_a_cancelled_request_frees_its_slot(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(1, 1)
    first, second = kit.ask(engine, [20] * 20), kit.ask(engine, [21])
    first.cancel()
    kit.model.gate.set()
    assert first.wait().finish is Finish.CANCELLED
    assert len(first.ids) < 20
    assert second.wait().ids == [21]


def test_cancelling_after_the_end_changes_nothing(kit: Kit) -> None:
    listener = kit.ask(kit.start(1, 0), [20]).wait()
    listener.cancel()
    assert (listener.finish, listener.num_finishes) == (Finish.END, 1)


def test_a_request_that_was_cancelled_while_it_waited_is_told_so(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(1, 1)
    first, second = kit.ask(engine, [20]), kit.ask(engine, [21])
    second.cancel()
    kit.model.gate.set()
    assert first.wait().ids == [20]
    assert (second.wait().finish, second.ids) == (Finish.CANCELLED, [])


def test_who_went_away_while_waiting_keeps_nobody_out(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(1, 1)
    first = kit.ask(engine, [20])
    assert eventually(lambda: engine.statistics().num_running == 1)
    gone = kit.ask(engine, [21])
    gone.cancel()
    third = kit.ask(engine, [22])
    assert gone.finish == Finish.CANCELLED
    kit.model.gate.set()
    assert (first.wait().ids, third.wait().ids) == ([20], [22])


def test_of_many_requests_with_random_cancellations_none_is_mixed_up_or_forgotten(kit: Kit) -> None:
    chance, engine = random.Random(0), kit.start(7, 500)
    asked = []
    for _ in range(500):
        context = [chance.randint(20, 99) for _ in range(chance.randint(1, 20))]
        asked.append((context, kit.ask(engine, context)))
        if chance.random() < 0.3:
            chance.choice(asked)[1].cancel()
    for context, listener in asked:
        assert listener.wait().finish in (Finish.END, Finish.CANCELLED)
        assert listener.ids == context[: len(listener.ids)]
        assert listener.finish is Finish.CANCELLED or listener.ids == context
    assert eventually(lambda: is_idle(engine))
    assert {listener.num_finishes for _, listener in asked} == {1}

    kit.model.batch_sizes.clear()
    kit.model.gate.clear()
    last = [kit.ask(engine, [20, 21]) for _ in range(7)]
    kit.model.gate.set()
    assert [listener.wait().finish for listener in last] == [Finish.END] * 7
    assert max(kit.model.batch_sizes) == 7  # no slot was lost


def test_a_request_that_takes_too_long_frees_its_slot(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(1, 2)
    slow, waiting, patient = kit.Listener(), kit.Listener(), kit.Listener()
    for listener, timeout_s in ((slow, 0.02), (waiting, 0.03), (patient, 60)):
        callbacks = listener.ids.append, listener.on_finish
        engine.submit([20] * 20, kit.greedy(), *callbacks, timeout_s=timeout_s)
    assert eventually(lambda: engine.statistics().num_running == 1)
    time.sleep(0.05)
    kit.model.gate.set()
    assert (slow.wait().finish, waiting.wait().finish) == (Finish.TIMED_OUT, Finish.TIMED_OUT)
    assert (len(slow.ids), waiting.ids) == (1, [])  # of the step that it was in
    assert (patient.wait().finish, patient.ids) == (Finish.END, [20] * 20)
    assert engine.statistics().finishes == {"timed out": 2, "end": 1}


def test_a_listener_that_has_enough_ends_its_reply(kit: Kit) -> None:
    engine, listener = kit.start(1, 0), kit.Listener()

    def on_token(id: int) -> bool:
        listener.ids.append(id)
        return id == 21

    engine.submit([20, 21, 22], kit.greedy(), on_token, listener.on_finish)
    assert (listener.wait().ids, listener.finish) == ([20, 21], Finish.END)


@pytest.mark.slow
def test_ten_thousand_requests_with_random_cancellations_leave_nothing_behind(kit: Kit) -> None:
    """All kinds of requests; at the end no slot is taken, and nothing held that was not after the first thousand."""
    chance, engine = random.Random(0), kit.start(9, 64)
    kinds = [
        kit.greedy(), kit.greedy(num_beams=3), kit.greedy(num_beams=4, num_beam_groups=2, diversity_penalty=0.5),
        kit.greedy(temperature=0.1, repetition_penalty=1.2), kit.greedy(max_reply_tokens=3, bad_ids=((30,),)),
    ]  # fmt: skip
    finishes = collections.Counter[Finish]()
    held = []
    for round_number in range(10):
        listeners = []
        for _ in range(1000):
            context = [chance.randint(20, 99) for _ in range(chance.randint(1, 6))]
            while True:
                try:
                    listeners.append(kit.ask(engine, context, chance.choice(kinds)))
                    break
                except EngineFull:
                    time.sleep(0.005)
            if chance.random() < 0.3:
                chance.choice(listeners[-20:]).cancel()
        finishes.update(listener.wait().finish for listener in listeners)
        assert {listener.num_finishes for listener in listeners} == {1}
        assert eventually(lambda: is_idle(engine))
        del listeners
        gc.collect()
        if round_number in (0, 9):
            held.append(len(gc.get_objects()))
    assert sum(finishes.values()) == 10_000
    assert finishes[Finish.FAILED] == finishes[Finish.TIMED_OUT] == 0
    assert finishes[Finish.CANCELLED] > 500
    assert held[1] - held[0] < 1000, "a request held back ten objects would be 90,000"
    assert sum(engine.statistics().finishes.values()) == 10_000
    kit.model.batch_sizes.clear()
    kit.model.gate.clear()
    last = [kit.ask(engine, [20, 21]) for _ in range(9)]
    kit.model.gate.set()
    assert [listener.wait().ids for listener in last] == [[20, 21]] * 9
    assert max(kit.model.batch_sizes) == 9  # no slot was lost


def test_a_failing_step_ends_its_requests_and_the_engine_goes_on(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    kit.model.gate.clear()
    engine = kit.start(4, 4)
    with caplog.at_level(logging.ERROR):
        failing = [kit.ask(engine, [20] * 20), kit.ask(engine, [kit.poison]), kit.ask(engine, [21] * 20)]
        kit.model.gate.set()
        assert {listener.wait().finish for listener in failing} == {Finish.FAILED}
    assert "a step of the engine failed" in caplog.text
    assert [kit.ask(engine, [30 + number]).wait().ids for number in range(8)] == [[30 + number] for number in range(8)]


@pytest.mark.parametrize("deaf_to", ["on_token", "on_finish"])
def test_a_listener_that_fails_hurts_nobody_else(kit: Kit, deaf_to: str, caplog: pytest.LogCaptureFixture) -> None:
    kit.model.gate.clear()
    engine = kit.start(2, 2)

    def fail(news: object) -> None:
        raise RuntimeError("the event loop is closed")

    deaf = kit.Listener()
    callbacks = {"on_token": deaf.ids.append, "on_finish": deaf.on_finish} | {deaf_to: fail}
    engine.submit([20] * 10, kit.greedy(), **callbacks)
    other = kit.ask(engine, [21] * 10)
    kit.model.gate.set()
    assert other.wait().ids == [21] * 10
    assert eventually(lambda: is_idle(engine))
    assert deaf.finish is (Finish.CANCELLED if deaf_to == "on_token" else None)
    assert "nobody listens to a reply any more" in caplog.text
    assert kit.ask(engine, [22]).wait().ids == [22]


def test_stopping_ends_the_running_and_the_waiting(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(1, 2)
    running = kit.ask(engine, [20] * 20)
    assert eventually(lambda: engine.statistics().num_running == 1)
    waiting = [kit.ask(engine, [21]), kit.ask(engine, [22])]
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    assert eventually(lambda: refusal(engine) == "the engine has stopped; ask another replica")
    kit.model.gate.set()
    stopping.join()
    assert [listener.finish for listener in [running, *waiting]] == [Finish.CANCELLED] * 3
    assert len(running.ids) == 1  # of the step that it was in


def refusal(engine: Engine) -> str:
    """What an engine with a full queue says to one more."""
    with pytest.raises(EngineError) as refused:
        engine.submit([20], Decoding(0, 0, 1, 1, 0, 5), print, print)
    return str(refused.value)


def test_stopping_what_never_started_ends_the_waiting(kit: Kit) -> None:
    engine = Engine(kit.model, 1, 1)
    listener = kit.ask(engine, [20])
    engine.stop()
    assert listener.wait().finish == Finish.CANCELLED


def test_stopping_twice_is_stopping_once(kit: Kit) -> None:
    engine = kit.start(1, 0)
    engine.stop()
    engine.stop()
    assert is_idle(engine)
