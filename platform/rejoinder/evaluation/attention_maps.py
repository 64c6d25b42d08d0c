"""A model and exchanges in, pictures of where it looked in the context when it said each token out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rejoinder.batches import collate
from rejoinder.checkpoints import Trained
from rejoinder.dialogue import Responder, reply_to_all
from rejoinder.recipe import DecodingSection
from rejoinder.shards import ShardSet
from rejoinder.shards.report import Html, figure, percent, text
from rejoinder.text import END_ID, Tokenizer

MAX_ROWS, MAX_COLUMNS = 44, 26
"""Tokens of a context and of a reply that a picture shows: its end, and its beginning."""
_LEFT, _WIDTH, _ROW, _TOP = 92, 400, 13, 66


@dataclass(frozen=True)
class AttentionMap:
    """Where a model looked in a context of S tokens when it said a reply of T tokens."""

    context: tuple[str, ...]
    """S tokens, as they are shown."""
    reply: tuple[str, ...]
    """T tokens."""
    weights_TS: tuple[tuple[float, ...], ...]
    """Each row sums to 1."""

    def svg(self) -> Html:
        """The reply's tokens from the left, the context's from top to bottom; the largest weight is the darkest."""
        hidden = max(0, len(self.context) - MAX_ROWS)
        context, reply = self.context[hidden:], self.reply[:MAX_COLUMNS]
        shown_TS = [row[hidden:] for row in self.weights_TS[:MAX_COLUMNS]]
        largest = max(max(row) for row in shown_TS)
        column = min(26.0, (_WIDTH - _LEFT - 30) / len(reply))
        drawn = []
        for place, token in enumerate(reply):
            x = _LEFT + (place + 0.5) * column + 4
            drawn.append(
                f'<text x="{x:.1f}" y="{_TOP - 6}" transform="rotate(-55 {x:.1f} {_TOP - 6})">{_label(token)}</text>'
            )
        for line, token in enumerate(context):
            y = _TOP + line * _ROW
            drawn.append(f'<text x="{_LEFT - 4}" y="{y + _ROW - 3}" class="end">{_label(token)}</text>')
            for place, weights_S in enumerate(shown_TS):
                weight = weights_S[line]
                if weight < largest / 400:  # not to be seen
                    continue
                drawn.append(
                    f'<rect x="{_LEFT + place * column:.1f}" y="{y}" width="{column - 1:.1f}" height="{_ROW - 1}" '
                    f'style="fill:var(--train,#b5592a);fill-opacity:{(weight / largest) ** 0.5:.2f}"><title>'
                    f"{text(reply[place])} looks at {text(token)}: {percent(weight)}</title></rect>"
                )
        height = _TOP + _ROW * len(context) + 18
        wide = column * len(reply)
        frame = (
            f'<rect x="{_LEFT}" y="{_TOP}" width="{wide:.1f}" height="{_ROW * len(context)}" class="axis" fill="none"/>'
        )
        note = f"darkest: {percent(largest)}" + (
            f"; {hidden} older tokens of the context are not shown" if hidden else ""
        )
        drawn.append(f'<text x="{_LEFT}" y="{height - 4}" class="note">{note}</text>')
        title = text(f"Where the model looked in {len(self.context)} tokens of context when it said {len(self.reply)}")
        return Html(
            f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}" style="font-size:10px">'
            f"<title>{title}</title>{frame}{''.join(drawn)}</svg>"
        )


def attention_maps(
    trained: Trained, exchanges: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[AttentionMap] | None:  # fmt: skip
    """A map of each (context ids, reply ids); None of a model that does not tell where it looks."""
    contexts, replies = [list(context) for context, _ in exchanges], [list(reply) for _, reply in exchanges]
    weights_BTS = trained.model.looked_at(collate(contexts, replies).to(next(trained.model.parameters()).device))
    if weights_BTS is None:
        return None
    return [
        AttentionMap(
            tuple(shown(id, trained.tokenizer) for id in context),
            tuple(shown(id, trained.tokenizer) for id in reply),
            tuple(tuple(row) for row in weights_TS[: len(reply), : len(context)].tolist()),
        )
        for context, reply, weights_TS in zip(contexts, replies, weights_BTS, strict=True)
    ]


def attention_html(trained: Trained, shard_set: ShardSet, num: int, seed: int) -> str:
    """Maps of `num` exchanges of a split, drawn by the seed, with what the model itself says greedily."""
    numbers = np.sort(np.random.default_rng(seed).choice(len(shard_set), size=num, replace=False))
    contexts = [shard_set.rows(np.array([number]))[0][0].tolist() for number in numbers]
    said = _greedy(trained, contexts)
    longest = trained.model.max_reply_tokens - 1
    replies = [[*trained.tokenizer.to_ids(text)[:longest], END_ID] for text in said]
    maps = attention_maps(trained, list(zip(contexts, replies, strict=True)))
    if maps is None:
        return f"<p class=quiet>A {text(trained.recipe.model.name)} model does not tell where it looks.</p>"
    drawn = [figure(f"“{line}”", one.svg()) for line, one in zip(said, maps, strict=True)]
    return (
        "<p>The model's own reply from left to right, the context from top to bottom, oldest first: the darker, the "
        "more of its attention a token had when the reply's token was said. The mean over layers and heads.</p>"
        f"<div class=side>{''.join(drawn)}</div>"
    )


def _greedy(trained: Trained, contexts: Sequence[list[int]]) -> list[str]:
    responder = Responder(trained, num_slots=len(contexts), max_queued=len(contexts), fallback_reply="")
    responder.engine.start()
    try:
        decoding = responder.decoding(DecodingSection(temperature=0.0))
        return [one.text for one in reply_to_all(responder, [(ids, decoding) for ids in contexts], len(contexts))]
    finally:
        responder.engine.stop()


def shown(id: int, tokenizer: Tokenizer) -> str:
    """A token by itself: a blank is a dot, a control token its name, a part of a character a box."""
    if tokenizer.is_control(id):
        return tokenizer.with_markers([id])
    return tokenizer.inner_bytes(id).decode("utf-8", errors="replace").replace(" ", "·")


def _label(token: str) -> Html:
    return text(token if len(token) <= 14 else token[:13] + "…")
