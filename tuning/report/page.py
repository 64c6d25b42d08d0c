"""A search in, its page out: one HTML text that loads nothing from elsewhere and runs nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rejoinder import console
from rejoinder.recipe import Recipe
from rejoinder.shards.report.markup import (
    Bar,
    Html,
    figure,
    file_text,
    folded,
    identifier,
    number,
    percent,
    section,
    table,
    text,
)
from rejoinder.shards.report.style import CSS
from tuning.history import FAILED, FINISHED, RUNNING, STOPPED, History, Trial
from tuning.importance import importance
from tuning.objectives import Objective
from tuning.report.drawing import STYLE, curves, front, twice
from tuning.report.parallel import parallel
from tuning.space import Space, value_at, with_best


def render(recipe: Recipe, space: Space, objectives: Sequence[Objective], history: History) -> str:
    """The page of a search as it stands, over or not."""
    trials, best = history.trials, history.best(objectives)
    on_front = [trial.number for trial in history.front(objectives)]
    best_number = None if best is None else best.number
    unit = "replies" if space.is_of_decoding else "step"
    caption = f"{objectives[0].metric} by {unit}; what is far off is drawn at the edge"
    by_step = twice(lambda narrow: curves(trials, objectives[0], best_number, unit, is_narrow=narrow))
    lines = twice(lambda narrow: parallel(space, trials, objectives, best_number, is_tall=narrow))
    parts: list[tuple[str, str, list[str]]] = [
        ("best", "The best recipe", _best(recipe, space, objectives, best)),
        (
            "curves", "As replies were made" if space.is_of_decoding else "Learning curves",
            [_keys(), figure(caption, by_step)],
        ),
        (
            "settings", "Settings side by side",
            [_keys(), figure("One line a trial, from its settings to what came of them", lines)],
        ),
        ("importance", "What mattered", _importance(space, objectives, trials)),
        *([("front", "Pareto front", _front(trials, objectives, on_front))] if len(objectives) > 1 else []),
        ("cost", "What it cost", _cost(history, objectives, on_front, space)),
    ]  # fmt: skip
    links = "".join(f'<a href="#{name}">{text(title)}</a>' for name, title, _ in parts)
    sections = "".join(section(name, title, *inside) for name, title, inside in parts)
    folder, units = text(history.folder.name), "replies" if space.is_of_decoding else "steps"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Search {folder}</title><style>{CSS}{STYLE}</style></head><body>"
        f"<header><p class=quiet>Search <code>{folder}</code></p><h1>{_headline(objectives, best, trials)}</h1>"
        f'<nav aria-label="Parts of this page">{links}</nav>{_tiles(history, units)}</header><main>{sections}</main>'
        f"<footer>Space <code>{text(space.name)}</code>, search {text(recipe.tuning.search)}, scheduler "
        f"{text(recipe.tuning.scheduler)}, seed {recipe.tuning.seed}. Every event is a line of trials.jsonl beside "
        "this page.</footer></body></html>\n"
    )


def _headline(objectives: Sequence[Objective], best: Trial | None, trials: Sequence[Trial]) -> Html:
    if best is None or (point := best.best(objectives)) is None:
        return Html(f"None of {len(trials)} trials came to a result")
    shown = ", ".join(f"{text(one.metric)} {point.metrics[one.metric]:.4g}" for one in objectives)
    return Html(f"<em>{shown}</em> in trial {best.number}, the best of {len(trials)}")


def _tiles(history: History, unit: str) -> Html:
    trials = history.trials
    of_state = {state: sum(trial.state == state for trial in trials) for state in (FINISHED, STOPPED, FAILED, RUNNING)}
    states = ", ".join(f"{count} {state}" for state, count in of_state.items() if count)
    elapsed_s = history.earlier_s + history.session_s if history.is_open else history.earlier_s
    tiles = [
        (str(len(trials)), f"trials: {states}"),
        *([(number(history.num_tokens), "tokens of batches")] if history.num_tokens else []),
        (number(sum(trial.points[-1].step - trial.first_step for trial in trials if trial.points)), unit),
        (console.duration(sum(trial.seconds(time.time()) for trial in trials)), "of all trials together"),
        (console.duration(elapsed_s), "from begin to end"),
    ]
    made = "".join(f"<div><b>{text(value)}</b><span>{text(of)}</span></div>" for value, of in tiles)
    return Html(f"<div class=tiles>{made}</div>")


def _keys() -> Html:
    key = "<span class='key' style='background:var(--{})'></span>{} "
    names = (("valid", "the best"), ("train", "finished"), ("out", "stopped or failed"))
    return Html(f"<p class=quiet>{''.join(key.format(colour, name) for colour, name in names)}</p>")


def _best(recipe: Recipe, space: Space, objectives: Sequence[Objective], best: Trial | None) -> list[str]:
    if best is None:
        return [Html("<p>There is none yet.</p>")]
    rows = [[_path(path), identifier(_shown(value)), identifier(_shown(value_at(recipe, path)))]
            for path, value in best.sample.items()]  # fmt: skip
    jobs = ("chat", "deploy") if space.is_of_decoding else ("train",)
    ready = " and ".join(f"<code>python jobs/{job}.py</code>" for job in jobs)
    yaml = with_best(recipe, space, best.sample).to_yaml()
    return [
        table(["setting", "best", "recipe"], rows, "settings"),
        Html(f"<p class=quiet>As a whole it stands in best.yaml, ready for {ready}.</p>"),
        folded("best.yaml", file_text(yaml)),
    ]


def _importance(space: Space, objectives: Sequence[Objective], trials: Sequence[Trial]) -> list[str]:
    found = importance(space, objectives, trials)
    if found is None:
        return [Html("<p>Too few trials to say.</p>")]
    most = max(found.shares.values()) or 1
    rows = [[_path(path), Bar(share / most, "valid"), percent(share)] for path, share in found.shares.items()]
    return [
        table(["setting", "", "of the differences"], rows),
        Html(
            "<p class=quiet>What each setting by itself explains of the differences in "
            f"{text(objectives[0].metric)} at step {found.at_step:,}, to which {found.num_trials} trials came (fANOVA, "
            "a forest of trees). A setting that only some trials have is judged among those, so the shares need not "
            "come to 100 %. With few trials they say little; what settings do together is in nobody's share.</p>"
        ),
    ]


def _front(trials: Sequence[Trial], objectives: Sequence[Objective], on_front: Sequence[int]) -> list[str]:
    rows = []
    for one in on_front:
        point = trials[one].best(objectives)
        assert point is not None
        rows.append([f"trial {one}", *(f"{point.metrics[objective.metric]:.5g}" for objective in objectives)])
    return [
        Html("<div class=side>"),
        figure("No trial is better in everything than those on the line", front(trials, objectives, on_front)),
        table(["", *(identifier(objective.metric) for objective in objectives)], rows),
        Html("</div>"),
    ]


def _cost(history: History, objectives: Sequence[Objective], on_front: Sequence[int], space: Space) -> list[str]:
    trials = history.trials
    most = max((trial.seconds(time.time()) for trial in trials), default=0) or 1
    rows: list[list[Any]] = []
    for trial in trials:
        point, seconds = trial.best(objectives), trial.seconds(time.time())
        mark = " ★" if trial.number in on_front else ""
        rows.append(
            [
                f"{trial.number}{mark}", trial.state,
                *(f"{point.metrics[one.metric]:.4g}" if point else "–" for one in objectives),
                Bar(seconds / most, "train" if trial.state == FINISHED else "out"), console.duration(seconds),
                f"{trial.points[-1].step if trial.points else 0:,}",
                *([] if space.is_of_decoding else [number(trial.num_tokens)]),
            ]
        )  # fmt: skip
    measured = [identifier(one.metric) for one in objectives]
    unit = "replies" if space.is_of_decoding else "step"
    head = ["trial", "state", *measured, "", "time", unit, *([] if space.is_of_decoding else ["tokens"])]
    samples = "".join(
        f"<li>trial {trial.number}: {_settings(trial)}"
        + (f" — <b>{text(trial.state)}</b>: {text(trial.reason)}" if trial.reason else "")
        for trial in trials
    )
    return [table(head, rows, "cost"), folded("Settings and reasons", Html(f"<ul>{samples}</ul>"), count=len(trials))]


def _path(path: str) -> Html:
    """That may be broken after its dots, too."""
    return Html(identifier(path).replace(".", ".<wbr>"))


def _settings(trial: Trial) -> Html:
    return text(", ".join(f"{path} = {_shown(value)}" for path, value in trial.sample.items()))


def _shown(value: object) -> str:
    if value is None:  # the recipe's own model has no such setting
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
