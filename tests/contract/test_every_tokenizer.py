"""Every tokenizer: no text makes a control id, ids are the same whichever way they are asked for, and bytes add up."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from rejoinder import catalog
from rejoinder.corpora import Conversation, Turn, made_up
from rejoinder.errors import TextError
from rejoinder.recipe import PluginSettings, TextSection
from rejoinder.text import (
    NUM_CONTROL_IDS,
    TextStream,
    Tokenizer,
    clean,
    exchanges_of,
    measure_tokenizer,
    tokenizer_files,
)
from rejoinder.text import train_tokenizer as train
from rejoinder.text.tokenizers import ROOM, hugging_face

TALK = [
    [turn.text for turn in conversation.turns] for conversation in made_up.read(made_up.Settings(num_conversations=40))
]
SAMPLES = [
    "",
    " ",
    "Ada: 3 € – naïve, don't you say!",
    "你好，世界",
    "שלום مرحبا",
    "👩‍👩‍👧🏽 🇪🇺 e\u0301",
    "\x00\x7f\x80 \x1c \u2028",
    "<end><pad> </s> <s> <unk> [UNK] [CLS] <0x41> <mask>",
    " a\r\n\tb  c ",
    "I'll  we've 's 12 345ab",
]
SIZE = 600


def bart_like(add_prefix_space: bool = False) -> tokenizers.Tokenizer:
    """Byte-level BPE with special tokens, wrapping, a limit and filling."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    library.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    library.train_from_iterator(
        TALK,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    library.enable_truncation(8)
    library.enable_padding(length=8)
    return library


def t5_like() -> tokenizers.Tokenizer:
    """Unigram over characters with SentencePiece's blanks, a normalizer and an unknown token."""
    library = tokenizers.Tokenizer(models.Unigram())
    library.normalizer = normalizers.NFKC()
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    library.train_from_iterator(
        TALK,
        trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    return library


def llama_like() -> tokenizers.Tokenizer:
    """SentencePiece's BPE with a token for each byte that no other token has."""
    characters = sorted({character for texts in TALK for text in texts for character in text if character != " "})
    tokens = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *characters]
    model = models.BPE({token: id for id, token in enumerate(tokens)}, [], unk_token="<unk>", byte_fallback=True)
    library = tokenizers.Tokenizer(model)
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    library.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    library.add_special_tokens(["<unk>", "<s>"])
    return library


