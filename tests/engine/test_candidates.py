"""Several candidates for one reply, in the same batch as everybody else's."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from typing import Any

import pytest
import torch

from rejoinder import catalog
from rejoinder.batches import collate
from rejoinder.decoding import Candidate, Decoding, TokenLogprob, forbid_control_tokens, length_penalty
from rejoinder.decoding.ranking import NOTHING_SAID
from rejoinder.engine import Engine, Finish
from rejoinder.errors import EngineError
from rejoinder.models import Seq2Seq
from rejoinder.text import END_ID, NUM_CONTROL_IDS

Kit = Any
NUM_WORDS, LONGEST = 2, 4
WORDS = range(NUM_CONTROL_IDS, NUM_CONTROL_IDS + NUM_WORDS)
CONTEXT = [WORDS[0], WORDS[1], WORDS[1]]


def small(name: str, num_words: int = NUM_WORDS, longest: int = LONGEST, seed: int = 0) -> Seq2Seq:
    """A model with random weights large enough to have preferences."""
    plugin = catalog.pick("rejoinder.models", name)
    settings: dict[str, Any] = {"width": 16}
    if name == "pretrained":  # built from its configuration it needs no directory
        config = {"model_type": "t5", "vocab_size": num_words, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1}
        settings = {"path": "/not/looked/at", "config": config | {"num_heads": 2}, "tied_output": True, "dropout": 0.0}
    torch.manual_seed(seed)
    model: Seq2Seq = plugin.build(plugin.Settings(**settings), NUM_CONTROL_IDS + num_words, 12, longest)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model.eval()


def beams(**changes: Any) -> Decoding:
    settings = {"temperature": 0, "top_k": 0, "top_p": 1, "repetition_penalty": 1, "min_reply_tokens": 0}
    return Decoding(**(settings | {"max_reply_tokens": LONGEST, "length_penalty": 0.6} | changes))


def find(kit: Kit, engine: Engine, context: list[int], decoding: Decoding) -> tuple[list[Candidate], Any]:
    """The candidates of one request, and its listener."""
    listener, found = kit.Listener(), list[Candidate]()
    engine.submit(context, decoding, listener.ids.append, listener.on_finish, on_candidates=found.extend)
    return found, listener.wait()


@torch.inference_mode()
def logprobs(model: Seq2Seq, context: list[int], reply: list[int], only_text: bool = False) -> list[float]:
    """Of each token, by teacher forcing."""
    logits_NV = model(collate([context], [reply]))
    logprobs_NV = (forbid_control_tokens(logits_NV) if only_text else logits_NV).log_softmax(-1)
    return logprobs_NV[range(len(reply)), reply].tolist()


@pytest.mark.parametrize("name", catalog.names("rejoinder.models"))
def test_a_beam_search_of_every_model_finds_what_brute_force_finds(kit: Kit, name: str) -> None:
    """All 31 replies that there can be, by teacher forcing; rows are copied and moved in the slots all the while."""
    model, expected = small(name), []
    for length in range(LONGEST + 1):
        for said in itertools.product(WORDS, repeat=length):
            whole = [*said, END_ID] if length < LONGEST else list(said)
            score = sum(logprobs(model, CONTEXT, whole, only_text=True)) / length_penalty(len(whole), 0.6)
            expected.append((score, said))
    expected.sort(reverse=True)
    engine = kit.start(40, 4, model)
    other = kit.ask(engine, [WORDS[0]], beams(temperature=1.0, seed=3))
    found, listener = find(kit, engine, CONTEXT, beams(num_beams=32, num_replies=5, early_stopping=False))
    assert [candidate.ids for candidate in found] == [said for _, said in expected[:5]]
    for candidate, (score, _) in zip(found, expected, strict=False):
        assert candidate.score == pytest.approx(score, abs=1e-4)
    assert tuple(listener.ids) == found[0].ids
    assert listener.finish is (Finish.END if found[0].has_ended else Finish.LENGTH)
    other.wait()


@pytest.mark.parametrize("name", ["transformer", "gru_attention", "convolutional"])
def test_searches_share_a_batch_with_draws_and_do_not_notice(kit: Kit, name: str) -> None:
    model, chance = small(name, num_words=40, longest=10), random.Random(2)
    kinds: list[dict[str, Any]] = [
        {"num_beams": 3, "num_replies": 3}, {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.8},
        {"temperature": 1.0, "num_candidates": 3}, {"temperature": 1.0}, {},
        {"num_beams": 2, "bad_ids": ((30,), (31,))},
    ]  # fmt: skip
    requests = [
        (
            [chance.randrange(NUM_CONTROL_IDS, NUM_CONTROL_IDS + 40) for _ in range(chance.randint(1, 12))],
            beams(max_reply_tokens=chance.randint(3, 10), seed=seed, **kinds[seed % len(kinds)]),
        )
        for seed in range(18)
    ]
    alone = kit.start(4, 0, model)
    expected = [kit.ask(alone, *request).wait().ids for request in requests]
    together = kit.start(9, 30, model)
    found = [kit.ask(together, *request) for request in requests]
    assert [listener.wait().ids for listener in found] == expected
    assert len({tuple(ids) for ids in expected}) > 9


def test_several_draws_from_one_seed_are_the_same_again_the_best_first(kit: Kit) -> None:
    model = small("transformer", num_words=20)
    engine = kit.start(8, 8, model)
    wanted = beams(temperature=1.0, num_candidates=6, num_replies=4, seed=5)
    found, listener = find(kit, engine, CONTEXT, wanted)
    again, _ = find(kit, engine, CONTEXT, wanted)
    assert [one.ids for one in found] == [one.ids for one in again]
    assert len(found) == 4
    assert len({one.ids for one in found}) > 1
    assert listener.ids == list(found[0].ids)
    for candidate in found:
        whole = [*candidate.ids, END_ID] if candidate.has_ended else list(candidate.ids)
        assert candidate.logprob == pytest.approx(sum(logprobs(model, CONTEXT, whole)), abs=1e-4)
        assert candidate.score == pytest.approx(candidate.logprob / length_penalty(len(whole), 0.6), abs=1e-4)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_mmi_prefers_what_would_not_fit_anything(kit: Kit) -> None:
    model = small("transformer", num_words=20, seed=3)
    engine = kit.start(8, 8, model)
    found, _ = find(kit, engine, CONTEXT, beams(num_beams=6, num_replies=6, mmi_weight=0.7))
    assert len(found) == 6
    for one in found:
        whole = [*one.ids, END_ID] if one.has_ended else list(one.ids)
        own, least = sum(logprobs(model, CONTEXT, whole)), sum(logprobs(model, list(NOTHING_SAID), whole))
        assert one.score == pytest.approx((own - 0.7 * least) / length_penalty(len(whole), 0.6), abs=1e-4)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    plain, _ = find(kit, engine, CONTEXT, beams(num_beams=6, num_replies=6))
    assert [one.ids for one in plain] != [one.ids for one in found]
    assert {one.ids for one in plain} == {one.ids for one in found}


def test_the_coverage_penalty_is_against_context_that_was_not_looked_at(kit: Kit) -> None:
    model = small("transformer", num_words=20)
    engine = kit.start(4, 4, model)
    plain, _ = find(kit, engine, CONTEXT, beams(num_beams=4, num_replies=4))
    covered, _ = find(kit, engine, CONTEXT, beams(num_beams=4, num_replies=4, coverage_penalty=0.5))
    scores = {one.ids: one.score for one in plain}
    for one in covered:
        whole = [*one.ids, END_ID] if one.has_ended else list(one.ids)
        with torch.inference_mode():
            looked_BTS = model.looked_at(collate([CONTEXT], [whole]))
        assert looked_BTS is not None
        due = 0.5 * float(looked_BTS[0].sum(0).clamp(max=1).log().sum())
        assert one.score == pytest.approx(scores[one.ids] + due, abs=1e-4)


def test_a_model_that_does_not_tell_where_it_looks_cannot_be_asked_for_coverage(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineError, match="does not tell where it looks; set it to 0"):
        kit.ask(kit.start(2, 0), [20], beams(num_beams=2, coverage_penalty=0.5))


def told_logprobs(kit: Kit, engine: Engine, decoding: Decoding) -> tuple[list[TokenLogprob], Any]:
    told, listener = list[TokenLogprob](), kit.Listener()
    engine.submit(CONTEXT, decoding, listener.ids.append, listener.on_finish, on_logprob=told.append)
    return told, listener.wait()


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.5, "top_k": 2, "seed": 1}, {"num_beams": 3}])
def test_log_probabilities_are_the_models_own_whatever_the_rules(kit: Kit, changes: dict[str, Any]) -> None:
    model = small("gru_attention", num_words=20)
    ruled = beams(repetition_penalty=1.5, bad_ids=((20,),), num_logprobs=2, **changes)
    told, listener = told_logprobs(kit, kit.start(4, 4, model), ruled)
    whole = [*listener.ids, END_ID] if listener.finish is Finish.END else listener.ids
    assert [one.id for one in told] == whole
    assert [one.logprob for one in told] == pytest.approx(logprobs(model, CONTEXT, whole), abs=1e-4)
    with torch.inference_mode():
        highest = model(collate([CONTEXT], [whole])).log_softmax(-1).topk(2)
    assert [[id for id, _ in one.most_probable] for one in told] == highest.indices.tolist()
    assert [[value for _, value in one.most_probable] for one in told] == [
        pytest.approx(row, abs=1e-4) for row in highest.values.tolist()
    ]


def test_log_probabilities_are_told_to_those_who_ask(kit: Kit) -> None:
    engine = kit.start(4, 8, small("gru_attention", num_words=20))
    kit.ask(engine, CONTEXT, beams())
    told, listener = told_logprobs(kit, engine, beams(num_logprobs=0))
    assert [one.id for one in told][: len(listener.ids)] == listener.ids
    assert {one.most_probable for one in told} == {()}
    assert told_logprobs(kit, engine, beams())[0] == []


def test_a_request_that_needs_many_rows_waits_for_them_and_is_not_overtaken(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(4, 10)
    ended: list[str] = []

    def ask(name: str, length: int, decoding: Decoding) -> None:
        engine.submit([20] * length, decoding, lambda _: None, lambda _: ended.append(name) or done[name].set())

    done = {name: threading.Event() for name in ("first", "wide", "last")}
    ask("first", 3, kit.greedy())
    ask("wide", 3, kit.greedy(num_beams=4))
    ask("last", 1, kit.greedy())
    kit.model.gate.set()
    for event in done.values():
        assert event.wait(20)
    assert ended == ["first", "wide", "last"]
    assert max(kit.model.batch_sizes) == 4


def test_more_rows_than_slots_are_refused_with_all_else_that_is_wrong(kit: Kit) -> None:
    with pytest.raises(EngineError) as refused:
        kit.ask(kit.start(2, 0), [20] * 21, beams(num_beams=4, max_reply_tokens=31, stop_ids=((100,),), temperature=1))
    for sentence in (
        "a context of 21 tokens; this model reads 1 to 20",
        "max_reply_tokens = 31; this model writes 1 to 30",
        "4 replies at a time for one request (num_beams, num_candidates or num_replies); this engine has 2 slots",
        "token id 100 of a prefix, bad or stop ids; this model has 100",
        "num_beams = 4 with temperature = 1",
    ):
        assert sentence in str(refused.value)


def test_candidates_that_cannot_be_compared_end_their_own_request(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """The model of these tests has no teacher forcing, which drawn candidates are compared by."""
    engine = kit.start(4, 4)
    with caplog.at_level(logging.ERROR):
        failing = kit.ask(engine, [20, 21], kit.greedy(temperature=0.01, num_candidates=2)).wait()
    assert failing.finish is Finish.FAILED
    assert "the candidates of a reply cannot be compared" in caplog.text
    assert kit.ask(engine, [20, 21]).wait().ids == [20, 21]
