"""The page of a prepared set: true, self-contained, and harmless whatever people have said."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.shards import ShardSet
from rejoinder.shards.manifest import MANIFEST
from rejoinder.shards.report import FIGURES, PAGE, figures, measure, render, write_report
from rejoinder.shards.report.drawing import histogram
from rejoinder.shards.report.markup import changed, percent, text
from rejoinder.shards.report.page import branches
from rejoinder.shards.report.row_keys import RowKeys
from rejoinder.text import Exchange, Tokenizer, offsets_of

SCRIPT = "\"'><script>alert(1)</script>"
LEFT_OUT = {"conversations nobody replied in": 7, "leaks between splits": 2, "replies that a filter refuses": 3}
CLEANING = {
    "num_turns": 50,
    "steps": {"mask_urls": {"count": 2, "examples": [["see http://x.org now", "see [url] now"]]}},
    "filters": {"profanity (reply)": {"count": 1, "examples": [["damn", ""]]}},
}


@pytest.fixture
def directory(prepared_set: Path, tmp_path: Path) -> Path:
    """A prepared set of the test's own, with all that a manifest can say."""
    made = Path(shutil.copytree(prepared_set, tmp_path / "set"))
    manifest = json.loads((made / MANIFEST).read_text())
    manifest |= {
        "num_conversations": 310,
        "left_out": LEFT_OUT,
        "left_in": {"duplicates within a split": 4},
        "examples": {"leaks between splits": ["made_up/1 (train, also in test): hello"]},
        "cleaning": CLEANING,
        "corpora": [{"corpus": 0, "reader": "chitchat", "file": "dataset.json", "sha256": "ab" * 32}],
        "settings": {
            "data": {"corpora": [{"name": "chitchat"}, {"name": "gone_since"}]},
            "text": {"max_context_tokens": 48, "max_reply_tokens": 20, "max_context_turns": 4,
                     "cleaning": [{"name": "mask_urls"}, {"name": "html"}], "filters": []},
        },
    }  # fmt: skip
    (made / MANIFEST).write_text(json.dumps(manifest))
    return made


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags = Counter[str]()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_its_figures_are_those_of_the_shards(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "ROWS_AT_ONCE", 50)  # shards are read in several pieces
    write_report(directory)
    found = json.loads((directory / FIGURES).read_text())
    train = ShardSet(directory, "train")
    rows, tokenizer = train.rows(np.arange(len(train))), train.tokenizer()
    said = Counter(tuple(reply.tolist()) for reply in rows.reply_ids)

    assert found["splits"]["train"]["num_exchanges"] == len(train)
    assert found["context_lengths"] == np.bincount([len(context) for context in rows.context_ids]).tolist()
    assert found["reply_lengths"] == np.bincount([len(reply) for reply in rows.reply_ids]).tolist()
    assert found["num_cut_replies"] == 0

    top = found["top_replies"]
    assert [count for _, count in top["replies"]] == [count for _, count in said.most_common(20)]
    texts = Counter[str]()
    for reply, count in said.items():
        texts[tokenizer.to_text(reply)] = max(count, texts[tokenizer.to_text(reply)])
    assert all(texts[reply] == count for reply, count in top["replies"])
    assert (top["num_different"], top["num_said_once"]) == (len(said), list(said.values()).count(1))
    num_tokens = sum(len(reply) * count for reply, count in said.most_common(20))
    assert top["share_of_exchanges"] == pytest.approx(
        sum(count for _, count in said.most_common(20)) / len(train), abs=1e-6
    )
    if len(said) <= 20 or said.most_common(21)[19][1] > said.most_common(21)[20][1]:  # else others may be counted
        assert top["share_of_reply_tokens"] == pytest.approx(num_tokens / train.reply_lengths.sum(), abs=1e-6)

    ids = Counter(id for reply in rows.reply_ids for id in reply.tolist() if id >= 16)
    assert found["vocabulary"]["num_ids_in_replies"] == len(ids)
    ranked = [count for _, count in ids.most_common()]
    assert [count for _, count, _ in found["token_ranks"]] == [ranked[rank - 1] for rank, *_ in found["token_ranks"]]
    assert found["token_ranks"][-1][0] == len(ids)


