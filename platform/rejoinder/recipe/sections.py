"""The sections of the recipe: each field with its default and, under it, its meaning, unit and consequence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from rejoinder.recipe.base import AbsolutePath, PluginSettings, Section, is_own_address, plugin_of
from rejoinder.recipe.reply_sections import GateSection
from rejoinder.recipe.serving_sections import CanarySection, RetreatSection, ShadowSection, SomeDecoding, VersionName

if TYPE_CHECKING:
    CleaningSettings: TypeAlias = PluginSettings
    CorpusSettings: TypeAlias = PluginSettings
    FilterSettings: TypeAlias = PluginSettings
    OptimizerSettings: TypeAlias = PluginSettings
    ScheduleSettings: TypeAlias = PluginSettings
    TokenizerSettings: TypeAlias = PluginSettings
else:
    CleaningSettings = plugin_of("rejoinder.text.cleaning")
    CorpusSettings = plugin_of("rejoinder.corpora")
    FilterSettings = plugin_of("rejoinder.text.filters")
    OptimizerSettings = plugin_of("rejoinder.optimizers")
    ScheduleSettings = plugin_of("rejoinder.schedules")
    TokenizerSettings = plugin_of("rejoinder.text.tokenizers")

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0)]


class StorageSection(Section):
    """Where everything that is made is kept."""

    uri: AbsolutePath = Field(
        default_factory=lambda: os.environ.get("REJOINDER_HOME", "~/.rejoinder"), validate_default=True
    )
    """Directory for shards, runs and the model store; or an address such as `s3://bucket/prefix` or `gs://...`, with
    credentials from the environment (docs/storage.md). On a cluster of several nodes a directory must be one that every
    node sees under the same path. Default: the environment's REJOINDER_HOME, else ~/.rejoinder."""
    retry_s: Annotated[float, Field(ge=0)] = 60
    """Seconds for which an address that does not answer is asked again."""


class ClusterSection(Section):
    """How to reach Ray."""

    address: str = Field(default_factory=lambda: os.environ.get("RAY_ADDRESS", "local"))
    """`local` starts a Ray of our own and stops it at the end; `auto` or an address joins a running cluster.
    Default: the environment's RAY_ADDRESS (`ray job submit` sets it), else `local`."""
    num_cpus: Annotated[int, Field(gt=0)] | None = None
    """CPUs that a `local` Ray offers; null counts the machine's cores. More than there are is allowed."""
    wait_for_nodes_s: Annotated[float, Field(ge=0)] = 0
    """Seconds to wait for an autoscaler to bring the nodes that the recipe asks for. 0 refuses at once when the
    cluster has too little."""


class DataSection(Section):
    """Which conversations to learn from, and how they are split."""

    corpora: Annotated[tuple[CorpusSettings, ...], Field(min_length=1)]
    """The corpora to read, each `{name: READER, ...settings of that reader}`."""
    split_seed: int = 0
    """Changes which conversations are held out. The same seed keeps every conversation where it is when a corpus
    is added."""
    valid_fraction: Fraction = 0.05
    """Share of the conversations held out to watch training and choose the best checkpoint."""
    test_fraction: Fraction = 0.05
    """Share of the conversations held out for the final evaluation; never seen in training."""
    on_leak: Literal["drop", "warn", "refuse"] = "drop"
    """What becomes of a training conversation that also stands, word for word, in the validation or test split: it is
    left out of training, or left in and said, or the set is not made."""
    on_duplicate: Literal["drop", "keep"] = "drop"
    """What becomes of a conversation that stands in its own split already, word for word."""
    near_duplicate_similarity: Annotated[float, Field(ge=0.3, le=1)] | None = None
    """How alike two conversations are to count as leak or duplicate though some words differ: the overlap of their
    pieces of 5 bytes (Jaccard, estimated by MinHash). 0.8 finds retellings with a few changed words. null: only what
    stands word for word."""
    on_duplicate_exchange: Literal["keep", "drop"] = "keep"
    """What becomes of a turn and its reply that stand in their split already, or in training while also held out,
    as "hi", "hello" does: learnt each time, or left to be context. With `near_duplicate_similarity`, alike ones too."""
    max_same_reply: Annotated[int, Field(gt=0)] | None = None
    """How often one identical reply may be learnt from: "i don't know" a thousand times teaches to say nothing else.
    null: as often as it stands."""
    max_broken_lines: Annotated[int, Field(ge=0)] = 100
    """Broken records of a corpus that are skipped and counted; one more refuses the corpus."""
    exchanges_per_shard: Positive = 16_384
    """Exchanges in one Arrow file. Smaller shards spread over more Ray tasks; larger ones mean fewer files."""


