"""The sections that are about replies: how they are chosen, what is measured of them, what a version must show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from rejoinder.recipe.base import PluginSettings, Section, plugin_of

if TYPE_CHECKING:
    BehaviourSettings: TypeAlias = PluginSettings
    MetricSettings: TypeAlias = PluginSettings
else:
    BehaviourSettings = plugin_of("rejoinder.evaluation.behaviour")
    MetricSettings = plugin_of("rejoinder.evaluation.metrics")

Positive = Annotated[int, Field(gt=0)]


class DecodingSection(Section):
    """How the next token is chosen from the model's probabilities."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0.7
    """Below 1 sharpens the distribution, above 1 flattens it; 0 always takes the most probable token (greedy)."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 40
    """Only the k most probable tokens may be chosen; 0 allows all (Fan et al. 2018)."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Only the smallest set of tokens whose probability reaches p may be chosen (Holtzman et al. 2019)."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Only tokens at least this times as probable as the most probable one may be chosen; 0 is off (Nguyen et al.
    2024)."""
    typical_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Only the smallest set of tokens whose probability reaches this may be chosen, those first whose surprise is
    nearest to the expected one; 1 is off (Meister et al. 2022)."""
    repetition_penalty: Annotated[float, Field(ge=1, le=10)] = 1.2
    """Divides the logits of tokens that the reply already has; 1 is off (Keskar et al. 2019)."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    """Is subtracted from the logits of tokens that the reply already has; 0 is off (OpenAI's definition)."""
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    """Is subtracted from a token's logit as many times as the reply has it; 0 is off (OpenAI's definition)."""
    no_repeat_ngram_tokens: Annotated[int, Field(ge=0, le=1_000)] = 0
    """No run of this many tokens stands twice in a reply (Paulus et al. 2018); 0 is off, 1 forbids to say any token
    twice."""
    no_copied_ngram_tokens: Annotated[int, Field(ge=0, le=1_000)] = 0
    """No run of this many tokens of the context is said again in the reply; 0 is off."""
    min_reply_tokens: Annotated[int, Field(ge=0)] = 1
    """The end token is not allowed before this many tokens."""
    bad_words: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=1_000)] = ()
    """Words that are not said, as the tokenizer spells them at a text's beginning and after a blank, also with a
    capital letter or in capitals."""
    prefix: str = ""
    """What each reply begins with; the model goes on from there."""
    stop: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=16)] = ()
    """A reply ends before the first of these texts."""
    num_beams: Annotated[int, Field(ge=1, le=64)] = 1
    """Beginnings of a reply that are pursued at a time (beam search); needs temperature 0, and what narrows a draw
    (top_k, top_p, min_p, typical_p) at its default or off. 1 is greedy."""
    num_beam_groups: Annotated[int, Field(ge=1, le=64)] = 1
    """Groups of beams that avoid each other's words (Vijayakumar et al. 2018); must divide num_beams."""
    diversity_penalty: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Is subtracted from a token's log-probability for each beam of an earlier group that has just said it."""
    length_penalty: Annotated[float, Field(ge=0, le=5)] = 0.6
    """Candidates are compared by their log-probability divided by ((5 + tokens) / 6) to this power (Wu et al. 2016): 0
    prefers short replies, more than 1 long ones."""
    coverage_penalty: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Weight of the log of how much attention each token of the context got, among finished candidates (Wu et al.
    2016); for models that can say where they look. 0 is off."""
    early_stopping: bool = True
    """Whether a beam search ends with as many finished replies as there are beams. If not, it goes on until none that
    is unfinished can become better."""
    num_candidates: Annotated[int, Field(ge=1, le=64)] = 1
    """Replies that are drawn, of which the best is given; needs a temperature. Beams are candidates by themselves."""
    mmi_weight: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Share of a candidate's log-probability when nothing was said before it that is subtracted from its own: replies
    that would fit anything lose (Li et al. 2016, MMI-antiLM). 0 is off, 0.5 is usual."""
    num_replies: Annotated[int, Field(ge=1, le=64)] = 1
    """Replies to be given, the best first."""
    num_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """Gives each token's log-probability, and those of this many most probable ones at its place; null gives none. They
    are the model's own, before any rule or temperature."""

    @property
    def num_rows(self) -> int:
        """Replies that are in the making at a time, each in a slot of the engine, until one is chosen."""
        return max(self.num_beams, self.num_candidates, self.num_replies)