def test_conversations_are_counted_by_their_exchanges(directory: Path) -> None:
    found = measure(directory)
    for split in ("train", "valid", "test"):
        ids = [ShardSet(directory, split).conversation_id(row) for row in range(len(ShardSet(directory, split)))]
        assert found["splits"][split]["num_conversations"] == len(set(ids))
        if split == "train":
            assert found["conversation_lengths"] == np.bincount(list(Counter(ids).values())).tolist()


def test_the_samples_are_what_the_model_reads(directory: Path) -> None:
    train = ShardSet(directory, "train")
    for sample in measure(directory)["samples"]:
        rows = train.rows(np.array([sample["row"]]))
        for part, ids in (("context", rows.context_ids[0]), ("reply", rows.reply_ids[0])):
            shown = " ".join(
                said
                for turn in sample[part]
                for said in (turn["control"], "".join(turn["tokens"]))
                if said
            )  # fmt: skip
            assert shown == train.tokenizer().with_markers(ids.tolist())


def test_replies_that_do_not_end_are_counted_as_cut(
    tokenizer: Tokenizer, write_set: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [(Exchange([4, 300], reply, 3), "one") for reply in ([300, 2], [300, 301, 302], [300, 301], [301, 2])]
    found = measure(write_set(tmp_path / "cut", {"train": [rows], "valid": [rows], "test": [rows]}))
    assert found["num_cut_replies"] == 2
    assert found["samples"][0]["reply"][0]["control"] is None


rows_of_ids = st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=30)


@given(rows_of_ids, rows_of_ids)
def test_rows_have_the_same_key_when_they_are_the_same_and_only_then(first: Any, second: Any) -> None:
    keys = RowKeys(31)
    of_rows = [
        keys.of(np.array([id for row in rows for id in row], np.int32), offsets_of([len(row) for row in rows])).tolist()
        for rows in (first, second)
    ]
    pairs = set(zip(map(tuple, first + second), of_rows[0] + of_rows[1], strict=True))
    assert len(pairs) == len({row for row, _ in pairs}) == len({key for _, key in pairs})


def test_every_conversation_that_was_read_goes_somewhere(directory: Path) -> None:
    found = measure(directory)
    kept = {split: of["num_conversations"] for split, of in found["splits"].items()}
    going = {branch.name: branch.size for branch in branches(found)}
    assert {split: going[split] for split in kept} == kept
    assert (going["nobody replied in"], going["leaks between splits"]) == (7, 2)
    assert going["no reply left to learn"] == 310 - 2 - sum(kept.values())
    assert sum(going.values()) == 310 + 7


def test_it_is_one_page_that_loads_nothing_and_runs_nothing(directory: Path) -> None:
    write_report(directory)
    source = (directory / PAGE).read_text()
    page = Page(source)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {name for name, _ in page.attributes if name == "src" or name.startswith("on")}
    assert "@import" not in source
    assert "url(" not in source
    for name, value in page.attributes:
        if name == "href":
            assert re.match("#|https://", str(value))
    links = {str(value)[1:] for name, value in page.attributes if name == "href" and str(value).startswith("#")}
    assert links <= {value for name, value in page.attributes if name == "id"}
    for drawing in source.split("<svg")[1:]:
        drawn = ElementTree.fromstring("<svg" + drawing.split("</svg>")[0] + "</svg>")
        assert drawn.get("aria-label")


