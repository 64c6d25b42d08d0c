"""A recipe file and `section.key=value` words in, a validated Recipe out; every problem is reported at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rejoinder.errors import RecipeError
from rejoinder.recipe.problems import sentences
from rejoinder.recipe.tree import Recipe


def load_recipe(path: str | Path, words: Iterable[str] = ()) -> Recipe:
    """Reads a recipe file, applies `a.b=c` words in order, and validates the whole.

    Raises RecipeError with one line for each problem: path, value, and the way out.
    """
    return validate(override(_read(Path(path)), words), source=str(path))


def override(tree: dict[str, Any], words: Iterable[str]) -> dict[str, Any]:
    """A copy of the tree with each `a.b=c` applied; c is read as YAML, so numbers, null and lists work."""
    tree = copy.deepcopy(tree)
    for word in words:
        path, equals, text = word.partition("=")
        if not equals or not path.strip():
            raise RecipeError(f"{word!r} is no override; write section.key=value, such as training.num_steps=100")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"{path} = {text}: not valid YAML ({_one_line(error)}); quote the value") from None
        _put(tree, path.strip(), value)
    return tree


def validate(tree: dict[str, Any], source: str = "recipe") -> Recipe:
    """The typed recipe of a tree of plain values. Raises RecipeError naming the source and every problem."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        problems = sentences(error, Recipe, tree)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise RecipeError(f"{source}: {count}\n" + "\n".join(f"  {problem}" for problem in problems)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such recipe file; jobs/recipes/ has some to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: the recipe file cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not valid YAML: {_one_line(error)}") from None
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of sections, this file holds {type(tree).__name__}")
    return tree


def _put(tree: Any, path: str, value: object) -> None:
    *parents, last = path.split(".")
    node = tree
    for depth, key in enumerate(parents):
        node = _child(node, key, ".".join(parents[: depth + 1]))
    if isinstance(node, list):
        node[_index(node, last, path)] = value
    elif last == "name" and len(parents) > 0 and isinstance(node, dict) and node.get("name") not in (None, value):
        # Another plug-in: the settings of the one before do not belong to it.
        node.clear()
        node["name"] = value
    else:
        node[last] = value


def _child(node: Any, key: str, path: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, key, path)]
    child = node.setdefault(key, {})
    if child is None:
        child = node[key] = {}
    if isinstance(child, str):  # a plug-in written by its name alone
        child = node[key] = {"name": child}
    if not isinstance(child, dict | list):
        raise RecipeError(f"{path} = {child!r} is a value, not a section; it has no settings inside")
    return child


def _index(items: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(items):
        raise RecipeError(f"{path}: {key!r} is no index of a list of {len(items)}; they count from 0")
    return int(key)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
