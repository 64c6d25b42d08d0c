"""Turns in, a reply's text out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rejoinder.batches import Batch, Position
from rejoinder.checkpoints import Progress, Trained
from rejoinder.corpora import Conversation, Turn
from rejoinder.decoding import Decoding
from rejoinder.dialogue import Reply, ReplyPart, Responder
from rejoinder.engine import EngineFull, Finish
from rejoinder.errors import EngineError
from rejoinder.models import Seq2Seq, State
from rejoinder.recipe import Recipe
from rejoinder.text import END_ID, Tokenizer, context_ids, exchanges_of

MAX_CONTEXT, MAX_REPLY = 48, 20  # the small recipe's


class Parrot(Seq2Seq):
    """Says the ids it was made with, then the end, whatever it is asked; a negative one makes it fail."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__()
        self.num_ids, self.max_context_tokens, self.max_reply_tokens = 320, MAX_CONTEXT, MAX_REPLY
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.said = torch.tensor([*ids, END_ID])
        self.before_step: Callable[[], object] = lambda: None

    def hidden(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        return {"place_B": torch.zeros(len(context_ids_BS), dtype=torch.long)}

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        self.before_step()
        return F.one_hot(self.said[state["place_B"]], self.num_ids).float(), {"place_B": state["place_B"] + 1}


MakeResponder = Callable[..., Responder]


@pytest.fixture
def responder_that_says(recipe: Recipe, tokenizer: Tokenizer) -> Iterator[MakeResponder]:
    """`responder_that_says(text or ids)`: a responder with a running engine."""
    responders: list[Responder] = []

    def make(said: str | list[int], of: Recipe = recipe) -> Responder:
        model = Parrot(tokenizer.to_ids(said) if isinstance(said, str) else said)
        trained = Trained(model, tokenizer, of, Progress(1, Position(), "0"), "0")
        responders.append(Responder(trained, fallback_reply="Pardon?"))
        responders[-1].engine.start()
        return responders[-1]

    yield make
    for responder in responders:
        responder.engine.stop()


def question(responder: Responder, **changes: float) -> tuple[list[int], Decoding]:
    """A context, and settings that take the model's word as it is."""
    word_for_word = {"temperature": 0, "repetition_penalty": 1, "min_reply_tokens": 0}
    return responder.context([Turn("user", "hi")], "assistant"), responder.decoding(**(word_for_word | changes))


def reply(responder: Responder, **changes: float) -> Reply:
    return responder.reply(*question(responder, **changes))


def test_a_reply_is_text_with_its_counts(responder_that_says: MakeResponder, tokenizer: Tokenizer) -> None:
    said = tokenizer.to_ids("Fine, 你!")
    expected = Reply("Fine, 你!", 1 + len(tokenizer.to_ids("hi")), len(said), Finish.END)
    assert reply(responder_that_says("Fine, 你!")) == expected


def test_a_context_is_what_was_learnt_from(responder_that_says: MakeResponder, tokenizer: Tokenizer) -> None:
    """The same turns make the same ids while training and while serving, however they were typed."""
    responder, turns = (
        responder_that_says("x"),
        [Turn("ann", " a  b"), Turn("bob", ""), Turn("bob", "c\n"), Turn("ann", "d")],
    )
    conversation = Conversation("id", (*turns, Turn("bob", "reply")))
    *_, last = exchanges_of([conversation], tokenizer, responder.trained.recipe.text)
    assert responder.context(turns, "bob") == last.context_ids
    cleaned = [tokenizer.to_ids(text) for text in ("a b", "c", "d")]
    text = responder.trained.recipe.text
    assert last.context_ids == context_ids(["ann", "bob", "ann"], cleaned, "bob", text)


def test_a_long_context_is_cut_to_what_the_model_reads(responder_that_says: MakeResponder) -> None:
    responder = responder_that_says("fine")
    assert len(responder.context([Turn("user", "Qvxjzw " * 50)], "assistant")) == MAX_CONTEXT
    many = responder.context([Turn("user", f"{number}") for number in range(50)], "assistant")
    assert responder.trained.tokenizer.to_text(many) == "46474849"  # the last four turns


@pytest.mark.parametrize("turns", [[], [Turn("user", "")], [Turn("user", " \n"), Turn("assistant", "\t")]])
def test_there_is_no_reply_to_silence(responder_that_says: MakeResponder, turns: list[Turn]) -> None:
    with pytest.raises(EngineError, match="there is nothing to reply to: every turn is empty"):
        responder_that_says("fine").context(turns, "assistant")


@pytest.mark.parametrize("said", ["", " ", "  \n "])
def test_a_model_that_says_nothing_is_helped_out(responder_that_says: MakeResponder, said: str) -> None:
    assert reply(responder_that_says(said)).text == "Pardon?"


def test_blanks_before_a_reply_are_left_out(responder_that_says: MakeResponder) -> None:
    assert reply(responder_that_says("  \n fine  day")).text == "fine  day"


def test_a_reply_is_no_longer_than_the_model_writes(responder_that_says: MakeResponder) -> None:
    responder = responder_that_says("Qvxjzw" * 10)
    for asked, said in ((None, MAX_REPLY), (5, 5), (1000, MAX_REPLY)):
        found = reply(responder, max_reply_tokens=asked)
        assert (found.num_reply_tokens, found.finish) == (said, Finish.LENGTH)
        assert found.text == ("Qvxjzw" * 10)[:said]


def test_the_recipe_may_allow_less(responder_that_says: MakeResponder, make_recipe: Callable[..., Recipe]) -> None:
    responder = responder_that_says("Qvxjzw" * 10, make_recipe("serving.max_reply_tokens=7"))
    assert reply(responder).num_reply_tokens == reply(responder, max_reply_tokens=1000).num_reply_tokens == 7


def test_a_request_changes_the_recipes_decoding(responder_that_says: MakeResponder) -> None:
    changed = responder_that_says("x").decoding(temperature=0.0, top_p=None, seed=5)
    assert (changed.temperature, changed.seed) == (0.0, 5)
    assert (changed.top_k, changed.top_p) == (40, 0.95)


@pytest.mark.parametrize("said", ["Hello, how are you? 你好 🙂", " fine", ""])
def test_the_parts_of_a_stream_join_to_the_reply(responder_that_says: MakeResponder, said: str) -> None:
    responder = responder_that_says(said)
    *parts, last = responder.stream(*question(responder))
    assert "".join(part.text for part in [*parts, last]) == reply(responder).text
    assert not any("\ufffd" in part.text for part in parts)
    assert [part.finish for part in parts] == [None] * len(parts)
    assert last.finish in (Finish.END, Finish.LENGTH)


def test_parts_come_one_by_one_with_their_counts(responder_that_says: MakeResponder) -> None:
    responder = responder_that_says("Qv🙂")
    assert list(responder.stream(*question(responder))) == [
        ReplyPart("Q", 1), ReplyPart("v", 2), ReplyPart("🙂", 6), ReplyPart("", 6, Finish.END)
    ]  # fmt: skip


def test_a_reply_that_is_cut_inside_a_character_says_so(responder_that_says: MakeResponder) -> None:
    assert reply(responder_that_says("Qv🙂"), max_reply_tokens=4).text == "Qv\ufffd"


def test_leaving_a_stream_early_cancels_the_reply(responder_that_says: MakeResponder) -> None:
    responder, steps = responder_that_says("Qvxjzw" * 3), threading.Semaphore(1)
    responder.trained.model.before_step = steps.acquire
    stream = responder.stream(*question(responder))
    assert next(stream).text == "Q"
    stream.close()
    steps.release(100)
    while responder.engine.statistics().num_running:
        time.sleep(0.001)
    assert responder.engine.statistics().num_tokens <= 2  # of 18


def test_more_at_a_time_than_slots_are_refused(responder_that_says: MakeResponder) -> None:
    responder = responder_that_says("fine")
    responder.engine.stop()
    with pytest.raises(EngineError, match="has stopped"):
        reply(responder)
    waiting = Responder(responder.trained)  # not started: what is asked waits
    waiting.submit([20], waiting.decoding(), print)
    with pytest.raises(EngineFull):
        waiting.submit([20], waiting.decoding(), print)


def test_several_replies_are_taken_together_or_not_at_all(responder_that_says: MakeResponder) -> None:
    trained = responder_that_says("fine").trained
    waiting = Responder(trained, num_slots=1, max_queued=1)  # not started: what is asked waits
    with pytest.raises(EngineFull):
        waiting.submit_each([20], waiting.decoding(num_replies=3, temperature=1.0), print)
    parts: list[ReplyPart] = []
    waiting.submit_each([20], waiting.decoding(num_replies=2, temperature=1.0), parts.append)  # there is room again
    waiting.engine.start()
    while not (parts and parts[-1].is_last):
        time.sleep(0.001)
    waiting.engine.stop()
    ends = [part for part in parts if part.finish is not None]
    assert [(part.index, part.num_others) for part in ends] == [(0, 1), (1, 0)]


def test_a_model_that_fails_is_an_error_not_a_reply(responder_that_says: MakeResponder) -> None:
    with pytest.raises(EngineError, match="the reply failed; the log says why"):
        reply(responder_that_says([-1]))