def test_it_shows_what_was_found(directory: Path) -> None:
    page = "".join(Page(render(measure(directory))).texts)
    for what in (
        "Chit-Chat Dataset", "MIT", "ab" * 32, "gone_since",  # corpora
        "see http://x.org[url] now", "Found nothing to do: html", "profanity (reply)",
        "made_up/1 (train, also in test): hello", "left in", "cut at 48", "<other>", "<end>",
    ):  # fmt: skip
        assert what in page, what


def test_what_people_said_cannot_run_in_it(
    tokenizer: Tokenizer, write_set: Callable[..., Path], tmp_path: Path
) -> None:
    ids = tokenizer.to_ids(SCRIPT)
    rows = [(Exchange([3, *ids], [*ids, 2], len(SCRIPT)), "<b>id</b>")]
    page = render(measure(write_set(tmp_path / "bad", {"train": [rows], "valid": [rows], "test": []})))
    assert "script" not in Page(page).tags
    assert SCRIPT in Page(page).texts
    assert "<b>id</b> · row 0" in Page(page).texts


def test_nothing_that_a_manifest_says_can_run_in_it(directory: Path) -> None:
    def poisoned(value: Any) -> Any:
        if isinstance(value, dict):
            known = {"train", "valid", "test"} | {word for word in value if re.fullmatch("[a-z0-9_]+", word)}
            return {key if key in known else key + SCRIPT: poisoned(one) for key, one in value.items()}
        if isinstance(value, list):
            return [poisoned(one) for one in value]
        return value + SCRIPT if isinstance(value, str) else value

    clean, bad = measure(directory), poisoned(measure(directory))
    for corpus, other in zip(bad["corpora"], clean["corpora"], strict=True):
        corpus["about"] = other["about"] and poisoned(other["about"])
    found = Page(render(bad))
    assert "alert(1)" in "".join(found.texts)
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if "<" in name or "'" in name or '"' in name]


def test_a_set_without_held_out_conversations_has_a_page(
    tokenizer: Tokenizer, write_set: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [(Exchange([4, 300], [300, 2], 3), "one")]
    found = measure(write_set(tmp_path / "small", {"train": [rows], "valid": [], "test": []}))
    assert found["top_replies"]["num_different"] == 1
    assert "1 replies to learn" in "".join(Page(render(found)).texts)


def test_half_an_emoji_in_an_example_is_no_reason_to_have_no_page(directory: Path) -> None:
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest["examples"] = {"leaks between splits": ["half of it: \ud83d"]}
    (directory / MANIFEST).write_text(json.dumps(manifest))
    write_report(directory)
    assert "half of it: ?" in (directory / PAGE).read_text(encoding="utf-8")


def test_a_long_tail_shares_the_last_bar() -> None:
    counts = [0] * 1_001
    counts[1], counts[2], counts[1_000] = 500, 499, 1
    names = re.findall("<title>([^<]*)</title></rect>", histogram(counts, "exchanges"))
    assert names == ["1 exchanges: 500 (50 %)", "2 or more exchanges: 500 (50 %)"]


SHARES = {0: "0 %", 1: "100 %", 0.123: "12 %", 0.02: "2.0 %", 2e-4: "0.020 %", 1e-9: "<0.01 %"}


@pytest.mark.parametrize(("share", "shown"), SHARES.items())
def test_a_share_that_is_not_nothing_is_not_shown_as_nothing(share: float, shown: str) -> None:
    assert percent(share) == shown


@given(st.text(alphabet="ab ", max_size=8), st.text(alphabet="ab ", min_size=1, max_size=8))
def test_a_change_shows_both_texts(before: str, after: str) -> None:
    inner = changed(before, after).removeprefix("<bdi class=said>").removesuffix("</bdi>")
    assert re.sub("<ins>.*?</ins>|</?del>", "", inner) == before
    assert re.sub("<del>.*?</del>|</?ins>", "", inner) == after


def test_characters_that_turn_the_writing_direction_are_not_let_through() -> None:
    assert text("a\u202eb\x00") == "a\ufffdb\u2400"
