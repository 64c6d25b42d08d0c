"""pydantic's errors in, one sentence each out: path, value, and what would be right."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rejoinder import catalog
from rejoinder.recipe.base import PluginRoom, SettingsOf


def sentences(error: ValidationError, root: type[BaseModel], tree: object) -> list[str]:
    """Every problem of a tree of plain values that `root` refused, as lines of text."""
    lines: list[str] = []
    problems = error.errors()
    for problem in problems:
        if not _follows_from_another(problem, problems):
            lines += _sentence(problem, root, tree).split("\n")
    return lines


def _follows_from_another(problem: ErrorDetails, problems: list[ErrorDetails]) -> bool:
    """pydantic calls a list too short when the items it refused leave it so."""
    place = problem["loc"]
    inside = (other["loc"] for other in problems if len(other["loc"]) > len(place))
    return problem["type"] == "too_short" and any(loc[: len(place)] == place for loc in inside)


def _sentence(problem: ErrorDetails, root: type[BaseModel], tree: object) -> str:
    parts = problem["loc"]
    path = ".".join(map(str, parts))
    value, kind, message = problem["input"], problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        inside = ".".join(map(str, parts[:-1])) or "the recipe"
        known = _known_settings(root, tree, parts[:-1])
        return f"{path}: {inside} has no such setting; {catalog.choices(str(parts[-1]), known)}"
    if kind == "missing":
        return f"{path}: missing, and it has no default"
    if kind == "model_type":
        return f"{path} = {value!r}: {path} is a section; give it settings, not a value"
    if kind == "value_error":
        reason = str(problem["ctx"]["error"])
        return f"{path}: {reason}" if path else reason
    if message.startswith("Input should be "):
        return f"{path} = {value!r}: must be {message.removeprefix('Input should be ')}"
    return f"{path} = {value!r}: {message}"


def _known_settings(section: Any, value: Any, parents: tuple[int | str, ...]) -> list[str]:
    """The settings of the section at this path; where a plug-in stands there, those of the plug-in named."""
    room = None
    for part in parents:
        value = value[part]
        if isinstance(part, str):
            field = section.model_fields[part]
            marked = (mark.section for mark in field.metadata if isinstance(mark, SettingsOf))
            room, section = room_of(field), next(marked, field.annotation)
    if room is not None:
        default = field.default if isinstance(field.default, dict) else {}
        section = catalog.pick(room, (default | value)["name"]).Settings
    return list(section.model_fields)


def room_of(field: Any) -> str | None:
    marks = list(field.metadata)
    for argument in get_args(field.annotation):  # the items of a tuple[Annotated[...], ...]
        marks += getattr(argument, "__metadata__", ())
    return next((mark.room for mark in marks if isinstance(mark, PluginRoom)), None)
