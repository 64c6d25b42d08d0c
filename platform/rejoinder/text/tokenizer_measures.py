"""A tokenizer and texts in, how well it fits them out: what is unknown, how finely it cuts, what it leaves unused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rejoinder.text.tokenizer import NUM_CONTROL_IDS, Tokenizer


@dataclass(frozen=True)
class TokenizerMeasures:
    """Of some texts. Shares are from 0 to 1; what cannot be measured without text or tokens is 0."""

    coverage: float
    """Share of the texts' UTF-8 bytes, white space left out, that stand under a known token. 1 for byte-level kinds."""
    fertility: float
    """Tokens per blank-separated word (Ács 2019, by way of Rust et al. 2021)."""
    bytes_per_token: float
    """UTF-8 bytes of the texts, blanks included, per token."""
    used_share: float
    """Share of the ids above the control tokens that occur at all."""


def measure_tokenizer(tokenizer: Tokenizer, texts: Iterable[str]) -> TokenizerMeasures:
    """Reads every text once; some 40 µs a turn, so give it a sample."""
    num_bytes, num_seen, num_known, num_words, num_tokens = 0, 0, 0, 0, 0
    used = set[int]()
    for text in texts:
        spans = tokenizer.spans(text)
        used.update(id for id, _, _ in spans)
        num_tokens += len(spans)
        num_words += len(text.split())
        num_bytes += len(text.encode())
        num_seen += _num_bytes_seen(text)
        num_known += _num_bytes_seen(_known(text, spans, tokenizer.unknown_id))
    return TokenizerMeasures(
        coverage=num_known / max(num_seen, 1),
        fertility=num_tokens / max(num_words, 1),
        bytes_per_token=num_bytes / max(num_tokens, 1),
        used_share=len(used) / max(tokenizer.num_ids - NUM_CONTROL_IDS, 1),
    )


def _known(text: str, spans: list[tuple[int, int, int]], unknown_id: int | None) -> str:
    """The characters under known tokens, each once: several tokens may share the bytes of one character."""
    parts, done = list[str](), 0
    for id, start, end in spans:
        if id != unknown_id:
            parts.append(text[max(start, done) : end])
            done = max(done, end)
    return "".join(parts)


def _num_bytes_seen(text: str) -> int:
    return len("".join(text.split()).encode())
