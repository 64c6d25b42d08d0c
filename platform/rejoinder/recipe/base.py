"""What every section of the recipe is made of: frozen fields, unknown keys refused, docstrings as help."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainValidator,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rejoinder import catalog
from rejoinder.errors import RecipeError

_HAS_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://")


class Section(BaseModel):
    """A part of the recipe. Fields are documented by the string under each of them."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _settings_of_a_default_plugin(cls, tree: Any) -> Any:
        """`training.schedule.final_fraction=0.1` need not say which schedule, where there is a default."""
        if not isinstance(tree, dict):
            return tree
        unnamed = {
            name: field.default | tree[name]
            for name, field in cls.model_fields.items()
            if isinstance(field.default, dict) and isinstance(tree.get(name), dict) and "name" not in tree[name]
        }
        return tree | unnamed

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, field: ValidationInfo) -> Any:
        """To Python true is 1, and `num_steps: yes` would be one step."""
        assert field.field_name is not None
        annotation = cls.model_fields[field.field_name].annotation
        found = [item for item in _items(value, annotation) if isinstance(item, bool)]
        if found and not _takes_bool(annotation):
            said = str(found[0]).lower()
            raise ValueError(f"{said} (yes, no, on or off in YAML) is no number, and a text only in quotes")
        return value


def _items(value: Any, annotation: Any) -> list[Any]:
    """What stands in a field; a section's own fields look for themselves."""
    if isinstance(value, dict):
        return list(value.values()) if get_origin(annotation) is dict else []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _takes_bool(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_takes_bool(one) for one in get_args(annotation))


class PluginSettings(Section):
    """The settings of one plug-in; the class `Settings` of its file inherits from this."""

    name: str
    """Which plug-in: the name of its file in the room's folder."""

    def contradictions(self, recipe: Any) -> Iterator[str]:
        """What else of a whole recipe does not suit this plug-in, as sentences. Asked of the model and of the
        optimizer."""
        yield from ()


def absolute_path(value: str) -> str:
    """A path made absolute (`~` resolved), because Ray's workers have another working directory; URIs as they are."""
    return value if _HAS_SCHEME.match(value) else str(Path(value).expanduser().absolute())


def is_own_address(host: str) -> bool:
    """Whether only programs of this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


AbsolutePath = Annotated[str, AfterValidator(absolute_path)]


def plugin_of(room: str) -> Any:
    """The type of a field that holds `{name: PLUGIN, ...}`, validated by the plug-in's own `Settings`."""

    def read(value: object) -> PluginSettings:
        if isinstance(value, PluginSettings):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise ValueError(f"needs a name; {catalog.choices('', catalog.names(room))}")
        try:
            plugin = catalog.pick(room, value["name"])
        except RecipeError as error:
            raise ValueError(str(error)) from None
        settings: PluginSettings = plugin.Settings.model_validate(value)
        return settings

    return Annotated[SerializeAsAny[PluginSettings], PlainValidator(read), PluginRoom(room)]


def some_of(section: type[Section]) -> Any:
    """The type of a field that holds some settings of a section, `{name: value}`, each of them checked as there."""

    def read(value: object) -> dict[str, Any]:
        return section.model_validate(value).model_dump(exclude_unset=True)

    return Annotated[dict[str, Any], PlainValidator(read), SettingsOf(section)]


class SettingsOf:
    """Marks a field with the section whose settings it names, for `problems`."""

    def __init__(self, section: type[Section]) -> None:
        self.section = section


class PluginRoom:
    """Marks a field with the room its plug-ins live in, for `explain`."""

    def __init__(self, room: str) -> None:
        self.room = room
