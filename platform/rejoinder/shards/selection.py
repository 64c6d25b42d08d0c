"""The corpora's conversations in, those to learn from and to measure on out: split, without leaks and duplicates.

Conversations are compared by what is said, cleaned, without regard to case and punctuation. What is held out goes
before what is trained on: a training conversation that also stands in another split is what goes.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rejoinder.corpora import Conversation, ReadReport, read_corpora
from rejoinder.errors import CorpusError
from rejoinder.recipe import Recipe
from rejoinder.text import clean, split_of

NUM_EXAMPLES = 5
_NOT_SAID = re.compile(r"[\W_]+")


@dataclass
class SelectionReport:
    """What was left out, and examples; filled as the stream is consumed."""

    num_leaks: int = 0
    num_duplicates: int = 0
    num_capped_replies: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, what: str, conversation: Conversation, other: str) -> None:
        """Remembers the first few of each kind."""
        kept = self.examples.setdefault(what, [])
        if len(kept) < NUM_EXAMPLES:
            kept.append(f"{conversation.id} ({other}): {conversation.turns[0].text[:80]}")


@dataclass(frozen=True)
class Selected:
    """A conversation in its split; replies whose turn numbers stand in `skipped` are not learnt from."""

    split: str
    conversation: Conversation
    skipped: frozenset[int] = frozenset()


def select(recipe: Recipe, read: ReadReport, report: SelectionReport) -> Iterator[Selected]:
    """Every conversation that is kept, in corpus order. Reads the corpora twice.

    Raises CorpusError at the first leak when `data.on_leak` is `refuse`.
    """
    data = recipe.data
    held_out = _held_out(recipe)
    seen: dict[str, set[bytes]] = {"train": set(), "valid": set(), "test": set()}
    num_same: Counter[bytes] = Counter()
    for conversation in read_corpora(data.corpora, data.max_broken_lines, read):
        split, said = split_for(conversation, recipe), fingerprint_of(conversation, recipe)
        leaked_from = held_out.get(said, split) if split == "train" or held_out.get(said) == "test" else split
        if leaked_from != split:
            report.num_leaks += 1
            report.note("leak", conversation, f"{split}, also in {leaked_from}")
            if data.on_leak == "refuse":
                raise CorpusError(
                    f"conversation {conversation.id} of the {split} split stands in the {leaked_from} split too, and "
                    "data.on_leak = refuse; set it to drop, or take the conversation out of the corpus"
                )
            if data.on_leak == "drop":
                continue
        if said in seen[split] and data.on_duplicate == "drop":
            report.num_duplicates += 1
            report.note("duplicate", conversation, split)
            continue
        seen[split].add(said)
        skipped = _capped(conversation, recipe, num_same) if split == "train" else frozenset[int]()
        report.num_capped_replies += len(skipped)
        yield Selected(split, conversation, skipped)


def split_for(conversation: Conversation, recipe: Recipe) -> str:
    """The corpus's own split where it has one, else by the stable hash of the conversation's id."""
    data = recipe.data
    return conversation.split or split_of(conversation.id, data.split_seed, data.valid_fraction, data.test_fraction)


def fingerprint_of(conversation: Conversation, recipe: Recipe) -> bytes:
    """16 bytes that two conversations share when the same words are said in the same turns."""
    steps = recipe.text.cleaning
    said = "\n".join(_words(clean(turn.text, steps)) for turn in conversation.turns)
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def _held_out(recipe: Recipe) -> dict[bytes, str]:
    """What is said in the validation and test splits; in both: test."""
    data, found = recipe.data, dict[bytes, str]()
    for conversation in read_corpora(data.corpora, data.max_broken_lines, ReadReport()):
        split = split_for(conversation, recipe)
        if split != "train":
            said = fingerprint_of(conversation, recipe)
            found[said] = "test" if "test" in (split, found.get(said)) else split
    return found


def _capped(conversation: Conversation, recipe: Recipe, num_same: Counter[bytes]) -> frozenset[int]:
    """Turns whose reply was learnt `data.max_same_reply` times already."""
    most = recipe.data.max_same_reply
    if most is None:
        return frozenset()
    skipped = set()
    for number, turn in enumerate(conversation.turns[1:], start=1):
        said = hashlib.blake2b(_words(clean(turn.text, recipe.text.cleaning)).encode(), digest_size=8).digest()
        num_same[said] += 1
        if num_same[said] > most:
            skipped.add(number)
    return frozenset(skipped)


def _words(text: str) -> str:
    """Letters and digits, lower-cased; of a text without any, such as an emoji, the text itself."""
    return _NOT_SAID.sub(" ", text.casefold()).strip() or text
