"""The turns so far in, the reply's text out, piece by piece."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from rejoinder.checkpoints import Trained
from rejoinder.corpora import Turn
from rejoinder.decoding import Candidate, Decoding
from rejoinder.dialogue.parts import ReplyPart, Speaker
from rejoinder.dialogue.spelling import Spelling, SpeltLogprob, spelt
from rejoinder.engine import Engine, Finish
from rejoinder.errors import EngineError
from rejoinder.recipe import DecodingSection
from rejoinder.text import END_ID, clean, context_ids, prefix_ids


@dataclass(frozen=True)
class Reply:
    """A whole reply."""

    text: str
    num_context_tokens: int
    num_reply_tokens: int
    finish: Finish
    score: float | None = None
    """What candidates are compared by; None where there was only one."""
    logprobs: tuple[SpeltLogprob, ...] = ()
    """Of each token, if `num_logprobs` asks for them."""


class Responder:
    """A trained model and its engine as one conversation partner."""

    def __init__(
        self, trained: Trained, num_slots: int | None = None, max_queued: int = 0, fallback_reply: str = "…",
        max_reply_tokens: int | None = None,
    ) -> None:  # fmt: skip
        """None are the slots that one reply takes, as the model's recipe wants it chosen, and that recipe's longest
        reply."""
        self.trained = trained
        self.engine = Engine(trained.model, num_slots or trained.recipe.decoding.num_rows, max_queued)
        self._fallback_reply, self._longest = fallback_reply, max_reply_tokens
        self._bad_ids = lru_cache(maxsize=64)(self._spell_bad_words)

    @property
    def max_reply_tokens(self) -> int:
        """The longest reply to be had."""
        recipe = self.trained.recipe
        longest = self._longest or recipe.serving.max_reply_tokens or recipe.text.max_reply_tokens
        return min(longest, recipe.text.max_reply_tokens)

    def decoding(
        self, section: DecodingSection | None = None, *, max_reply_tokens: int | None = None, **changes: Any
    ) -> Decoding:  # fmt: skip
        """The settings of a section, for None the recipe's, with some of them changed, by the names of
        `DecodingSection` and `seed`; a change of None changes nothing.

        A reply longer than the model writes may be asked for: it is a limit, and one that is kept. Raises EngineError
        with all that contradicts itself.
        """
        section = section or self.trained.recipe.decoding
        longest = min(max_reply_tokens or self.max_reply_tokens, self.max_reply_tokens)
        named = {name: value for name, value in changes.items() if value is not None}
        prefix, bad_words = named.pop("prefix", section.prefix), named.pop("bad_words", section.bad_words)
        named.setdefault("min_reply_tokens", min(section.min_reply_tokens, longest))
        named |= {"prefix_ids": self._prefix_ids(prefix), "bad_ids": self._bad_ids(tuple(bad_words))}
        if "stop" in named:
            named["stop"] = tuple(named["stop"])
        decoding = Decoding.of(section, longest, **named)
        problems = list(decoding.contradictions())
        if "" in decoding.stop:
            problems.append("stop has an empty text, which stands everywhere; leave it out")
        if problems:
            raise EngineError("\n".join(problems))
        return decoding

    def _prefix_ids(self, prefix: str) -> tuple[int, ...]:
        tokenizer = self.trained.tokenizer
        ids = tuple(tokenizer.to_ids(prefix.strip()))
        if tokenizer.unknown_id in ids:
            raise EngineError(f"prefix = {prefix!r} has words that the tokenizer does not know")
        return ids

    def _spell_bad_words(self, words: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        """The runs of tokens of these words, as they begin a text and as they follow a blank."""
        tokenizer = self.trained.tokenizer
        forms = [form for word in words for form in (word, word.lower(), word[:1].upper() + word[1:], word.upper())]
        runs = dict.fromkeys(map(tuple, tokenizer.many_to_ids([*forms, *(f" {form}" for form in forms)])))
        return tuple(run for run in runs if run and tokenizer.unknown_id not in run)

    def context(self, turns: Sequence[Turn], replier: str, asked: Sequence[tuple[str, str]] = ()) -> list[int]:
        """Ids of the newest turns that fit, cleaned and marked as in training; before them what is asked of the reply.

        `asked` are pairs such as ("emotion", "joy"), of kinds that the model was trained with (`text.control_tokens`).
        Raises EngineError when nothing was said, or for another kind.
        """
        settings, tokenizer = self.trained.recipe.text, self.trained.tokenizer
        for kind, _ in asked:
            if kind not in settings.control_tokens:
                there_are = ", ".join(settings.control_tokens) or "none"
                raise EngineError(f"{kind}: the model was not trained to be asked for this; there are: {there_are}")
        steps = settings.cleaning
        said = [(turn.speaker, text) for turn in turns if (text := clean(turn.text, steps))]
        if not said:
            raise EngineError("there is nothing to reply to: every turn is empty")
        known = asked if any(kind == "speaker" for kind, _ in asked) else [*asked, ("speaker", replier)]
        prefix = prefix_ids(known, settings.control_tokens, tokenizer)
        ids = tokenizer.many_to_ids([text for _, text in said])
        return context_ids([speaker for speaker, _ in said], ids, replier, settings, prefix)

    def submit(
        self, context: Sequence[int], decoding: Decoding, on_part: Callable[[ReplyPart], object],
        on_replies: Callable[[list[Reply]], object] | None = None, timeout_s: float | None = None,
    ) -> Callable[[], None]:  # fmt: skip
        """Starts a reply; `on_part` is called on the engine's thread. Returns what cancels it.

        Where several candidates are made, their best comes in parts at the end, after `on_replies` got all that
        `num_replies` asks for. Raises EngineError for several replies without an `on_replies`.
        """
        if decoding.num_replies > 1 and on_replies is None:
            raise EngineError(
                f"num_replies = {decoding.num_replies}: a stream is one reply; ask for one, or for all of them at once"
            )

        def on_candidates(candidates: list[Candidate]) -> None:
            if on_replies:
                on_replies([self._reply(candidate, decoding, len(context)) for candidate in candidates])

        return self._ask(context, decoding, on_part, on_candidates, timeout_s)

    def submit_each(
        self, context: Sequence[int], decoding: Decoding, on_part: Callable[[ReplyPart], object],
        timeout_s: float | None = None,
    ) -> Callable[[], None]:  # fmt: skip
        """Starts `num_replies` replies that are written side by side, and told apart by their parts' `index`; otherwise
        as `submit`. They are those that `submit` has for the same seed, in the order in which they were drawn.

        Where the best are wanted of beams, or of more candidates than replies, nothing is certain before all are done:
        these come whole at the end, the best first, and there may be fewer.
        """
        if decoding.num_beams > 1 or decoding.num_candidates > decoding.num_replies:
            return self._submit_best(context, decoding, on_part, timeout_s)
        alone = replace(decoding, num_replies=1, num_candidates=1, mmi_weight=0.0, coverage_penalty=0.0)
        num_open, cancels = decoding.num_replies, list[Callable[[], None]]()

        def on_part_of(index: int) -> Callable[[ReplyPart], object]:
            def on_part_numbered(part: ReplyPart) -> None:
                nonlocal num_open
                num_open -= part.finish is not None
                on_part(replace(part, index=index, num_others=0 if part.finish is None else num_open))

            return on_part_numbered

        def cancel() -> None:
            for cancel_one in cancels:
                cancel_one()

        try:
            for index in range(decoding.num_replies):
                cancels.append(self._ask(context, alone, on_part_of(index), None, timeout_s, index))
        except BaseException:
            cancel()
            raise
        return cancel

    def _submit_best(
        self, context: Sequence[int], decoding: Decoding, on_part: Callable[[ReplyPart], object],
        timeout_s: float | None,
    ) -> Callable[[], None]:  # fmt: skip
        found: list[Reply] = []

        def on_part_of_best(part: ReplyPart) -> None:
            if part.finish not in (None, Finish.END, Finish.LENGTH):
                on_part(part)
            elif part.finish is not None:
                for index, reply in enumerate(found):
                    on_part(
                        ReplyPart(
                            reply.text, reply.num_reply_tokens, reply.finish, reply.logprobs, part.admitted_at, index,
                            len(found) - 1 - index,
                        )
                    )  # fmt: skip

        return self.submit(context, decoding, on_part_of_best, found.extend, timeout_s)

    def _ask(
        self, context: Sequence[int], decoding: Decoding, on_part: Callable[[ReplyPart], object],
        on_candidates: Callable[[list[Candidate]], None] | None, timeout_s: float | None, draw: int = 0,
    ) -> Callable[[], None]:  # fmt: skip
        speaker = Speaker(self.trained.tokenizer, decoding, self._fallback_reply, on_part)
        return self.engine.submit(
            context, decoding, speaker.hear, speaker.end,
            on_logprob=None if decoding.num_logprobs is None else speaker.hear_logprob,
            on_candidates=on_candidates, on_admit=speaker.admit, timeout_s=timeout_s, draw=draw,
        )  # fmt: skip

    def _reply(self, candidate: Candidate, decoding: Decoding, num_context_tokens: int) -> Reply:
        tokenizer = self.trained.tokenizer
        spelling = Spelling(tokenizer, decoding.stop)
        text = spelling.whole(candidate.ids)
        finish = Finish.END if candidate.has_ended or spelling.has_stopped else Finish.LENGTH
        ended = [one for one in candidate.logprobs[len(candidate.ids) :] if one.id == END_ID]
        kept = [*candidate.logprobs[: spelling.num_tokens], *(() if spelling.has_stopped else ended)]
        return Reply(
            self._fallback_reply if spelling.is_empty else text, num_context_tokens, spelling.num_tokens, finish,
            candidate.score, tuple(spelt(one, tokenizer) for one in kept),
        )  # fmt: skip

    def stream(
        self, context: Sequence[int], decoding: Decoding, timeout_s: float | None = None
    ) -> Iterator[ReplyPart]:  # fmt: skip
        """The reply's parts as they come, for callers that may block. Leaving the loop early cancels the reply."""
        return self._stream(context, decoding, None, timeout_s)

    def _stream(
        self, context: Sequence[int], decoding: Decoding, on_replies: Callable[[list[Reply]], object] | None,
        timeout_s: float | None,
    ) -> Iterator[ReplyPart]:  # fmt: skip
        parts: queue.SimpleQueue[ReplyPart] = queue.SimpleQueue()
        cancel = self.submit(context, decoding, parts.put, on_replies, timeout_s)
        try:
            while True:
                part = parts.get()
                yield part
                if part.finish is not None:
                    return
        finally:
            cancel()

    def reply(
        self, context: Sequence[int], decoding: Decoding | None = None, timeout_s: float | None = None
    ) -> Reply:  # fmt: skip
        """The whole reply, of several the best. Raises EngineError when the model failed."""
        return self.replies(context, decoding or self.decoding(), timeout_s)[0]

    def replies(
        self, context: Sequence[int], decoding: Decoding, timeout_s: float | None = None
    ) -> list[Reply]:  # fmt: skip
        """The `num_replies` best replies, or fewer where there are no more that differ. Raises EngineError when the
        model failed."""
        found: list[Reply] = []
        parts = list(self._stream(context, decoding, found.extend, timeout_s))
        finish = parts[-1].finish
        if finish not in (Finish.END, Finish.LENGTH):
            raise EngineError(f"the reply {finish.value if finish else 'did not end'}; the log says why")
        logprobs = tuple(logprob for part in parts for logprob in part.logprobs)
        text = "".join(part.text for part in parts)
        return found or [Reply(text, len(context), parts[-1].num_tokens, finish, None, logprobs)]
