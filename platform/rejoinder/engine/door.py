"""A request in, all that a model and an engine cannot do about it out, before anything waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from rejoinder.decoding import Decoding
from rejoinder.models import Seq2Seq


def problems(
    model: Seq2Seq, num_slots: int, max_running_tokens: float, context_ids: Sequence[int], decoding: Decoding
) -> Iterator[str]:
    """One sentence each."""
    longest, longest_reply, num_rows = model.max_context_tokens, model.max_reply_tokens, decoding.num_rows
    if not 0 < len(context_ids) <= longest:
        yield f"a context of {len(context_ids)} tokens; this model reads 1 to {longest}"
    elif len(context_ids) * num_rows > max_running_tokens:
        yield (
            f"a context of {len(context_ids)} tokens for {num_rows} rows; this engine has room for "
            f"{max_running_tokens} at a time"
        )
    if not 0 < decoding.max_reply_tokens <= longest_reply:
        yield f"max_reply_tokens = {decoding.max_reply_tokens}; this model writes 1 to {longest_reply}"
    if num_rows > num_slots:
        yield (
            f"{num_rows} replies at a time for one request (num_beams, num_candidates or num_replies); this engine "
            f"has {num_slots} slots"
        )
    ids = [*decoding.prefix_ids, *chain(*decoding.bad_ids), *chain(*decoding.stop_ids)]
    if ids and max(ids) >= model.num_ids:
        yield f"token id {max(ids)} of a prefix, bad or stop ids; this model has {model.num_ids}"
    if decoding.coverage_penalty and not model.tells_where_it_looks:
        yield (
            f"coverage_penalty = {decoding.coverage_penalty:g}: this model does not tell where it looks; set it to 0"
        )
    yield from decoding.contradictions()
