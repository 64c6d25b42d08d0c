"""Every cleaning step: its own example holds, ordinary text is left alone, and twice is once."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder import catalog
from rejoinder.text import clean
from rejoinder.text.cleaning import ROOM

STEPS = catalog.names(ROOM)
PLAIN = [
    "Hello, how are you? I'm fine, thanks!",
    "In 1999 I paid 10000 for it, about 3.5 % of 280 000.",
    "I <3 you :) a < b > c … “quoted” – 你好 🙂 👩‍👩‍👧",
    "e.g. this one at 5pm",
]
EXAMPLES = {
    "control_characters": [("a\x00b\u200ec\u202ed", "abcd"), ("👩\u200d👧", "👩\u200d👧")],
    "html": [("<b>so</b> &amp; so", "so & so"), ("&lt;b&gt;", "<b>"), ("a <br/>b", "a b")],
    "mask_card_numbers": [("4111 1111 1111 1111!", "[card]!"), ("4111 1111 1111 1112", "4111 1111 1111 1112")],
    "mask_emails": [("write to ann.b+c@example.co.uk.", "write to [email]."), ("@ann", "@ann")],
    "mask_phone_numbers": [
        ("call +49 30 1234567", "call [phone]"),
        ("(030) 123 4567", "[phone]"),
        ("555-123-4567", "[phone]"),
        ("2001-09-11 and 12 345", "2001-09-11 and 12 345"),
    ],
    "mask_urls": [("see https://example.org/a?b, or www.x.io!", "see [url], or [url]!"), ("e.g. this", "e.g. this")],
    "mojibake": [("schÃ¶n â€œso", "schön “so"), ("schön", "schön")],
    "repeated_characters": [("sooooooo!!!!!!", "sooo!!!"), ("10000000", "10000000")],
    "unicode_nfkc": [("ﬁn Ａ e\u0301", "fin A é")],
}


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> ModuleType:
    """A step's module."""
    return catalog.pick(ROOM, request.param)


def test_every_step_has_examples() -> None:
    assert sorted(EXAMPLES) == STEPS


@pytest.mark.parametrize(("name", "raw", "cleaned"), [(name, *pair) for name in EXAMPLES for pair in EXAMPLES[name]])
def test_a_step_does_what_it_says(name: str, raw: str, cleaned: str) -> None:
    assert clean(raw, (catalog.pick(ROOM, name).Settings(),)) == cleaned


def test_ordinary_text_is_left_alone(step: ModuleType) -> None:
    texts = [text for text in PLAIN if not (step.__name__.endswith("nfkc") and "…" in text)]
    assert [clean(text, (step.Settings(),)) for text in texts] == [" ".join(text.split()) for text in texts]


def test_any_text_is_taken_and_remains_text(step: ModuleType) -> None:
    @given(st.text(st.characters()))
    def holds(raw: str) -> None:
        cleaned = clean(raw, (step.Settings(),))
        assert cleaned.encode("utf-8").decode("utf-8") == cleaned == " ".join(cleaned.split())

    holds()
