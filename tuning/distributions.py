"""A line of a space in, a typed distribution out: its ends, a draw, points of a grid, a small step away."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

KINDS = ("uniform", "loguniform", "int", "logint", "quantised", "choice")
_FORMS = {
    "uniform": "[low, high]",
    "loguniform": "[low, high], both above 0",
    "int": "[low, high], whole numbers",
    "logint": "[low, high], whole numbers above 0",
    "quantised": "[low, high, step]",
    "choice": "[value, value, ...]",
}


@dataclass(frozen=True)
class Distribution:
    """What one setting may be. `choices` belong to the kind `choice`, `low`, `high` and `step` to the others."""

    kind: str
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    choices: tuple[Any, ...] = ()

    @property
    def is_log(self) -> bool:
        """Whether equal factors, not equal differences, are equally probable."""
        return self.kind in ("loguniform", "logint")

    @property
    def is_whole(self) -> bool:
        """Whether it gives whole numbers."""
        whole = self.kind == "quantised" and float(self.step).is_integer() and float(self.low).is_integer()
        return self.kind in ("int", "logint") or whole

    def ends(self) -> list[Any]:
        """The values that are tried on the recipe before anything starts: both ends, or every choice."""
        if self.kind == "choice":
            return list(self.choices)
        return [self._shaped(self.low)] if self.low == self.high else [self._shaped(self.low), self._shaped(self.high)]

    def draw(self, chance: Random) -> Any:
        """A value by chance."""
        if self.kind == "choice":
            return chance.choice(self.choices)
        if self.kind == "int":
            return chance.randint(int(self.low), int(self.high))
        if self.kind == "quantised":
            return self._shaped(self.low + self.step * chance.randint(0, self._num_steps))
        if self.is_log:
            return self._shaped(math.exp(chance.uniform(math.log(self.low), math.log(self.high))))
        return chance.uniform(self.low, self.high)

    def grid(self, num_points: int) -> list[Any]:
        """Every choice; of a range at most `num_points` values, evenly apart, both ends among them."""
        if self.kind == "choice":
            return list(self.choices)
        num_points = min(num_points, self._num_steps + 1) if self.kind == "quantised" else num_points
        if num_points == 1 or self.low == self.high:
            return [self._shaped(math.sqrt(self.low * self.high) if self.is_log else (self.low + self.high) / 2)]
        shares = [place / (num_points - 1) for place in range(num_points)]
        if self.is_log:
            values = [math.exp(math.log(self.low) * (1 - s) + math.log(self.high) * s) for s in shares]
        elif self.kind == "quantised":
            values = [self.low + self.step * round(s * self._num_steps) for s in shares]
        else:
            values = [self.low * (1 - s) + self.high * s for s in shares]
        return list(dict.fromkeys(self._shaped(value) for value in values))

    def perturb(self, value: Any, chance: Random) -> Any:
        """A value near this one: a fifth more or less, or the next choice (Jaderberg et al. 2017)."""
        if self.kind == "choice":
            place = self.choices.index(value) + chance.choice((-1, 1))
            return self.choices[min(max(place, 0), len(self.choices) - 1)]
        if self.kind == "quantised":
            moved = value + chance.choice((-1, 1)) * max(self.step, round(0.2 * abs(value) / self.step) * self.step)
        else:
            moved = value * chance.choice((0.8, 1.2))
        return self._shaped(min(max(moved, self.low), self.high))

    def scaled(self, by: float, *, is_whole: bool) -> Distribution:
        """The same in units of `by`, for ranges that are relative to the recipe."""
        if self.kind == "choice":
            values = tuple(round(choice * by) if is_whole else choice * by for choice in self.choices)
            return Distribution("choice", choices=tuple(dict.fromkeys(values)))
        kind = {"uniform": "int", "loguniform": "logint"}.get(self.kind, self.kind) if is_whole else self.kind
        low, high = self.low * by, self.high * by
        return Distribution(kind, round(low) if is_whole else low, round(high) if is_whole else high, self.step * by)

    def suggest(self, trial: Any, path: str) -> Any:
        """A value of an Optuna trial's choosing."""
        if self.kind == "choice":  # Optuna takes only plain values for choices, and warns of lists
            return json.loads(trial.suggest_categorical(path, self._words()))
        if self.is_whole:
            step = int(self.step) if self.kind == "quantised" else 1
            return trial.suggest_int(path, int(self.low), self._top, step=step, log=self.is_log)
        return trial.suggest_float(path, self.low, self._top, step=self.step or None, log=self.is_log)

    def to_optuna(self, value: Any) -> tuple[Any, Any]:
        """A value as Optuna keeps it, and Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return json.dumps(value), CategoricalDistribution(self._words())
        if self.is_whole:
            step = int(self.step) if self.kind == "quantised" else 1
            return int(value), IntDistribution(int(self.low), self._top, log=self.is_log, step=step)
        return float(value), FloatDistribution(self.low, self._top, log=self.is_log, step=self.step or None)

    def place(self, value: Any) -> float:
        """Where a value stands between the ends, from 0 to 1; for axes."""
        if self.kind == "choice":
            return self.choices.index(value) / max(1, len(self.choices) - 1)
        if self.low == self.high:
            return 0.5
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    @property
    def _num_steps(self) -> int:
        return math.floor((self.high - self.low) / self.step + 1e-9)

    @property
    def _top(self) -> Any:
        """The highest value there is; Optuna wants it to be a whole number of steps away."""
        return self._shaped(self.low + self._num_steps * self.step) if self.kind == "quantised" else self._high

    @property
    def _high(self) -> Any:
        return int(self.high) if self.is_whole else self.high

    def _words(self) -> tuple[str, ...]:
        return tuple(json.dumps(choice) for choice in self.choices)

    def _shaped(self, value: float) -> Any:
        # Twelve digits: 0.1 + 2 * 0.1 is to be 0.3 in a recipe that people read.
        value = min(max(value, self.low), self.high)
        return round(value) if self.is_whole else float(f"{value:.12g}")


def read_distribution(line: object) -> tuple[Distribution, Mapping[str, Any], bool]:
    """A distribution, the conditions under which the setting stands, and whether it is relative to the recipe.

    `{KIND: [...], when: {path: value or values}, relative: true}`, or a plain value, which is the only choice. Raises
    ValueError with what is wrong.
    """
    if not isinstance(line, dict):
        return Distribution("choice", choices=(line,)), {}, False
    kinds = [name for name in line if name not in ("when", "relative")]
    if len(kinds) != 1 or kinds[0] not in KINDS:
        raise ValueError(f"needs one of {', '.join(KINDS)}, such as {{uniform: [0, 0.5]}}; has {_listed(kinds)}")
    kind, when, relative = kinds[0], line.get("when") or {}, line.get("relative", False)
    if not isinstance(when, dict) or (not when and "when" in line):
        raise ValueError("`when` is a mapping of paths to values, such as {training.schedule.name: [cosine, linear]}")
    if type(relative) is not bool:
        raise ValueError(f"relative = {relative!r}: true makes the numbers factors of the recipe's own value; or false")
    return _of_kind(kind, line[kind]), when, relative


def _of_kind(kind: str, numbers: object) -> Distribution:
    if not isinstance(numbers, list) or not numbers:
        raise ValueError(f"{kind} = {numbers!r}: is a list, {_FORMS[kind]}")
    if kind == "choice":
        if len({json.dumps(number) for number in numbers}) < len(numbers):
            raise ValueError(f"choice = {numbers}: names a value twice")
        return Distribution(kind, choices=tuple(numbers))
    wanted = 3 if kind == "quantised" else 2
    values = [_number(number) for number in numbers]
    if len(values) != wanted or any(value is None for value in values):
        raise ValueError(f"{kind} = {numbers}: is {_FORMS[kind]}")
    low, high, step = (*[value for value in values if value is not None], 0.0)[:3]
    is_broken = kind in ("int", "logint") and not (low.is_integer() and high.is_integer())
    is_without_log = kind in ("loguniform", "logint") and low <= 0
    if low > high or is_broken or is_without_log or (kind == "quantised" and step <= 0):
        raise ValueError(f"{kind} = {numbers}: is {_FORMS[kind]}; the lower end stands first")
    return Distribution(kind, low, high, step)


def _number(value: object) -> float | None:
    """YAML takes 1e-3 for a word: its floats need a dot."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None


def _listed(names: list[str]) -> str:
    return ", ".join(map(str, names)) or "none"