class EvaluationSection(Section):
    """What is measured after training."""

    batch_tokens: Positive = 8_192
    """Tokens of one batch, padding included."""
    num_samples: Annotated[int, Field(ge=0)] = 5
    """Exchanges of the split that are shown with the model's own reply; as many of the validation split are recorded,
    said greedily, after each validation."""
    metrics: tuple[MetricSettings, ...] = Field(
        default=(
            "bleu", "dialogue_bleu", "chrf", "rouge", "word_f1", "distinct", "entropy", "repetition", "generic",
            "length", "safety",
        ),
        validate_default=True,
    )  # fmt: skip
    """What is measured of the model's replies, each `{name: METRIC, ...settings of that metric}`. The loss is always
    measured."""
    max_replies: Positive | None = 1_000
    """Exchanges that the model replies to, drawn by a hash that is the same for every model; null: all of the split.
    The loss is always of all."""
    num_slots: Positive = 32
    """Replies that one core or GPU writes at the same time."""
    num_resamples: Annotated[int, Field(ge=100, le=100_000)] = 1_000
    """How often conversations are drawn anew for the intervals of 95 in 100. 1,000 give their ends to about a tenth of
    their width."""
    num_timed_replies: Annotated[int, Field(ge=0)] = 20
    """Replies that are timed, one at a time and together; 0: speed is not measured."""
    behaviour: tuple[BehaviourSettings, ...] = Field(
        default=(
            "greetings", "goodbyes", "names", "questions", "typos", "letter_case", "punctuation", "contractions",
            "negation", "added_words",
        ),
        validate_default=True,
    )  # fmt: skip
    """Families of behavioural tests, in English, each `{name: FAMILY, ...settings of that family}`; [] tries none."""
    num_self_chats: Annotated[int, Field(ge=0)] = 8
    """Conversations of the model with itself, or of two that are compared, looked through for circles; 0: none."""
    num_attention_maps: Annotated[int, Field(ge=0)] = 3
    """Exchanges for which the report draws where the model looked; 0: none."""


class GateSection(Section):
    """What a version must show to take an alias from another one: `jobs/promote.py`."""

    split: Literal["valid", "test"] = "test"
    """The held-out part on which both are measured."""
    must_be_better: tuple[str, ...] = ("bits_per_byte",)
    """Figures in which the candidate must be better, with the whole interval on that side; []: not worse will do."""
    tolerated: dict[str, Annotated[float, Field(ge=0)] | None] = Field(
        default={
            "bits_per_byte": 0.0, "chrf": 1.0, "distinct_2": 0.05, "repetition": 0.02, "safety": 0.005, "latency": 0.5,
        },
        validate_default=True,
    )  # fmt: skip
    """By how much each figure may be worse, in its own unit (`latency`: as a share of the champion's). The candidate is
    refused where it is worse by more than that and the interval of the difference excludes 0. null: not looked at."""
    limits: dict[str, float | None] = Field(default={"bits_per_byte": 8.0, "safety": 0.9}, validate_default=True)
    """What each figure must reach, whoever the champion is: the lowest, or the highest where lower is better. They
    alone decide as long as there is no champion. 8 bits per byte is what a model needs that knows nothing."""
    slice_tolerated: dict[str, Annotated[float, Field(ge=0)] | None] = Field(
        default={"bits_per_byte": 0.05}, validate_default=True
    )
    """The same as `tolerated`, for each slice of the split, such as the exchanges of one corpus."""
    slice_limits: dict[str, float | None] = Field(default={}, validate_default=True)
    """The same as `limits`, for each slice."""
    min_slice_exchanges: Positive = 50
    """Smaller slices are shown and decide nothing."""
    latency_replies: Annotated[int, Field(ge=2)] = 24
    """Replies that each of the two writes, by turns, to be timed on this machine."""
    num_resamples: Annotated[int, Field(ge=100)] = 1_000
    """Resamples of the paired bootstrap."""
    seed: int = 0
    """Seed of the resamples, and of the exchanges that are timed."""
