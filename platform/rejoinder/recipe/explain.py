"""The recipe's own docstrings in, the `--help` text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rejoinder import catalog
from rejoinder.recipe.base import PluginSettings
from rejoinder.recipe.problems import room_of
from rejoinder.recipe.tree import Recipe

_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def explain(recipe: Recipe | None = None) -> str:
    """Every setting with its default (or its value in this recipe), its meaning, choices, range and plug-ins' names."""
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
    says = [*(field.description or "").split(), *_may_be(field.annotation, field.metadata)]
    return f"  {path}{shown}\n      {' '.join(says)}"


def _may_be(annotation: Any, metadata: Iterable[Any] = (), which: str = "One of") -> Iterator[str]:
    """Choices and ranges, as sentences. Of lists and tables those of what is in them."""
    bounds = {name: getattr(one, name) for one in metadata for name in _BOUNDS if getattr(one, name, None) is not None}
    if bounds:
        words = " and ".join(f"{_BOUNDS[name]} {bounds[name]:,}" for name in _BOUNDS if name in bounds)
        yield f"{words[0].upper()}{words[1:]}."
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        yield f"{which}: {', '.join(map(str, inner))}."
    elif get_origin(annotation) is Annotated:
        for one in inner[1:]:
            yield from _may_be(None, one.metadata if isinstance(one, FieldInfo) else [one])
        yield from _may_be(inner[0], which=which)
    else:
        for one in inner:
            yield from _may_be(one, which="Any of" if get_origin(annotation) in (tuple, list) else which)
