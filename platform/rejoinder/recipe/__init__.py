"""The recipe: one typed tree of every setting, validated before anything starts.

defaults < recipe YAML < `section.key=value` words < a trial's sample. `load_recipe` puts them together,
`Recipe.to_yaml` writes the result back as a file that is itself a valid recipe, `explain` makes the `--help`.
"""

from rejoinder.recipe.base import PluginSettings, Section, absolute_path, plugin_of
from rejoinder.recipe.contradictions import GREEDY_BELOW, OF_DRAWS, contradictions_of_decoding
from rejoinder.recipe.explain import explain
from rejoinder.recipe.loading import load_recipe, override, validate
from rejoinder.recipe.reply_sections import DecodingSection, EvaluationSection, GateSection
from rejoinder.recipe.sections import (
    ClusterSection,
    DataSection,
    RegistrySection,
    ScalingSection,
    ScheduledSamplingSection,
    ServingSection,
    StorageSection,
    TextSection,
    TrainingSection,
)
from rejoinder.recipe.serving_sections import OF_REQUESTS, CanarySection, RetreatSection, ShadowSection
from rejoinder.recipe.tree import Recipe
from rejoinder.recipe.tuning_section import TuningSection

__all__ = [
    "GREEDY_BELOW",
    "OF_DRAWS",
    "OF_REQUESTS",
    "CanarySection",
    "ClusterSection",
    "DataSection",
    "DecodingSection",
    "EvaluationSection",
    "GateSection",
    "PluginSettings",
    "Recipe",
    "RegistrySection",
    "RetreatSection",
    "ScalingSection",
    "ScheduledSamplingSection",
    "Section",
    "ServingSection",
    "ShadowSection",
    "StorageSection",
    "TextSection",
    "TrainingSection",
    "TuningSection",
    "absolute_path",
    "contradictions_of_decoding",
    "explain",
    "load_recipe",
    "override",
    "plugin_of",
    "validate",
]
