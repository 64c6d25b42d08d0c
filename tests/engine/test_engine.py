"""Requests join and leave at every step, and none of them notices the others."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Any

import pytest
import torch

from rejoinder import catalog
from rejoinder.engine import Engine, EngineFull, Finish
from rejoinder.errors import EngineError
from rejoinder.models import Seq2Seq
from rejoinder.text import NUM_CONTROL_IDS
from tests.engine.conftest import eventually, is_idle

Kit = Any


def test_a_reply_comes_token_by_token_without_its_end(kit: Kit) -> None:
    listener = kit.ask(kit.start(1, 0), [20, 21, 22]).wait()
    assert (listener.ids, listener.finish, listener.num_finishes) == ([20, 21, 22], Finish.END, 1)


def test_a_reply_is_cut_at_its_limit(kit: Kit) -> None:
    listener = kit.ask(kit.start(1, 0), [20, 21, 22], kit.greedy(max_reply_tokens=2)).wait()
    assert (listener.ids, listener.finish) == ([20, 21], Finish.LENGTH)


def test_a_reply_may_be_forbidden_to_repeat_what_it_read(kit: Kit) -> None:
    """The model would say its context; of a run of two only the first token may stand."""
    engine = kit.start(1, 0)
    assert kit.ask(engine, [20, 21, 22], kit.greedy(no_copied_ngram_tokens=4)).wait().ids == [20, 21, 22]
    assert kit.ask(engine, [20, 21, 22], kit.greedy(no_copied_ngram_tokens=2)).wait().ids == [20]


def test_a_reply_that_ends_just_at_its_limit_was_cut(kit: Kit) -> None:
    """Whether the end would have come next is not known."""
    listener = kit.ask(kit.start(1, 0), [20, 21], kit.greedy(max_reply_tokens=2)).wait()
    assert (listener.ids, listener.finish) == ([20, 21], Finish.LENGTH)


def test_requests_of_different_lengths_share_the_batch_and_leave_it(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(8, 8)
    contexts = [[20 + number] * (number % 5 + 1) for number in range(8)]
    listeners = [kit.ask(engine, context) for context in contexts]
    kit.model.gate.set()
    assert [listener.wait().ids for listener in listeners] == contexts
    assert max(kit.model.batch_sizes) >= 7  # the first one may have begun alone
    assert kit.model.batch_sizes[-1] < 7
    assert eventually(lambda: is_idle(engine))


def test_a_waiting_request_takes_the_slot_of_one_that_left(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(2, 8)
    listeners = [kit.ask(engine, [20 + number]) for number in range(6)]
    kit.model.gate.set()
    assert [listener.wait().ids for listener in listeners] == [[20 + number] for number in range(6)]
    assert max(kit.model.batch_sizes) == 2


def test_a_full_engine_refuses_until_there_is_room(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(1, 2)
    running = kit.ask(engine, [20])
    assert eventually(lambda: engine.statistics().num_running == 1)
    waiting = [kit.ask(engine, [21]), kit.ask(engine, [22])]
    with pytest.raises(EngineFull, match="2 requests wait already; try again in a moment"):
        kit.ask(engine, [23])
    kit.model.gate.set()
    assert [listener.wait().finish for listener in [running, *waiting]] == [Finish.END] * 3
    assert kit.ask(engine, [23]).wait().ids == [23]


@pytest.mark.parametrize(
    ("context_ids", "max_reply_tokens", "sentence"),
    [
        ([], 5, "a context of 0 tokens; this model reads 1 to 20"),
        ([20] * 21, 5, "a context of 21 tokens; this model reads 1 to 20"),
        ([20], 31, "max_reply_tokens = 31; this model writes 1 to 30"),
        ([20], 0, "max_reply_tokens = 0; this model writes 1 to 30"),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    kit: Kit, context_ids: list[int], max_reply_tokens: int, sentence: str
) -> None:
    with pytest.raises(EngineError, match=sentence):
        kit.ask(kit.start(1, 0), context_ids, kit.greedy(max_reply_tokens))


def test_the_longest_context_and_reply_are_taken(kit: Kit) -> None:
    assert kit.ask(kit.start(1, 0), [20] * 20, kit.greedy(30)).wait().ids == [20] * 20


def test_a_reply_ends_with_a_run_of_tokens_that_stops_it(kit: Kit) -> None:
    engine = kit.start(1, 0)
    listener = kit.ask(engine, [20, 21, 20, 22, 23], kit.greedy(stop_ids=((20, 22), (99,)))).wait()
    assert (listener.ids, listener.finish) == ([20, 21, 20, 22], Finish.END)


def test_running_replies_do_not_stand_still_while_many_contexts_are_read(kit: Kit) -> None:
    """The first one runs; of those that come, contexts of 12 tokens in all are read between two steps."""
    kit.model.gate.clear()
    engine = kit.start(8, 20, admission_tokens=12)
    first = kit.ask(engine, [20] * 20)
    assert eventually(lambda: engine.statistics().num_running == 1)
    others = [kit.ask(engine, [21] * 6) for _ in range(5)] + [kit.ask(engine, [22] * 20)]
    kit.model.gate.set()
    for listener in [first, *others]:
        listener.wait()
    assert kit.model.batch_sizes[:5] == [1, 3, 5, 6, 7]
    assert others[-1].ids == [22] * 20


def test_contexts_of_running_replies_are_limited_together(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(8, 20, max_running_tokens=20)
    listeners = [kit.ask(engine, [20 + number] * 9) for number in range(6)]
    kit.model.gate.set()
    assert [listener.wait().ids for listener in listeners] == [[20 + number] * 9 for number in range(6)]
    assert max(kit.model.batch_sizes) == 2
    with pytest.raises(EngineError, match="a context of 9 tokens for 3 rows; this engine has room for 20 at a time"):
        kit.ask(engine, [20] * 9, kit.greedy(num_beams=3))


def test_a_context_that_cannot_be_encoded_ends_its_request_and_no_running_one(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    kit.model.gate.clear()
    engine = kit.start(2, 2)
    running = kit.ask(engine, [20] * 20)
    assert eventually(lambda: engine.statistics().num_running == 1)
    start, kit.model.start = kit.model.start, None
    with caplog.at_level(logging.ERROR):
        failing = kit.ask(engine, [21])
        kit.model.gate.set()
        assert failing.wait().finish is Finish.FAILED
    kit.model.start = start
    assert "the contexts of 1 requests cannot be encoded" in caplog.text
    assert running.wait().ids == [20] * 20
    assert kit.ask(engine, [22]).wait().ids == [22]


def test_an_engine_that_was_warmed_up_has_met_all_sizes_and_keeps_nothing(kit: Kit) -> None:
    engine = Engine(kit.model, 6, 6)
    assert engine.warm_up() > 0
    assert set(kit.model.batch_sizes) == {1, 2, 4, 6}
    assert engine.bytes_per_slot == 22 * 8  # twenty tokens and an end, and a place
    engine.start()
    assert [kit.ask(engine, [20 + number]).wait().ids for number in range(8)] == [[20 + number] for number in range(8)]
    engine.stop()


def test_statistics_tell_what_goes_on(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(1, 5)
    before = engine.statistics()
    assert (before.num_running, before.num_waiting, before.num_tokens, before.seconds_since_step) == (0, 0, 0, 0.0)
    listeners = [kit.ask(engine, [20, 21]) for _ in range(3)]
    assert eventually(lambda: engine.statistics().num_running == 1)
    time.sleep(0.05)
    stuck = engine.statistics()
    assert (stuck.num_running, stuck.num_waiting) == (1, 2)
    assert stuck.seconds_since_step >= 0.05
    kit.model.gate.set()
    for listener in listeners:
        listener.wait()
    assert eventually(lambda: is_idle(engine))
    assert (engine.statistics().num_tokens, engine.statistics().seconds_since_step) == (6, 0.0)


def test_an_engine_that_had_nothing_to_do_is_not_taken_for_a_stuck_one_when_it_is_asked(kit: Kit) -> None:
    engine = kit.start(1, 5)
    for _ in range(10):
        time.sleep(0.02)
        asked_at = time.monotonic()
        listener = kit.ask(engine, [20, 21])
        waited_s = engine.statistics().seconds_since_step
        assert waited_s <= time.monotonic() - asked_at
        listener.wait()
        assert eventually(lambda: is_idle(engine))


@pytest.fixture(params=catalog.names("rejoinder.models"))
def real_model(request: pytest.FixtureRequest) -> Seq2Seq:
    """Every model, small, with random weights large enough to say different things."""
    plugin = catalog.pick("rejoinder.models", request.param)
    settings: dict[str, Any] = {"width": 16}
    if request.param == "pretrained":  # built from its configuration it needs no directory
        config = {"model_type": "t5", "vocab_size": 44, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1}
        settings = {"path": "/not/looked/at", "config": config | {"num_heads": 2}, "tied_output": True, "dropout": 0.0}
    torch.manual_seed(0)
    model: Seq2Seq = plugin.build(plugin.Settings(**settings), 60, 12, 15)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model


RULES = {
    "top_k": 5, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.9, "repetition_penalty": 1.3, "presence_penalty": 0.7,
    "frequency_penalty": 0.3, "no_repeat_ngram_tokens": 2, "no_copied_ngram_tokens": 2, "min_reply_tokens": 3,
}  # fmt: skip


def some_rules(chance: random.Random) -> dict[str, float]:
    """None to three rules, so that a batch has rows with and without each."""
    return {name: RULES[name] for name in chance.sample(sorted(RULES), chance.randint(0, 3))}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_reply_is_the_same_alone_and_in_a_batch(kit: Kit, real_model: Seq2Seq, temperature: float) -> None:
    chance = random.Random(1)
    requests = [
        (
            [chance.randrange(NUM_CONTROL_IDS, 60) for _ in range(chance.randint(1, 12))],
            kit.greedy(chance.randint(5, 15), temperature=temperature, seed=seed, **some_rules(chance)),
        )
        for seed in range(12)
    ]
    alone = kit.start(1, 0, real_model)
    expected = [kit.ask(alone, *request).wait().ids for request in requests]
    together = kit.start(5, 12, real_model)
    found = [kit.ask(together, *request) for request in requests]
    assert [listener.wait().ids for listener in found] == expected
    assert len({tuple(ids) for ids in expected}) > 6


def test_a_request_that_comes_just_as_the_engine_goes_to_sleep_is_answered(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rejoinder.engine.engine.IDLE_S", 1e-4)
    engine = kit.start(1, 0)
    for _ in range(500):
        time.sleep(1e-4)
        assert kit.ask(engine, [20]).wait().ids == [20]


class Unreadable(list[int]):
    """A context that the engine's thread cannot even count."""

    def __len__(self) -> int:
        if threading.current_thread().name == "engine":
            raise MemoryError("no room to count")
        return super().__len__()


def test_what_breaks_between_two_steps_ends_those_who_are_there_and_not_the_engine(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    kit.model.gate.clear()
    engine = kit.start(2, 8)
    running, broken, waiting = kit.ask(engine, [20]), kit.ask(engine, Unreadable([21])), kit.ask(engine, [22])
    kit.model.gate.set()
    ends = {listener.wait().finish for listener in (running, broken, waiting)}
    assert ends <= {Finish.END, Finish.FAILED}  # the first one may have said it all before
    assert (broken.finish, [one.num_finishes for one in (running, broken, waiting)]) == (Finish.FAILED, [1, 1, 1])
    assert "the engine has lost its way" in caplog.text
    assert kit.ask(engine, [23]).wait().ids == [23]
    assert engine.statistics().num_running == 0
