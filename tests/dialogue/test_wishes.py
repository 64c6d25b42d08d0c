"""What a request may want of a reply: where it begins and ends, what it does not say, how many there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rejoinder import checkpoints
from rejoinder.corpora import Turn
from rejoinder.dialogue import Reply, Responder
from rejoinder.engine import Finish
from rejoinder.errors import EngineError
from rejoinder.recipe import Recipe

PLAIN = {"temperature": 0.0, "repetition_penalty": 1.0}


@pytest.fixture
def responder(make_checkpoint: Callable[..., Path]) -> Iterator[Responder]:
    """An untrained model: it says anything."""
    made = Responder(checkpoints.load(make_checkpoint()), num_slots=8, max_queued=8)
    made.engine.start()
    yield made
    made.engine.stop()


def context(responder: Responder) -> list[int]:
    return responder.context([Turn("user", "hello there")], "assistant")


def test_a_reply_begins_with_the_prefix_that_it_is_given(responder: Responder) -> None:
    for wanted in (PLAIN, PLAIN | {"num_beams": 3}, {"temperature": 1.0, "seed": 3}):
        assert responder.reply(context(responder), responder.decoding(prefix=" I like ", **wanted)).text.startswith(
            "I like"
        )


def test_a_reply_ends_before_a_stop_text_and_its_slot_is_free(responder: Responder) -> None:
    whole = responder.reply(context(responder), responder.decoding(prefix="one two three four", **PLAIN))
    decoding = responder.decoding(prefix="one two three four", stop=["ee f"], **PLAIN)
    for found in (
        responder.reply(context(responder), decoding),
        responder.reply(
            context(responder), responder.decoding(prefix="one two three four", stop=["ee f"], num_beams=2, **PLAIN)
        ),
    ):
        assert (found.text, found.finish) == ("one two thr", Finish.END)
        assert found.num_reply_tokens < whole.num_reply_tokens
    parts = list(responder.stream(context(responder), decoding))
    assert "".join(part.text for part in parts) == "one two thr"
    assert not any("ee" in part.text for part in parts)


def test_bad_words_are_not_said_however_they_are_written(responder: Responder) -> None:
    def said(**changes: object) -> str:
        replies = [
            responder.reply(context(responder), responder.decoding(temperature=1.5, seed=seed, **changes)).text
            for seed in range(12)
        ]
        return " ".join(replies)

    free = said()
    letter = max("abcdefghijklmnopqrstuvwxyz", key=free.count)
    assert free.count(letter) > 3
    tokenizer = responder.trained.tokenizer
    with_letter = [
        tokenizer.inner_bytes(id).decode(errors="replace") for id in range(16, tokenizer.num_ids)
        if letter in tokenizer.inner_bytes(id).decode(errors="replace").lower()
    ]  # fmt: skip
    assert letter not in said(bad_words=[text.strip() for text in with_letter]).lower()


def test_the_best_of_several_are_given_with_their_scores(responder: Responder) -> None:
    decoding = responder.decoding(num_beams=4, num_replies=3, **PLAIN)
    replies = responder.replies(context(responder), decoding)
    assert len(replies) == 3
    scores = [reply.score or 0.0 for reply in replies]
    assert scores == sorted(scores, reverse=True)
    assert responder.reply(context(responder), decoding) == replies[0]
    drawn = responder.decoding(temperature=1.0, num_candidates=4, num_replies=2, seed=1, mmi_weight=0.5)
    assert responder.replies(context(responder), drawn) == responder.replies(context(responder), drawn)
    assert len(responder.replies(context(responder), drawn)) == 2


def test_a_single_reply_is_a_list_of_one_without_a_score(responder: Responder) -> None:
    (reply,) = responder.replies(context(responder), responder.decoding(**PLAIN))
    assert reply.score is None
    assert reply == responder.reply(context(responder), responder.decoding(**PLAIN))


def test_several_replies_are_no_stream(responder: Responder) -> None:
    decoding = responder.decoding(num_beams=4, num_replies=3, **PLAIN)
    with pytest.raises(EngineError, match="num_replies = 3: a stream is one reply"):
        next(responder.stream(context(responder), decoding))


def texts(reply: Reply) -> str:
    return "".join(one.text for one in reply.logprobs if one.text != "<end>")


@pytest.mark.parametrize("several", [{}, {"num_beams": 3, "num_replies": 2}])
def test_each_tokens_log_probability_comes_with_its_text(responder: Responder, several: dict[str, int]) -> None:
    wanted = responder.decoding(num_logprobs=2, prefix="hello", max_reply_tokens=12, **PLAIN, **several)
    for reply in responder.replies(context(responder), wanted):
        assert texts(reply) == reply.text
        assert len(reply.logprobs) == reply.num_reply_tokens + (reply.finish is Finish.END)
        for one in reply.logprobs:
            assert len(one.most_probable) == 2
            assert one.logprob <= one.most_probable[0][1] + 1e-5
            assert sum(math.exp(logprob) for _, logprob in one.most_probable) <= 1.0001


def test_parts_of_a_stream_carry_all_log_probabilities(responder: Responder) -> None:
    decoding = responder.decoding(num_logprobs=0, prefix="你 hello", stop=["zzz", "hex"], **PLAIN)
    parts = list(responder.stream(context(responder), decoding))
    told = [one for part in parts for one in part.logprobs]
    assert len(told) == parts[-1].num_tokens + (parts[-1].finish is Finish.END)


def test_the_best_of_several_tells_no_log_probabilities_of_what_a_stop_text_cuts(responder: Responder) -> None:
    decoding = responder.decoding(prefix="one two three four", stop=["ee f"], num_beams=2, num_logprobs=0, **PLAIN)
    whole = responder.reply(context(responder), decoding)
    parts = list(responder.stream(context(responder), decoding))
    assert tuple(one for part in parts for one in part.logprobs) == whole.logprobs
    assert len(whole.logprobs) == parts[-1].num_tokens


def test_what_cannot_be_is_refused_at_the_door_all_at_once(responder: Responder) -> None:
    with pytest.raises(EngineError) as refused:
        responder.decoding(num_beams=3, temperature=0.5, num_replies=4, prefix="word " * 20, stop=[""])
    for sentence in (
        "num_beams = 3 with temperature = 0.5",
        "num_replies = 4 is more than num_beams = 3",
        "the prefix has",
        "stop has an empty text",
    ):
        assert sentence in str(refused.value)


def test_a_recipes_shortest_reply_gives_way_to_a_requests_longest(
    make_checkpoint: Callable[..., Path], make_recipe: Callable[..., Recipe]
) -> None:
    responder = Responder(checkpoints.load(make_checkpoint(0, make_recipe("decoding.min_reply_tokens=5"))))
    assert responder.decoding().min_reply_tokens == 5
    assert responder.decoding(max_reply_tokens=3).min_reply_tokens == 3
    with pytest.raises(EngineError, match="min_reply_tokens = 4 is above max_reply_tokens = 3"):
        responder.decoding(max_reply_tokens=3, min_reply_tokens=4)


def test_a_reply_that_takes_too_long_is_an_error(responder: Responder) -> None:
    with pytest.raises(EngineError, match="the reply timed out"):
        responder.reply(context(responder), responder.decoding(**PLAIN), timeout_s=0.0)


def test_without_a_number_of_slots_a_reply_as_the_recipe_wants_it_finds_room(
    make_checkpoint: Callable[..., Path], make_recipe: Callable[..., Recipe]
) -> None:
    """As MLflow loads a version, and as versions are timed."""
    searching = make_recipe("decoding.num_beams=3", "decoding.temperature=0", "decoding.num_replies=2")
    responder = Responder(checkpoints.load(make_checkpoint(0, searching)))
    responder.engine.start()
    assert len(responder.replies(context(responder), responder.decoding())) == 2
    assert responder.engine.statistics().num_slots == 3
    responder.engine.stop()
