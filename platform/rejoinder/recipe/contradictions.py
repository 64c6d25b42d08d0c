"""Settings of decoding in, what may not stand side by side in them out; for a recipe and for a request alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

GREEDY_BELOW = 1e-5
"""Lower temperatures are 0: logits divided by them would leave the range of 32-bit numbers."""
OF_DRAWS = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}
"""What narrows a draw, and the value of each that leaves all tokens in."""


def contradictions_of_decoding(
    decoding: Any, place: str = "", defaults: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """One sentence for each contradiction of a section or a request; `place` stands before the settings' names.

    What narrows a draw has a default that does. Where beams leave it without a use, nobody has asked for it: settings
    at their `defaults` pass.
    """
    beams, groups, candidates = decoding.num_beams, decoding.num_beam_groups, decoding.num_candidates
    replies, draws = decoding.num_replies, decoding.temperature >= GREEDY_BELOW
    if beams > 1 and draws:
        yield (
            f"{place}num_beams = {beams} with {place}temperature = {decoding.temperature:g}: beams look for the most "
            f"probable reply, a temperature draws one; set {place}temperature=0, or {place}num_beams=1"
        )
    for name, neutral in OF_DRAWS.items() if beams > 1 else ():
        value = getattr(decoding, name)
        if value not in (neutral, (defaults or {}).get(name, neutral)):
            yield (
                f"{place}{name} = {value} with {place}num_beams = {beams}: beams look at all tokens, {name} narrows "
                f"what is drawn from; set {place}{name}={neutral:g}, or {place}num_beams=1 and a temperature"
            )
    if beams > 1 and candidates > 1:
        yield (
            f"{place}num_candidates = {candidates} with {place}num_beams = {beams}: the beams are the candidates; "
            f"leave {place}num_candidates at 1"
        )
    if beams % groups:
        yield f"{place}num_beam_groups = {groups} must divide {place}num_beams = {beams} into groups of one size"
    elif groups > 1 and not decoding.diversity_penalty:
        yield (
            f"{place}num_beam_groups = {groups} with {place}diversity_penalty = 0: the groups would all say the same; "
            f"try {place}diversity_penalty=0.5"
        )
    if decoding.diversity_penalty and groups == 1:
        yield (
            f"{place}diversity_penalty = {decoding.diversity_penalty:g} is between groups of beams, and there is one; "
            f"set {place}num_beam_groups, or {place}diversity_penalty=0"
        )
    if 1 < beams < replies:
        yield f"{place}num_replies = {replies} is more than {place}num_beams = {beams}; raise num_beams to {replies}"
    if 1 < candidates < replies:
        yield (
            f"{place}num_replies = {replies} is more than {place}num_candidates = {candidates}; raise num_candidates "
            f"to {replies}"
        )
    if beams == 1 and not draws and (replies > 1 or candidates > 1):
        name, number = ("num_candidates", candidates) if candidates > 1 else ("num_replies", replies)
        yield (
            f"{place}{name} = {number} with {place}temperature = 0: the most probable token at each place makes one "
            f"reply; set {place}num_beams={number}, or a {place}temperature to draw with"
        )
    for name in ("mmi_weight", "coverage_penalty"):
        if getattr(decoding, name) and max(beams, replies, candidates) == 1:
            yield (
                f"{place}{name} = {getattr(decoding, name):g} chooses among candidates, and there is one; set "
                f"{place}num_beams, or {place}num_candidates with a temperature"
            )


def contradictions_of_changes(
    changes: Mapping[str, Any], defaults: Mapping[str, Any], place: str = ""
) -> Iterator[str]:  # fmt: skip
    """Those among some settings of a section alone, which stay whatever the section has for the others."""
    fewest: list[str] | None = None
    for others in _others(changes, defaults):
        settings = SimpleNamespace(**{**defaults, **others, **changes})
        found = list(contradictions_of_decoding(settings, place, defaults))
        fewest = found if fewest is None or len(found) < len(fewest) else fewest
        if not found:
            return
    yield from fewest or ()


def _others(changes: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Values that suit whatever can be suited: draws or none, beams or none, in groups or not, candidates or one."""
    beams = changes.get("num_beams", max(2, changes.get("num_beam_groups", 1)))
    values = {
        "temperature": (defaults["temperature"], 0.0), "num_beams": (1, beams), "num_beam_groups": (1, beams),
        "diversity_penalty": (0.0, 0.5), "num_candidates": (1, 2), "num_replies": (1, 2),
    }  # fmt: skip
    for chosen in itertools.product(*values.values()):
        yield dict(zip(values, chosen, strict=True))
