"""`--help` is made of the fields' own docstrings, so every field has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from pydantic import BaseModel

from rejoinder import catalog
from rejoinder.recipe import Recipe, explain

ROOMS = (
    "rejoinder.corpora", "rejoinder.evaluation.metrics", "rejoinder.models", "rejoinder.optimizers",
    "rejoinder.schedules",
)  # fmt: skip


def sections(section: type[BaseModel] = Recipe) -> Iterator[type[BaseModel]]:
    yield section
    for field in section.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation)


def plugin_settings() -> Iterator[Any]:
    for room in ROOMS:
        for name in catalog.names(room):
            yield pytest.param(catalog.pick(room, name).Settings, id=f"{room}.{name}")


def settings_of(tree: Any, path: str = "") -> Iterator[str]:
    """The paths of all settings of a recipe, as an override would write them."""
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from settings_of(value, f"{path}.{key}" if path else str(key))
    else:
        yield path


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_section_and_setting_is_documented(section: type[BaseModel]) -> None:
    assert section.__doc__
    is_section = {field for field, info in section.model_fields.items() if info.annotation in set(sections())}
    assert [
        name for name in section.model_fields.keys() - is_section if not section.model_fields[name].description
    ] == []


@pytest.mark.parametrize("settings", plugin_settings())
def test_every_setting_of_a_plugin_is_documented(settings: type[BaseModel]) -> None:
    assert [name for name, field in settings.model_fields.items() if name != "name" and not field.description] == []


def test_every_setting_is_explained_with_its_value(recipe: Recipe) -> None:
    lines = explain(recipe).splitlines()
    of_a_plugin = re.compile(r"(model|.*\.(tokenizer|schedule|optimizer|filter)|.*\.\d+)\.name")
    for path in settings_of(recipe.model_dump(mode="json")):
        if not of_a_plugin.fullmatch(path):
            whole = path.rpartition(".")[0]  # of a table such as registry.gate.limits
            assert any(line.startswith((f"  {path} = ", f"  {whole} = ")) for line in lines), path
    assert "  training.num_steps = 4" in lines
    assert "  model.width = 16" in lines


def test_without_a_recipe_the_defaults_are_shown() -> None:
    text = explain()
    assert "\n  training.num_steps = 1000\n" in text
    assert text.startswith("  name\n")  # it has none


def test_the_plugins_that_may_be_chosen_are_listed() -> None:
    assert "Plug-ins: " + ", ".join(catalog.names("rejoinder.models")) in explain()


def test_choices_and_ranges_are_told() -> None:
    lines = explain().splitlines()
    said = {line.split(" = ")[0].strip(): after for line, after in pairwise(lines)}
    assert said["training.precision"].endswith(" One of: fp32, bf16, fp16, auto.")
    assert said["text.control_tokens"].endswith(" Any of: system, speaker, persona, topic, rating, emotion.")
    assert said["serving.port"].endswith(" Above 0 and below 65,536.")
    assert said["training.num_steps"].endswith(" Above 0.")
