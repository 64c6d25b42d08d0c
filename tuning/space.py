"""The name or file of a space in, a space that fits the recipe out; or every problem it has, before Ray starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from rejoinder import catalog
from rejoinder.errors import RecipeError, TuningError
from rejoinder.recipe import OF_REQUESTS, Recipe, override, validate
from tuning.distributions import Distribution, read_distribution

SPACES = Path(__file__).with_name("spaces")
_NUM_TRIES = 12
"""Samples around one end, of which one must be a valid recipe: another setting of the same sample may contradict."""
_SECTIONS = ("model", "training", "decoding")

Sample = dict[str, Any]


@dataclass(frozen=True)
class Dimension:
    """One setting of a space."""

    path: str
    distribution: Distribution
    when: Mapping[str, tuple[Any, ...]]
    """Values that other settings must have for this one to be looked for."""


@dataclass(frozen=True)
class Space:
    """Settings to search, those that decide on others first."""

    name: str
    dimensions: tuple[Dimension, ...]
    recipe: Recipe

    @property
    def is_of_decoding(self) -> bool:
        """Whether nothing is trained."""
        return all(dimension.path.startswith("decoding.") for dimension in self.dimensions)

    def sample(self, choose: Callable[[Dimension], Any]) -> Sample:
        """A value for each setting whose conditions hold."""
        sample: Sample = {}
        for dimension in self.dimensions:
            if all(self.value(sample, path) in values for path, values in dimension.when.items()):
                sample[dimension.path] = choose(dimension)
        return sample

    def draw(self, chance: Random) -> Sample:
        """A sample by chance."""
        return self.sample(lambda dimension: dimension.distribution.draw(chance))

    def grid(self, num_points: int) -> list[Sample]:
        """Every combination there is, conditions kept."""
        samples: list[Sample] = [{}]
        for dimension in self.dimensions:
            samples = [
                sample | extra
                for sample in samples
                for extra in (
                    [{dimension.path: value} for value in dimension.distribution.grid(num_points)]
                    if all(self.value(sample, path) in values for path, values in dimension.when.items())
                    else [{}]
                )
            ]
        return samples

    def value(self, sample: Sample, path: str) -> Any:
        """Of the sample, or else of the recipe. None where neither has it."""
        return sample[path] if path in sample else value_at(self.recipe, path)

    def plain(self) -> dict[str, Any]:
        """What the space is, for hashes and pages."""
        return {
            one.path: {"kind": one.distribution.kind, "ends": one.distribution.ends(), "step": one.distribution.step}
            | ({"when": {path: list(values) for path, values in one.when.items()}} if one.when else {})
            for one in self.dimensions
        }


def names() -> list[str]:
    """The spaces that have a name: the files of tuning/spaces."""
    return sorted(file.stem for file in SPACES.glob("*.yaml"))


def read_space(recipe: Recipe) -> Space:
    """The recipe's `tuning.space`. Raises TuningError with every problem of it, one a line."""
    wanted = recipe.tuning.space
    file = SPACES / f"{wanted}.yaml" if wanted in names() else Path(wanted)
    if file.suffix not in (".yaml", ".yml"):
        raise TuningError(f"tuning.space = {wanted}: no such space; {catalog.choices(wanted, names())}, or a YAML file")
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TuningError(f"tuning.space = {wanted}: {error.strerror}; {catalog.choices(wanted, names())}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TuningError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict) or not tree:
        raise TuningError(f"{file}: a space is a mapping of recipe paths to what they may be; docs/tuning.md has one")
    problems: list[str] = []
    space = Space(file.stem, tuple(_in_order(_read(tree, recipe, problems), problems)), recipe)
    if not problems:
        problems = list(dict.fromkeys(_problems(space)))
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise TuningError(f"tuning.space = {wanted}: {count}\n" + "\n".join(f"  {problem}" for problem in problems))
    return space


def with_sample(recipe: Recipe, sample: Sample) -> Recipe:
    """The recipe with a sample in it. Names of plug-ins go first, since they reset the plug-in's other settings."""
    ordered = sorted(sample, key=lambda path: not path.endswith(".name"))
    return with_words(recipe, [f"{path}={json.dumps(sample[path])}" for path in ordered], "trial")


def with_best(recipe: Recipe, space: Space, sample: Sample) -> Recipe:
    """The same for the best of all; a model is to be served with what was found of decoding, too."""
    found = with_sample(recipe, sample)
    if not space.is_of_decoding:
        return found
    section = found.decoding.model_dump(mode="json")
    changes = {name: section[name] for name in (path.partition(".")[2] for path in sample)}
    return with_served_decoding(found, changes)


def with_served_decoding(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with more settings in `serving.decoding`, but for those that requests say."""
    added = {name: value for name, value in changes.items() if name not in OF_REQUESTS}
    words = [f"serving.decoding.{name}={json.dumps(value)}" for name, value in added.items()]
    return with_words(recipe, words, "serving.decoding")


def with_words(recipe: Recipe, words: Iterable[str], source: str) -> Recipe:
    """The recipe with `a.b=c` words in it. Raises RecipeError naming the source."""
    # Pydantic warns of [1, 4] workers, which are a list as JSON.
    return validate(override(recipe.model_dump(mode="json", warnings=False), words), source)


def value_at(recipe: Recipe, path: str) -> Any:
    """A setting of a recipe; None where there is none."""
    node: Any = recipe
    for key in path.split("."):
        node = node[int(key)] if isinstance(node, tuple) and key.isdigit() and int(key) < len(node) else node
        node = getattr(node, key, None) if not isinstance(node, tuple) else node
    return node


def _read(tree: dict[str, Any], recipe: Recipe, problems: list[str]) -> list[Dimension]:
    found = []
    for path, line in tree.items():
        try:
            distribution, when, relative = read_distribution(line)
            if relative:
                distribution = _relative(distribution, value_at(recipe, str(path)))
        except ValueError as error:
            problems.append(f"{path}: {error}")
            continue
        conditions = {one: tuple(values) if isinstance(values, list) else (values,) for one, values in when.items()}
        found.append(Dimension(str(path), distribution, conditions))
    return found


def _relative(distribution: Distribution, own: Any) -> Distribution:
    if isinstance(own, bool) or not isinstance(own, int | float):
        raise ValueError(f"relative: the recipe's own value is {own!r}, of which there are no multiples")
    return distribution.scaled(own, is_whole=isinstance(own, int))


def _in_order(dimensions: list[Dimension], problems: list[str]) -> list[Dimension]:
    """Those first that others depend on."""
    paths, ordered, rest = {one.path for one in dimensions}, list[Dimension](), dimensions
    while rest:
        known = {one.path for one in ordered} | {path for one in rest for path in one.when if path not in paths}
        ready = [one for one in rest if set(one.when) <= known]
        if not ready:
            problems.append(f"{rest[0].path}: its `when` goes in a circle: {', '.join(one.path for one in rest)}")
            return ordered
        ordered, rest = ordered + ready, [one for one in rest if one not in ready]
    return ordered


def _problems(space: Space) -> Iterator[str]:
    """Every path, and every end of every range, put into the recipe."""
    recipe, sections = space.recipe, {one.path.split(".")[0] for one in space.dimensions}
    for one in space.dimensions:
        section = one.path.split(".")[0]
        if section in ("data", "text"):
            yield f"{one.path}: all trials share one prepared set, which `{section}` decides; search these one by one"
        elif section not in _SECTIONS and section in type(recipe).model_fields:
            yield f"{one.path}: a search changes {', '.join(_SECTIONS)}; `{section}` has no part in a trial's result"
    if "decoding" in sections and len(sections) > 1:
        yield "decoding.*: is searched on a trained checkpoint, without training; give it a space of its own"
    if recipe.tuning.search == "pbt":
        for one in space.dimensions:
            if one.path.startswith("model.") or one.path in ("training.optimizer.name", "training.num_steps"):
                yield f"{one.path}: pbt changes settings of a model in training, whose weights and steps stay its own"
    suspects = {
        one.path for one in space.dimensions if any(_said(space, one, end, 0, {one.path}) for end in _ends(one))
    }
    sound = {one.path for one in space.dimensions} - suspects
    for one in space.dimensions:
        for end in _ends(one):
            yield from _problems_of(space, one, end, sound | {one.path})


def _problems_of(space: Space, dimension: Dimension, end: Any, company: set[str]) -> list[str]:
    """Nothing when some sample with this value in it is a valid recipe.

    At first without the settings that have problems of their own, lest each problem is said of all others; then with
    them, because two of them may suit each other alone.
    """
    said = list[str]()
    for attempt in range(_NUM_TRIES):
        lines = _said(space, dimension, end, attempt, company if attempt < _NUM_TRIES // 2 else None)
        if not lines:
            return []
        said = said or lines
    return said


def _said(space: Space, dimension: Dimension, end: Any, attempt: int, company: set[str] | None) -> list[str]:
    """What the recipe says to a sample with this value in it, and with those of some others."""
    sample = _sample_with(space, dimension, end, Random(attempt))
    if dimension.path not in sample:
        conditions = " and ".join(f"{path} in {list(values)}" for path, values in dimension.when.items())
        return [f"{dimension.path}: never looked for: the space and the recipe never have {conditions}"]
    if company is not None:
        needed = company | _conditions(space, dimension)
        sample = {path: value for path, value in sample.items() if path in needed}
    try:
        with_sample(space.recipe, sample)
    except RecipeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        lines = lines[1:] if len(lines) > 1 else lines  # the first one counts the others
        own = [line for line in lines if line.startswith(dimension.path)]
        return own or [f"{dimension.path} = {end}: {line}" for line in lines]
    return []


def _conditions(space: Space, dimension: Dimension) -> set[str]:
    """What it depends on, and what that depends on."""
    by_path = {one.path: one for one in space.dimensions}
    return {dimension.path}.union(*(_conditions(space, by_path[path]) for path in dimension.when if path in by_path))


def _ends(dimension: Dimension) -> list[Any]:
    return dimension.distribution.ends()


def _sample_with(space: Space, dimension: Dimension, end: Any, chance: Random) -> Sample:
    wanted: dict[str, tuple[Any, ...]] = {dimension.path: (end,)}
    by_path = {one.path: one for one in space.dimensions}
    open_ones = [dimension]
    while open_ones:  # what it depends on, and what that depends on
        for path, values in open_ones.pop().when.items():
            wanted[path] = tuple(value for value in values if value in wanted.get(path, values)) or values
            if path in by_path:
                open_ones.append(by_path[path])

    def choose(one: Dimension) -> Any:
        possible = wanted.get(one.path)
        if possible is None:
            return one.distribution.draw(chance)
        if one is not dimension and one.distribution.kind == "choice":
            possible = (
                tuple(value for value in possible if value in one.distribution.choices) or one.distribution.choices
            )
        return chance.choice(possible)

    return space.sample(choose)
