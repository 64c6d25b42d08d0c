"""Every filter: its own examples hold, nonsense is refused before anything starts, and any text gets an answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rejoinder import catalog
from rejoinder.recipe import PluginSettings, TextSection
from rejoinder.text import FilterSettings, clean, refused_by
from rejoinder.text.filters import ROOM

# name: [(settings, what is refused, what is let through)]
EXAMPLES: dict[str, list[tuple[dict[str, Any], list[str], list[str]]]] = {
    "length": [
        ({"min_characters": 3, "max_characters": 5}, ["hi", "hello!"], ["hey", "hello"]),
        ({"min_words": 2, "max_words": 3}, ["hi", "I do not know"], ["hi there", "how are you?"]),
        ({"max_words": 1, "min_characters": 2}, ["a", "a b"], ["abc"]),
        ({"max_characters": 3}, ["你好吗？"], ["你好吗", "x"]),
    ],
    "letters": [
        ({}, [":)", "10/10 !!!", "-_-;", "👍🏽 🙂", "a 1 2 3"], ["ok!", "it is 19", "你好", "привет"]),
        ({}, ["…"], ["नमस्ते दुनिया", "สวัสดี"]),
        ({"min_share": 1}, ["hi!"], ["hi", "कैसे हो", "e\u0301te\u0301"]),
        ({"min_share": 0.01}, ["?!", "42"], ["a " + 60 * "!"]),
    ],
    "language": [
        (
            {"accepted": ["en"]},
            [
                "Ich habe heute leider keine Zeit dafür.",
                "Bonjour, je m'appelle Jean et toi ?",
                "Сегодня я очень устал и хочу спать",
                "今天我们一起去吃饭吧，好不好？",
            ],
            [
                "I have no time for that today, sorry.",
                "hi", "lol", "omg same", "nm u?", "ja", "你好", "haha yeah", "I dunno lol", "thx a lot m8", "123 456",
                "감사합니다", "γεια σου", "hahahahahahahahahaha", ":) :) :) :) :) :) :) :)", "https://example.org/a/b/c/d",
            ],
        ),
        (
            {"accepted": ["en", "de"]},
            ["Bonjour, je m'appelle Jean et toi ?"],
            ["Ich habe heute leider keine Zeit dafür.", "I have no time for that today, sorry."],
        ),
        (
            {"accepted": ["en"], "min_probability": 0.05, "min_bytes": 1},
            ["hej hej", "ja, genau"],
            ["how are you today?"],
        ),
    ],
    "profanity": [
        ({}, ["What the FUCK?", "that is bullshit.", "a big ball  sack", "a$$ it is"], ["Scunthorpe, classic"]),
        ({"allowed": ["bullshit"]}, ["shit"], ["that is Bullshit."]),
        (
            {"languages": [], "words": ["Blimey", "oh my", "n**n", "E\u0301cole", "草泥", "坏", "🖕"]},
            ["BLIMEY!", "(blimey)", "_blimey_", "oh  My god", "an n**n!", "éCOLE", "你草泥吗", "坏", "no🖕"],
            ["blimeys", "ooh my", "oh myself", "noon", "fuck", "ecole", "草", "破坏了"],
        ),
        ({"languages": ["german", "hindi"], "words": ["x"]}, ["So eine Scheiße", "SCHEISSE", "x!"], ["so schön", "xy"]),
    ],
}  # fmt: skip
NONSENSE: dict[str, list[dict[str, Any]]] = {
    "length": [{}, {"min_words": 0}, {"min_words": 3, "max_words": 2}, {"min_characters": 9, "max_characters": 1}],
    "letters": [{"min_share": 0}, {"min_share": 1.1}],
    "language": [{}, {"accepted": []}, {"accepted": ["english"]}, {"accepted": ["en"], "min_probability": 0}],
    "profanity": [{"languages": []}, {"languages": ["klingon"]}, {"words": [" "]}],
}
CASES = [
    pytest.param(name, *case, id=f"{name}-{number}")
    for name, cases in EXAMPLES.items()
    for number, case in enumerate(cases)
]


def settings_of(name: str, **settings: Any) -> PluginSettings:
    """As a recipe reads them."""
    (one,) = TextSection.model_validate({"filters": [{"name": name, **settings}]}).filters
    return one


def test_every_filter_has_examples() -> None:
    assert sorted(EXAMPLES) == sorted(NONSENSE) == catalog.names(ROOM)


@pytest.mark.parametrize(("name", "settings", "refused", "kept"), CASES)
def test_a_filter_refuses_what_it_says_and_nothing_else(
    name: str, settings: dict[str, Any], refused: list[str], kept: list[str]
) -> None:
    one = settings_of(name, **settings)
    assert [text for text in refused + kept if refused_by(clean(text), (one,))] == refused


@pytest.mark.parametrize(("name", "wrong"), [(name, wrong) for name in NONSENSE for wrong in NONSENSE[name]])
def test_nonsense_is_refused_before_anything_starts(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings_of(name, **wrong)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_filter_says_what_it_leaves_out_and_that_is_the_reply_unless_told(name: str) -> None:
    settings = EXAMPLES[name][0][0]
    by_default, told = settings_of(name, **settings), settings_of(name, **settings, what="conversation")
    assert isinstance(by_default, FilterSettings)
    assert isinstance(told, FilterSettings)
    assert (by_default.what, told.what) == ("reply", "conversation")
    with pytest.raises(ValidationError):
        settings_of(name, **settings, what="turn")


@pytest.mark.parametrize(("name", "settings", "refused", "kept"), CASES)
def test_any_text_gets_the_same_answer_twice(
    name: str, settings: dict[str, Any], refused: list[str], kept: list[str]
) -> None:
    one = settings_of(name, **settings)
    refuses = catalog.pick(ROOM, name).refuses

    @given(st.text(st.characters()) | st.text(st.sampled_from("ab.:)0 \u0301\ufe0f🙂你\u0e49ßİ$")))
    def holds(raw: str) -> None:
        text = clean(raw)
        answer = refuses(one, text)
        assert isinstance(answer, bool)
        assert refuses(settings_of(name, **settings), text) is answer

    holds()
    assert refused_by("", (one,)) is None


def test_what_leaves_out_the_conversation_goes_before_what_leaves_out_the_reply() -> None:
    long, other = settings_of("length", max_words=3), settings_of("letters")
    rude = settings_of("profanity", what="conversation")
    filters = (long, other, rude)
    assert refused_by("that is no bullshit", filters) is rude
    assert refused_by("that is a very long one", filters) is long
    assert refused_by("1 2 3 4", filters) is long
    assert refused_by(":)", filters) is other
    assert refused_by("fine", filters) is None
    assert refused_by("bullshit", ()) is None
