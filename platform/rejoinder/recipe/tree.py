"""Recipe: the whole tree, what may not stand side by side in it, and how it is written back."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field, model_validator

from rejoinder.recipe.base import PluginSettings, Section, is_own_address, plugin_of
from rejoinder.recipe.contradictions import contradictions_of_decoding
from rejoinder.recipe.reply_sections import DecodingSection, EvaluationSection
from rejoinder.recipe.sections import (
    ClusterSection,
    DataSection,
    RegistrySection,
    ScalingSection,
    ServingSection,
    StorageSection,
    TextSection,
    TrainingSection,
)
from rejoinder.recipe.serving_sections import contradictions_of_served_decoding, contradictions_of_versions
from rejoinder.recipe.tuning_section import TuningSection

if TYPE_CHECKING:
    ModelSettings = PluginSettings
else:
    ModelSettings = plugin_of("rejoinder.models")


class Recipe(Section):
    """Every setting there is."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    """What this recipe is called; runs and shards begin with it."""
    data: DataSection
    text: TextSection = Field(default_factory=TextSection)
    model: ModelSettings
    """The architecture, `{name: MODEL, ...settings of that model}`."""
    training: TrainingSection = Field(default_factory=TrainingSection)
    scaling: ScalingSection = Field(default_factory=ScalingSection)
    decoding: DecodingSection = Field(default_factory=DecodingSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    registry: RegistrySection = Field(default_factory=RegistrySection)
    serving: ServingSection = Field(default_factory=ServingSection)
    tuning: TuningSection = Field(default_factory=TuningSection)
    cluster: ClusterSection = Field(default_factory=ClusterSection)
    storage: StorageSection = Field(default_factory=StorageSection)

    @model_validator(mode="after")
    def _no_contradiction(self) -> Recipe:
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def to_yaml(self) -> str:
        """The final recipe, itself valid input to every job."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)

    def fingerprint(self, *sections: str) -> str:
        """16 hexadecimal digits that change with any setting of these sections."""
        data = self.model_dump(mode="json", include=set(sections))
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _contradictions(recipe: Recipe) -> Any:
    data, text, training, serving = recipe.data, recipe.text, recipe.training, recipe.serving
    if data.valid_fraction == 0:
        yield "data.valid_fraction = 0: training needs held-out conversations; try 0.05"
    if data.valid_fraction + data.test_fraction >= 1:
        yield (
            f"data.valid_fraction = {data.valid_fraction} and data.test_fraction = {data.test_fraction} leave nothing "
            "to train on; their sum must be below 1"
        )
    longest = text.max_context_tokens + text.max_reply_tokens
    for where, tokens in (
        ("training.batch_tokens", training.batch_tokens),
        ("training.max_microbatch_tokens", training.max_microbatch_tokens or longest),
        ("evaluation.batch_tokens", recipe.evaluation.batch_tokens),
    ):
        if tokens < longest:
            yield (
                f"{where} = {tokens}: the longest exchange alone has text.max_context_tokens + text.max_reply_tokens "
                f"= {longest} tokens; give at least that"
            )
    if training.warmup_steps >= training.num_steps:
        yield (
            f"training.warmup_steps = {training.warmup_steps} must be below training.num_steps = {training.num_steps}; "
            f"try {training.num_steps // 10}"
        )
    if training.compile and training.parallel == "fsdp":
        # Tried with two CPU workers: compiling the divided layers had not come to its end after minutes.
        yield "training.compile = true does not go with training.parallel = fsdp: give up either; ddp can be compiled"
    if serving.min_replicas > serving.max_replicas:
        yield (
            f"serving.min_replicas = {serving.min_replicas} is above serving.max_replicas = {serving.max_replicas}; "
            f"raise serving.max_replicas to {serving.min_replicas}"
        )
    if (serving.max_reply_tokens or 0) > text.max_reply_tokens:
        yield (
            f"serving.max_reply_tokens = {serving.max_reply_tokens}: the model learns replies of up to "
            f"text.max_reply_tokens = {text.max_reply_tokens} tokens; ask for no more"
        )
    yield from _contradictions_of_serving(serving)
    yield from contradictions_of_versions(serving)
    yield from contradictions_of_served_decoding(serving.decoding)
    if recipe.decoding.min_reply_tokens >= text.max_reply_tokens:
        yield (
            f"decoding.min_reply_tokens = {recipe.decoding.min_reply_tokens} must be below "
            f"text.max_reply_tokens = {text.max_reply_tokens}"
        )
    yield from contradictions_of_decoding(recipe.decoding, "decoding.", DecodingSection().model_dump())
    yield from _contradictions_of_workers(recipe)
    yield from recipe.model.contradictions(recipe)
    yield from training.optimizer.contradictions(recipe)
    yield from _contradictions_of_an_address(recipe)


def _contradictions_of_workers(recipe: Recipe) -> Any:
    scaling, precision = recipe.scaling, recipe.training.precision
    if scaling.min_workers > scaling.max_workers:
        yield (
            f"scaling.num_workers = [{scaling.min_workers}, {scaling.max_workers}]: the fewest stand first; give "
            f"[{scaling.max_workers}, {scaling.min_workers}]"
        )
    if precision == "fp16" and scaling.gpus_per_worker == 0:
        yield (
            "training.precision = fp16 is for GPUs, scaling.gpus_per_worker = 0 trains on CPUs; set "
            "scaling.gpus_per_worker=1, or training.precision=auto"
        )


def _contradictions_of_serving(serving: ServingSection) -> Any:
    if serving.precision == "int8" and serving.gpus_per_replica:
        yield (
            f"serving.precision = int8 is for CPUs, and serving.gpus_per_replica = {serving.gpus_per_replica}; choose "
            "bf16 or auto"
        )
    if (serving.tls_certificate is None) != (serving.tls_key is None):
        yield "serving.tls_certificate and serving.tls_key are for each other; give both, or neither"
    if serving.require_keys is False and not is_own_address(serving.host):
        yield (
            f"serving.require_keys = false with serving.host = {serving.host}: anybody could talk to it; leave "
            "serving.require_keys out and make keys with jobs/keys.py, or listen on 127.0.0.1 behind a gateway"
        )
    url = serving.database_url or ""
    user, _, place = url.partition("://")[2].rpartition("@")
    if ":" in user or "password=" in place:
        yield (
            f"serving.database_url = {url.partition('://')[0]}://…@{place.partition('?')[0]}: credentials do not "
            "belong in a recipe; set the environment's REJOINDER_DATABASE_URL to it, and "
            "serving.database_url=env:REJOINDER_DATABASE_URL"
        )


def _contradictions_of_an_address(recipe: Recipe) -> Any:
    uri = recipe.storage.uri
    if "://" not in uri:
        return
    scheme, _, place = uri.partition("://")
    if scheme not in ("s3", "gs", "file"):
        yield f"storage.uri = {uri}: {scheme}:// is not known; give a directory, s3://, gs:// or file://"
    elif "@" in place.partition("/")[0]:
        yield (
            f"storage.uri = {scheme}://…@{place.partition('@')[2]}: credentials do not belong in a recipe; set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
        )
    elif recipe.registry.tracking_uri is None:
        yield (
            f"storage.uri = {uri}: the default MLflow store is a file and cannot lie there; start `mlflow server` and "
            "set registry.tracking_uri, or MLFLOW_TRACKING_URI, to its address"
        )