class TextSection(Section):
    """How turns become token ids."""

    cleaning: tuple[CleaningSettings, ...] = ()
    """Steps that every turn goes through, in this order, in training and in serving alike. White space is always put
    right, after them."""
    filters: tuple[FilterSettings, ...] = ()
    """Filters that every cleaned turn is put to when shards are prepared. One that refuses it leaves out the reply or
    the whole conversation, as its `what` says. Nothing is filtered in serving."""
    control_tokens: tuple[Literal["system", "speaker", "persona", "topic", "rating", "emotion"], ...] = ()
    """What stands before each context, where the corpus has it: who replies, the persona of that speaker, the topic
    and rating of the conversation, the emotion of the reply, the system message. A caller can ask for the same. At most
    half of the context's tokens."""
    tokenizer: TokenizerSettings = Field(default={"name": "byte_bpe"}, validate_default=True)
    """How text becomes token ids: learnt from the training split, or a pretrained model's own."""
    vocabulary_size: Annotated[int, Field(ge=300, le=1_000_000)] = 4_096
    """Token ids in all: 16 control tokens, 256 bytes for the kinds that have them, and what the tokenizer learns from
    the training split. A larger one makes shorter sequences and a more expensive output layer. hugging_face has its
    own."""
    max_tokenizer_conversations: Positive = 100_000
    """Conversations of the training split that the tokenizer is trained on: the first ones in corpus order."""
    max_context_turns: Positive = 4
    """Previous turns that a reply may depend on; older ones are cut."""
    max_context_tokens: Annotated[int, Field(ge=8)] = 64
    """Tokens of context, speaker markers included; the oldest turns are cut first."""
    max_reply_tokens: Annotated[int, Field(ge=4)] = 40
    """Tokens of a reply, end token included; a longer one is learnt from up to here."""


class ScheduledSamplingSection(Section):
    """Replies continued from the model's own words instead of the right ones (Bengio et al. 2015), more and more."""

    final_share: Fraction = 0.0
    """Share of a reply's input ids that are the model's own at the end of training; 0 is teacher forcing throughout.
    Each step then needs a second forward pass."""
    start: Fraction = 0.25
    """Share of the training that is teacher forcing alone."""
    curve: Literal["linear", "exponential", "inverse_sigmoid"] = "linear"
    """How the share rises from 0."""