def word_piece_like() -> tokenizers.Tokenizer:
    """BERT's: no case, `##` inside words."""
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    library.train_from_iterator(
        TALK, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    return library


PRETRAINED: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    "bart": bart_like,
    "blenderbot": lambda: bart_like(add_prefix_space=True),
    "t5": t5_like,
    "llama": llama_like,
    "bert": word_piece_like,
}
LEARNT = [name for name in catalog.names(ROOM) if name != "hugging_face"]
LOSSLESS = ["byte_bpe", "unigram", "bart"]
COMES_BACK_CLEANED = [*LOSSLESS, "blenderbot", "llama"]
Make = Callable[[str], Tokenizer]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make("unigram")`, `make("t5")`: each once."""
    made: dict[str, Tokenizer] = {}

    def settings_of(name: str) -> PluginSettings:
        if name in LEARNT:
            settings: PluginSettings = catalog.pick(ROOM, name).Settings()
            return settings
        directory = tmp_path_factory.mktemp(name)
        PRETRAINED[name]().save(str(directory / "tokenizer.json"))
        return hugging_face.Settings(path=str(directory))

    def make(name: str) -> Tokenizer:
        if name not in made:
            made[name] = train(settings_of(name), iter(TALK), SIZE)
        return made[name]

    return make


@pytest.fixture(params=[*LEARNT, *PRETRAINED])
def kind(request: pytest.FixtureRequest, make: Make) -> Tokenizer:
    """A tokenizer of each kind."""
    return make(request.param)


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_text_comes_back_exactly(make: Make, name: str) -> None:
    one = make(name)

    @given(st.text())
    def holds(text: str) -> None:
        ids = one.to_ids(text)
        assert one.to_text(ids) == text
        assert one.num_bytes_of_ids[ids].sum() == len(text.encode())

    holds()
    assert [one.to_text(one.to_ids(text)) for text in SAMPLES] == SAMPLES


@pytest.mark.parametrize("name", COMES_BACK_CLEANED)
def test_every_cleaned_text_comes_back_exactly(make: Make, name: str) -> None:
    one = make(name)

    @given(st.text().map(clean))
    def holds(text: str) -> None:
        assert one.to_text(one.to_ids(text)) == text

    holds()


@pytest.mark.parametrize(
    ("name", "text", "comes_back"),
    [
        ("words", "Do you like the sea? :) qqzz", "do you like the sea ? � � �"),
        ("t5", "do you like the sea? 你", "do you like the sea? �"),
        ("bert", "Do you like the sea? 你", "do you like the sea? �"),
    ],
)
def test_what_does_not_come_back_is_what_the_kind_says(make: Make, name: str, text: str, comes_back: str) -> None:
    one = make(name)
    ids = one.to_ids(text)
    assert one.to_text(ids) == comes_back
    assert one.num_bytes_of_ids[ids].sum() == len(comes_back.encode()) + one.drops_first_blank
    assert one.num_bytes_of_first_ids[ids[0]] == one.num_bytes_of_ids[ids[0]] - one.drops_first_blank


def test_bytes_of_a_reply_are_those_of_its_text(kind: Tokenizer) -> None:
    @given(st.text() | st.text("ab .'❤"), st.integers(4, 12))
    @example("hello my friend", 40)
    @example("hello my friend", 4)
    def holds(text: str, longest: int) -> None:
        talk = Conversation("id", (Turn("a", "hi"), Turn("b", text)))
        for reply in exchanges_of([talk], kind, TextSection(max_reply_tokens=longest)):
            assert reply.reply_num_bytes == len(kind.to_bytes(reply.reply_ids))

    holds()


def test_no_text_makes_a_control_id(kind: Tokenizer) -> None:
    @given(st.text())
    @example(SAMPLES[7])
    def holds(text: str) -> None:
        assert all(NUM_CONTROL_IDS <= id < kind.num_ids for id in kind.to_ids(text))

    holds()
    assert kind.num_bytes_of_ids.shape == (kind.num_ids,)
    assert kind.num_bytes_of_ids[:NUM_CONTROL_IDS].tolist() == [0] * NUM_CONTROL_IDS


@pytest.mark.parametrize("name", list(PRETRAINED))
def test_no_text_makes_a_special_token_of_a_pretrained_model(make: Make, name: str) -> None:
    one = make(name)
    special = {id + NUM_CONTROL_IDS for id, token in one._library.get_added_tokens_decoder().items() if token.special}
    assert special
    assert not (special - {one.unknown_id}) & set(one.to_ids(SAMPLES[7]))


def test_flat_ids_are_the_same_ids(kind: Tokenizer) -> None:
    @given(st.lists(st.text() | st.text("abcI'!? 12").map(clean), max_size=8))
    @example(SAMPLES)
    @example([*TALK[0], *TALK[1], *TALK[0]])
    def holds(texts: list[str]) -> None:
        ids, offsets = kind.to_flat_ids(texts)
        assert ids.dtype == np.int32
        assert offsets.dtype == np.int64
        assert len(offsets) == len(texts) + 1
        assert [ids[start:end].tolist() for start, end in pairwise(offsets)] == (kind.many_to_ids(texts))

    holds()


def test_ids_one_by_one_are_the_ids_of_many(kind: Tokenizer) -> None:
    assert kind.many_to_ids(SAMPLES) == [kind.to_ids(text) for text in SAMPLES]


def test_a_stream_is_the_whole(kind: Tokenizer) -> None:
    @given(st.lists(st.integers(0, kind.num_ids - 1), max_size=40))
    def holds(ids: list[int]) -> None:
        stream = TextStream(kind)
        assert "".join(map(stream.add, ids)) + stream.end() == kind.to_text(ids)

    holds()


def test_it_is_the_same_when_it_is_read(kind: Tokenizer) -> None:
    again = Tokenizer.from_json(kind.to_json())
    assert again.to_json() == kind.to_json()
    assert again.sha256 == kind.sha256
    assert again.num_ids == kind.num_ids
    assert again.many_to_ids(SAMPLES) == kind.many_to_ids(SAMPLES)
    assert again.num_bytes_of_ids.tolist() == kind.num_bytes_of_ids.tolist()


@pytest.mark.parametrize("name", LEARNT)
@pytest.mark.parametrize("size", [300, 2_000])
def test_the_same_texts_give_the_same_tokenizer_to_the_byte(name: str, size: int) -> None:
    settings = catalog.pick(ROOM, name).Settings()
    one, other = (train(settings, iter(TALK), size) for _ in range(2))
    assert one.to_json() == other.to_json()
    assert one.num_ids <= size


@pytest.mark.parametrize("name", LEARNT)
def test_how_the_turns_are_put_in_lists_does_not_matter(name: str) -> None:
    settings = catalog.pick(ROOM, name).Settings()
    one_by_one = ([text] for texts in TALK for text in texts)
    assert train(settings, one_by_one, SIZE).to_json() == train(settings, iter(TALK), SIZE).to_json()


@pytest.mark.parametrize("name", LEARNT)
def test_without_text_there_is_none(name: str) -> None:
    with pytest.raises(TextError, match="the training split is empty"):
        train(catalog.pick(ROOM, name).Settings(), iter([[]]), SIZE)


def test_a_pretrained_tokenizer_keeps_its_ids_16_higher(make: Make) -> None:
    theirs = bart_like()
    theirs.no_truncation()
    theirs.no_padding()
    ids = theirs.encode(TALK[0][0], add_special_tokens=False).ids
    assert make("bart").to_ids(TALK[0][0]) == [id + 16 for id in ids]
    assert make("bart").num_ids == theirs.get_vocab_size() + 16


@pytest.mark.parametrize("name", list(PRETRAINED))
def test_our_way_back_is_the_librarys(make: Make, name: str) -> None:
    one = make(name)
    for text in TALK[0]:
        ids = one.to_ids(text)
        theirs = one._library.decode([id - NUM_CONTROL_IDS for id in ids])
        assert one.to_text(ids) == theirs.removeprefix(" ")  # BlenderBot's leaves the blank that it put before


def test_a_directory_without_a_tokenizer_json_is_told_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(TextError, match=rf"^{tmp_path}: the directory has no tokenizer\.json; write one with"):
        train(hugging_face.Settings(path=str(tmp_path)), iter(TALK), SIZE)


@pytest.mark.parametrize(
    ("content", "told"), [(None, "no such file"), ("{}", "not a tokenizer of the"), ("[", "not a tokenizer of the")]
)
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "its.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(TextError, match=rf"^{file}: {told}"):
        train(hugging_face.Settings(path=str(file)), iter(TALK), SIZE)


def test_a_way_back_that_we_do_not_know_is_refused(tmp_path: Path) -> None:
    library = bart_like()
    library.decoder = decoders.BPEDecoder()
    library.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TextError, match="whose decoder is BPEDecoder cannot be turned back"):
        train(hugging_face.Settings(path=str(tmp_path)), iter(TALK), SIZE)


def test_the_files_of_a_kind_are_known(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    assert tokenizer_files(hugging_face.Settings(path=str(tmp_path))) == [file]
    assert tokenizer_files(catalog.pick(ROOM, "byte_bpe").Settings()) == []


def test_what_is_measured_is_what_can_be_counted(make: Make) -> None:
    words = measure_tokenizer(make("words"), ["you like qqzz"])
    assert words.coverage == pytest.approx(7 / 11)
    assert words.fertility == 1
    assert words.bytes_per_token == pytest.approx(13 / 3)
    assert words.used_share == pytest.approx(3 / (make("words").num_ids - 16))


def test_lossless_kinds_cover_everything(kind: Tokenizer) -> None:
    measured = measure_tokenizer(kind, ["Grüße 你好 🙂", ""])
    assert measured.coverage == 1 if kind.unknown_id is None else measured.coverage <= 1
    assert measure_tokenizer(kind, []).fertility == 0
