"""A Serve config file in; what is wrong with it out, each with its place.

    python -m serve.config_file serve/config.yaml

`serve deploy` leaves out whatever key it does not know and says nothing, so that `max_replica: 8` changes nothing. Here
every key is compared with Serve's own schema, and the application's arguments with the recipe.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import DeploymentSchema, HTTPOptionsSchema, ServeDeploySchema

from rejoinder.errors import RecipeError, ServingError
from rejoinder.recipe.base import is_own_address
from serve.app import NAME, Arguments, recipe_of

OURS = "serve.app:build"
_OF_DICTS: dict[tuple[type[BaseModel], str], type[BaseModel]] = {
    (DeploymentSchema, "autoscaling_config"): AutoscalingConfig,
}
"""What Serve calls a dictionary and reads as this."""


def read(path: str | Path) -> dict[str, Any]:
    """The file's tree. Raises ServingError for a file that is none, or gives a key twice."""
    try:
        tree = yaml.load(Path(path).read_text(encoding="utf-8"), _OnceEach)
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"{path}: the config file cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ServingError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ServingError(f"{path}: a Serve config is a mapping, this file holds {type(tree).__name__}")
    return tree


def check(path: str | Path) -> None:
    """Raises ServingError with a line for each problem."""
    found = list(problems(read(path)))
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise ServingError(f"{path}: {count}\n" + "\n".join(f"  {problem}" for problem in found))


def problems(tree: dict[str, Any]) -> Iterator[str]:
    """Unknown keys with the nearest known ones, then values that Serve or the recipe refuses."""
    yield from _unknown_keys(tree, ServeDeploySchema, "")
    yield from _refused(ServeDeploySchema, tree, "")
    for number, application in _mappings(tree.get("applications")):
        place = f"applications.{number}."
        route = application.get("route_prefix", "/")
        if isinstance(route, str) and not route.startswith("/"):
            yield f"{place}route_prefix = {route!r}: must begin with /"
        ours = application.get("import_path") == OURS
        for index, deployment in _mappings(application.get("deployments")):
            where = f"{place}deployments.{index}."
            if ours and deployment.get("name") != NAME:
                yield f"{where}name = {deployment.get('name')!r}: {OURS} has one deployment, {NAME!r}"
            if isinstance(scaling := deployment.get("autoscaling_config"), dict):
                yield from _refused(AutoscalingConfig, scaling, f"{where}autoscaling_config.")
        if ours:
            yield from _wrong_arguments(application.get("args") or {}, f"{place}args", _host_of(tree))


def _wrong_arguments(arguments: dict[str, Any], place: str, host: str) -> Iterator[str]:
    yield from _unknown_keys(arguments, Arguments, f"{place}.")
    known = {name: value for name, value in arguments.items() if name in Arguments.model_fields}
    try:
        recipe = recipe_of(Arguments.model_validate(known))
    except ValidationError as error:
        yield from _sentences(error, f"{place}.")
    except RecipeError as error:
        yield f"{place}: {error}"
    else:
        if not is_own_address(host) and recipe.serving.require_keys is None and not recipe.serving.needs_keys:
            yield (
                f"http_options.host = {host}: others reach it, but serving.host = {recipe.serving.host} asks nobody "
                f"for a key; put serving.host={host} into {place}.words"
            )


def _host_of(tree: dict[str, Any]) -> str:
    options = tree.get("http_options")
    return str((options if isinstance(options, dict) else {}).get("host", HTTPOptionsSchema().host))


def _unknown_keys(tree: Any, schema: type[BaseModel], place: str) -> Iterator[str]:
    if not isinstance(tree, dict):
        return
    known = {field.alias or name: (name, field) for name, field in schema.model_fields.items()}
    known |= {name: (name, field) for name, field in schema.model_fields.items()}
    for key, value in tree.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
            yield f"{place}{key}: Serve knows no such key, and would leave it out; {hint}"
            continue
        name, field = known[key]
        inner = _OF_DICTS.get((schema, name)) or next(_models_in(field.annotation), None)
        if inner is None:
            continue
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from _unknown_keys(item, inner, f"{place}{key}.{number}.")
        else:
            yield from _unknown_keys(value, inner, f"{place}{key}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _refused(schema: type[BaseModel], tree: dict[str, Any], place: str) -> Iterator[str]:
    try:
        schema.model_validate(tree)
    except ValidationError as error:
        yield from _sentences(error, place)


def _sentences(error: ValidationError, place: str) -> Iterator[str]:
    for problem in error.errors():
        if problem["type"] == "extra_forbidden":
            continue  # said with the nearest name
        where = place + ".".join(map(str, problem["loc"]))
        yield f"{where.rstrip('.') or 'the file'}: {problem['msg'].removeprefix('Value error, ')}"


def _mappings(items: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Those of a list that are mappings; the schema says what the others are."""
    return (
        (number, item) for number, item in enumerate(items if isinstance(items, list) else []) if isinstance(item, dict)
    )


class _OnceEach(yaml.SafeLoader):
    """YAML takes the last of two equal keys without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def main(files: list[str]) -> int:
    """The exit status: 1 when something is wrong."""
    try:
        for file in files or ["serve/config.yaml"]:
            check(file)
            print(f"{file}: every key is known, every value is taken")
    except ServingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