class TrainingSection(Section):
    """How the model is trained."""

    num_steps: Positive = 1_000
    """Optimizer updates in all; each reads one global batch."""
    batch_tokens: Positive = 8_192
    """Tokens of one global batch (contexts and replies, padding included), shared by all workers. It does not
    depend on the number of workers: 1, 2 or 4 of them optimise the same thing."""
    pieces_per_batch: Annotated[int, Field(gt=0, le=1024)] = 2
    """Pieces of different lengths that a global batch consists of; in a piece all replies are about as long, so that
    little is padded. With one, a step learns from short or from long replies alone, and training is slow and a
    matter of luck (docs/results.md). Free where the workers, or their microbatches, are as many."""
    max_microbatch_tokens: Positive | None = None
    """Tokens that one worker may hold in memory at a time; a larger share of the global batch is done in several
    forward and backward passes. null: in one."""
    prefetch_batches: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Batches that a thread reads ahead of the step; 0 reads in the step's own thread. null: 2 on a GPU; 0 on a
    CPU, where the thread would share the cores with the training. It changes nothing in what is learnt."""
    learning_rate: Annotated[float, Field(gt=0, lt=10)] = 1e-3
    """Peak rate, reached after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    """Updates over which the rate rises linearly from 0 to its peak."""
    schedule: ScheduleSettings = Field(default={"name": "cosine"}, validate_default=True)
    """How the rate falls after the warm-up."""
    optimizer: OptimizerSettings = Field(default={"name": "adamw"}, validate_default=True)
    """How gradients become updates."""
    max_gradient_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are scaled down to this global L2 norm, so that one batch cannot throw the weights away. null: never
    cut."""
    max_gradient_value: Annotated[float, Field(gt=0)] | None = None
    """Each number of a gradient is cut off at this size, before the norm is looked at. null: never."""
    max_skipped_steps: Annotated[int, Field(ge=0)] = 10
    """Steps in a row that may be left out because their loss or gradient is no number; one more ends the training."""
    label_smoothing: Fraction = 0.0
    """Probability mass taken from the right token and spread over all: less certain, often better replies."""
    unlikelihood: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Weight of a loss on saying again what a reply has said already (Welleck et al. 2020); 0 is off, 1 is usual."""
    scheduled_sampling: ScheduledSamplingSection = Field(default_factory=ScheduledSamplingSection)
    """How often a reply is continued from the model's own words while it learns."""
    loss_chunk_tokens: Positive | None = None
    """Reply tokens whose logits stand in memory at a time. null: as many as have 2**25 logits together."""
    average_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A moving average of the weights is validated, kept and served instead of the last ones; this share of it stays
    at each step, 0.999 is usual. null: the last weights."""
    patience: Positive | None = None
    """Training ends after so many validations in a row that were no better than the best. null: at the last step."""
    keep_best: Positive = 1
    """Checkpoints to keep by validation loss, besides the last two."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Each worker has all weights (ddp), or a share of weights, gradients and optimizer state (fsdp), for models that
    do not fit on one device."""
    compile: bool = False
    """torch.compile: minutes at the start, then faster steps on GPUs."""
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    """Arithmetic of the forward pass. bf16 (autocast; weights stay fp32) halves memory and doubles the speed of GPUs
    and CPUs that have it, and is slow on those that have not; auto takes it where the hardware has it. fp16 is for GPUs
    that lack bf16; the loss is scaled so that small gradients are not lost."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the initial weights, the order of the data, and dropout."""
    log_every_steps: Positive = 25
    """Updates between two lines of progress and two points in the tracker's curves."""
    validate_every_steps: Positive = 250
    """Updates between two validations. The last step is always validated."""
    checkpoint_every_steps: Positive = 250
    """Updates between two checkpoints: what an interruption can cost. Every validation makes one too."""
    max_restarts: Annotated[int, Field(ge=0)] = 3
    """How often training starts again from the last checkpoint after a worker or node was lost. A node that was
    announced to go away does not count."""
    log_rows: bool = False
    """Writes which exchanges each worker learnt from in each step to `rows` beside the checkpoints, for an audit."""


def _workers(value: object) -> int | tuple[int, int]:
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not all(type(number) is int and number > 0 for number in numbers) or len(numbers) > 2 or not numbers:
        raise ValueError(f"{value!r} must be a number of workers, or the fewest and the most, such as [1, 4]")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


class ScalingSection(Section):
    """What training runs on."""

    num_workers: Annotated[int | tuple[int, int], BeforeValidator(_workers)] = 2
    """DDP workers, a process each; or the fewest and the most, `[1, 4]`: as many as the cluster has room for, fewer
    when a node is lost, more when one comes."""
    cpus_per_worker: Positive = 1
    """CPU cores, and threads, of one worker."""
    gpus_per_worker: Literal[0, 1] = 0
    """1 trains on GPUs with NCCL, one for each worker; 0 on CPUs with gloo."""

    @property
    def min_workers(self) -> int:
        """The fewest workers to train with."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def max_workers(self) -> int:
        """The most."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]


