"""The turns so far in, the reply's text out, piece by piece."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rejoinder.checkpoints import Trained
from rejoinder.corpora import Turn
from rejoinder.decoding import Decoding
from rejoinder.engine import Engine, Finish
from rejoinder.errors import EngineError
from rejoinder.text import TextStream, clean, context_ids, prefix_ids


@dataclass(frozen=True)
class ReplyPart:
    """Text that has become certain; the last part says why the reply ended."""

    text: str
    num_tokens: int = 0
    """Reply tokens so far."""
    finish: Finish | None = None


@dataclass(frozen=True)
class Reply:
    """A whole reply."""

    text: str
    num_context_tokens: int
    num_reply_tokens: int
    finish: Finish


class Responder:
    """A trained model and its engine as one conversation partner."""

    def __init__(self, trained: Trained, num_slots: int = 1, max_queued: int = 0, fallback_reply: str = "…") -> None:
        self.trained = trained
        self.engine = Engine(trained.model, num_slots, max_queued)
        self._fallback_reply = fallback_reply

    @property
    def max_reply_tokens(self) -> int:
        """The longest reply to be had."""
        recipe = self.trained.recipe
        return recipe.serving.max_reply_tokens or recipe.text.max_reply_tokens

    def decoding(self, *, max_reply_tokens: int | None = None, **changes: float | int | None) -> Decoding:
        """The recipe's decoding settings with some of them changed; None changes nothing.

        A reply longer than the model writes may be asked for: it is a limit, and one that is kept.
        """
        longest = min(max_reply_tokens or self.max_reply_tokens, self.max_reply_tokens)
        return Decoding.of(self.trained.recipe.decoding, longest, **changes)

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
        self, context: Sequence[int], decoding: Decoding, on_part: Callable[[ReplyPart], None]
    ) -> Callable[[], None]:
        """Starts a reply; `on_part` is called on the engine's thread. Returns what cancels it."""
        text, num_tokens, said_anything = TextStream(self.trained.tokenizer), 0, False

        def on_token(id: int) -> None:
            nonlocal num_tokens, said_anything
            num_tokens += 1
            if piece := text.add(id):
                # Replies are learnt without blanks at their ends.
                piece = piece if said_anything else piece.lstrip()
                said_anything = said_anything or bool(piece)
                on_part(ReplyPart(piece, num_tokens))

        def on_finish(finish: Finish) -> None:
            rest = text.end()
            if not said_anything and not rest.strip() and finish in (Finish.END, Finish.LENGTH):
                rest = self._fallback_reply
            on_part(ReplyPart(rest, num_tokens, finish))

        return self.engine.submit(context, decoding, on_token, on_finish)

    def stream(self, context: Sequence[int], decoding: Decoding) -> Iterator[ReplyPart]:
        """The reply's parts as they come, for callers that may block. Leaving the loop early cancels the reply."""
        parts: queue.SimpleQueue[ReplyPart] = queue.SimpleQueue()
        cancel = self.submit(context, decoding, parts.put)
        try:
            while True:
                part = parts.get()
                yield part
                if part.finish is not None:
                    return
        finally:
            cancel()

    def reply(self, context: Sequence[int], decoding: Decoding | None = None) -> Reply:
        """The whole reply. Raises EngineError when the model failed."""
        parts = list(self.stream(context, decoding or self.decoding()))
        finish = parts[-1].finish
        if finish not in (Finish.END, Finish.LENGTH):
            raise EngineError(f"the reply {finish.value if finish else 'did not end'}; the log says why")
        return Reply("".join(part.text for part in parts), len(context), parts[-1].num_tokens, finish)
