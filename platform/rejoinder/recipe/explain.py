"""The recipe's own docstrings in, the `--help` text out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rejoinder import catalog
from rejoinder.recipe.base import PluginSettings
from rejoinder.recipe.problems import room_of
from rejoinder.recipe.tree import Recipe


def explain(recipe: Recipe | None = None) -> str:
    """Every setting with its default (or its value in this recipe), its meaning and its plug-ins' names."""
    return "\n".join(_lines(Recipe, "", recipe)) + "\n"


def _lines(section: type[BaseModel], prefix: str, values: Any) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if issubclass(section, PluginSettings) and name == "name":
            continue
        path = prefix + name
        value = getattr(values, name, None)
        room = room_of(field)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and room is None:
            yield f"\n{path}  {' '.join((field.annotation.__doc__ or '').split())}"
            yield from _lines(field.annotation, path + ".", value)
        elif room is not None:
            yield _line(path, "", field) + f" Plug-ins: {', '.join(catalog.names(room))}."
            for index, settings in enumerate(value if isinstance(value, tuple) else [value] if value else []):
                where = f"{path}.{index}." if isinstance(value, tuple) else path + "."
                yield from _lines(type(settings), where, settings)
        else:
            yield _line(path, _shown(field, values, value), field)


def _shown(field: FieldInfo, values: Any, value: object) -> str:
    if values is not None:
        return f" = {value}"
    if field.default is not PydanticUndefined:
        return f" = {field.default}"
    return ""


def _line(path: str, shown: str, field: FieldInfo) -> str:
    return f"  {path}{shown}\n      {' '.join((field.description or '').split())}"