class RegistrySection(Section):
    """Where models and runs are recorded."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = "chat"
    """Name of the registered model."""
    experiment: Annotated[str, Field(min_length=1)] = "rejoinder"
    """Name of the MLflow experiment that holds the training runs."""
    tracking_uri: str | None = Field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI"))
    """The MLflow server or store. Default: the environment's MLFLOW_TRACKING_URI, else an SQLite file under
    storage.uri."""
    gate: GateSection = Field(default_factory=GateSection)


class ServingSection(Section):
    """The chat endpoint."""

    application: Annotated[str, Field(min_length=1)] = "rejoinder"
    """Name of the Ray Serve application."""
    alias: Annotated[str, Field(min_length=1)] = "champion"
    """Alias of the registered model that is served."""
    follow_every_s: Annotated[float, Field(gt=0)] | None = 5.0
    """Seconds between two looks at where the aliases point: a new champion is loaded beside the old one and takes over
    when it answers. null serves what they pointed at when the replica started."""
    also_loaded: tuple[VersionName, ...] = ()
    """More aliases or versions that a request may ask for, as `chat@ALIAS` or `chat@3`."""
    max_loaded: Positive = 3
    """Versions that one replica holds: the champion, the one before it for the way back, those below, and of
    `also_loaded` the last used; one more while it is being loaded. Each needs memory of its own."""
    max_loaded_mb: Positive | None = None
    """Megabytes of weights and slots of all versions together; null is any."""
    readiness_prompts: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = (
        "Hello!", "How are you?", "What do you like to do?",
    )  # fmt: skip
    """What a version is asked before it answers anybody: each reply must have finite log-probabilities and be there in
    time, and one at least must have words."""
    readiness_timeout_s: Annotated[float, Field(gt=0)] = 30
    """Seconds that one of those replies may take."""
    canary: CanarySection = Field(default_factory=CanarySection)
    ab_test: dict[VersionName, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Aliases or versions side by side with their weights, serving.alias among them: {champion: 1, challenger: 1}."""
    shadow: ShadowSection = Field(default_factory=ShadowSection)
    retreat: RetreatSection = Field(default_factory=RetreatSection)
    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own (127.0.0.1, localhost) needs API keys, made by jobs/keys.py."""
    port: Annotated[int, Field(gt=0, lt=65536)] = 8_000
    """Port to listen on."""
    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Replicas that always run; with 0 the first request after a pause waits until one has started."""
    max_replicas: Positive = 2
    """Replicas that autoscaling may start."""
    target_ongoing_requests: Annotated[float, Field(gt=0)] = 8
    """Replies in the making, and waiting, per replica that autoscaling aims at."""
    target_tokens: Positive | None = None
    """The same in tokens, those read and those that may be said: whichever asks for more replicas counts. null is
    target_ongoing_requests times the longest context and reply of the model's recipe."""
    upscale_delay_s: Annotated[float, Field(ge=0)] = 1
    """Seconds that more replicas must be wanted before they are started."""
    downscale_delay_s: Annotated[float, Field(ge=0)] = 60
    """Seconds that fewer must be wanted before some are stopped, when their replies have ended."""
    downscale_to_zero_delay_s: Annotated[float, Field(ge=0)] = 300
    """The same for the last one, where min_replicas is 0."""
    cpus_per_replica: Positive = 1
    """CPU cores, and threads, of one replica."""
    gpus_per_replica: Literal[0, 1] = 0
    """1 puts each replica on a GPU."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "fp32"
    """What replies are computed in. `fp32`: as the model was validated. `bf16`: rounded sums of products, where the CPU
    or GPU multiplies bf16 by itself. `int8`, for CPUs: the fastest; a reply differs from fp32's now and then
    (docs/benchmarks.md says how often). `auto`: bf16 where it is native, else fp32."""
    num_slots: Positive = 16
    """Replies that one replica writes at the same time; further requests wait."""
    max_queued_requests: Positive = 64
    """Requests that may wait for a slot; further ones are answered 429 with Retry-After."""
    max_reply_tokens: Positive | None = None
    """Longest reply a request may ask for; null takes text.max_reply_tokens, which the model was trained on."""
    decoding: SomeDecoding = Field(default_factory=dict)
    """How every version replies where a request does not say it, by the names of the section `decoding`: {temperature:
    0.5, top_k: 20}. What is not named here is as in the recipe that the version was trained with."""
    request_timeout_s: Annotated[float, Field(gt=0)] = 60
    """A request that takes longer is ended; a request may ask for less with the header x-request-timeout."""
    fallback_reply: Annotated[str, Field(min_length=1)] = "I am not sure what to say to that."
    """What is said when the model answers with nothing at all."""
    database_url: Annotated[str, Field(min_length=1)] | None = None
    """Where sessions, feedback, keys and counts are kept: null is an SQLite file under storage.uri, for replicas of one
    machine; `env:NAME` is the address in that environment variable, such as postgresql://user:password@host/database;
    an address without a password may stand here."""
    session_ttl_s: Annotated[float, Field(gt=0)] = 604_800
    """Seconds after its last turn that a session, or a reply kept with `store`, is forgotten."""
    require_keys: bool | None = None
    """Whether requests need an API key; null is yes on any address but this machine's own."""
    requests_per_minute: Positive | None = None
    """Requests a minute of one API key, over all replicas, unless the key has a number of its own; null is any."""
    tokens_per_day: Positive | None = None
    """Tokens read and written a day (UTC) for one API key, likewise."""
    max_body_bytes: Annotated[int, Field(ge=1_024, le=64_000_000)] = 1_000_000
    """A larger request is answered 413."""
    max_turn_characters: Annotated[int, Field(gt=0, le=1_000_000)] = 20_000
    """A longer turn is answered 400."""
    max_websockets: Annotated[int, Field(ge=0)] = 64
    """WebSockets that may be open to one replica."""
    cors_origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/]+)$")], ...] = ()
    """Web pages that may ask from a browser, such as https://chat.example.org; `*` is all."""
    tls_certificate: AbsolutePath | None = None
    """PEM file with the endpoint's certificate and its chain, on every node: it then speaks HTTPS by itself. null:
    HTTP, for this machine or behind a proxy that speaks HTTPS."""
    tls_key: AbsolutePath | None = None
    """PEM file with the certificate's private key, without a password."""
    log_text: bool = False
    """Whether the log, and spans, have what was said; else they count tokens."""
    tracing_endpoint: Annotated[str, Field(pattern=r"^https?://[^/@\s]+(/[^@\s]*)?$")] | None = None
    """OpenTelemetry collector that gets a span a request by OTLP over HTTP, such as http://127.0.0.1:4318; needs the
    extra [tracing]. null asks the environment: OTEL_EXPORTER_OTLP_ENDPOINT. A collector's secrets belong there too, in
    OTEL_EXPORTER_OTLP_HEADERS."""

    @property
    def asked_names(self) -> tuple[str, ...]:
        """Aliases and versions besides serving.alias that replies are made with, whatever requests ask for."""
        named = (self.canary.to, *self.ab_test, self.shadow.to)
        return tuple(name for name in dict.fromkeys(named) if name is not None and name != self.alias)

    @property
    def url(self) -> str:
        """Where the endpoint answers."""
        return f"{'http' if self.tls_certificate is None else 'https'}://{self.host}:{self.port}"

    @property
    def needs_keys(self) -> bool:
        """Whether requests need an API key."""
        return not is_own_address(self.host) if self.require_keys is None else self.require_keys
