"""Plug-in name in, plug-in module out. The folder is the list: a new plug-in is a new file.

A plug-in is a module of a room's folder that defines, at top level, a class `Settings`; the room's
`__init__` says which functions it must define besides. Names are read from the source, not by importing it,
so that listing what there is costs nothing and works where a plug-in's optional libraries are absent.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

from rejoinder.errors import RecipeError


def names(room: str) -> list[str]:
    """All plug-ins of a room, such as `names("rejoinder.models")`, sorted."""
    spec = importlib.util.find_spec(room)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{room} is no package")
    files = (file for folder in spec.submodule_search_locations for file in Path(folder).glob("*.py"))
    return sorted(file.stem for file in files if file.stem != "__init__" and _is_plugin(file))


@cache
def pick(room: str, name: str) -> ModuleType:
    """The plug-in module of that name. RecipeError lists the names there are, the closest one first."""
    known = names(room)
    if name not in known:
        raise RecipeError(f"no {_kind(room)} is called {name!r}; {choices(name, known)}")
    return importlib.import_module(f"{room}.{name}")


def choices(wrong: str, known: list[str]) -> str:
    """The way out of a misspelt word: `did you mean 'a'? (there are: a, b)`."""
    close = difflib.get_close_matches(wrong, known, n=1)
    there_are = f"there are: {', '.join(known)}"
    return f"did you mean {close[0]!r}? ({there_are})" if close else there_are


def _kind(room: str) -> str:
    plural = room.rsplit(".", 1)[-1]
    return {"corpora": "corpus reader"}.get(plural, plural.removesuffix("s"))


@cache
def _is_plugin(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.ClassDef) and node.name == "Settings" for node in tree.body)
