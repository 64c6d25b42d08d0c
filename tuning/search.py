"""Recipe, space and prepared set in, the best trial out: the conductor of a search on Ray Tune.

Every trial is a run of its own with its own placement group. A trial's driver takes memory and no CPU, and no more
trials run at a time than the cluster has room for with all their workers: drivers cannot starve workers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from rejoinder import cluster
from rejoinder.errors import RecipeError, TuningError
from rejoinder.recipe import Recipe
from rejoinder.storage import Folder, Storage
from rejoinder.training.stopping import Signals, Stopped, run_while_signals_are_heard, stop_signals
from tuning import population, searchers
from tuning.adapters import Decisions, Ending, Judge, Samples
from tuning.display import Display
from tuning.history import FAILED, FINISHED, RUNNING, STOPPED, History, Trial, has_number
from tuning.objectives import OF_DECODING, OF_TRAINING, Objective
from tuning.reports import GROUP, free, groups
from tuning.space import Space
from tuning.trial import FACTS, FAILURE, Work, folder_of, reason, recipe_of

DRIVER_MEMORY_BYTES = 256 * 2**20
"""What a trial's driver is placed by."""
_CUT_OFF = "the search's budget was spent"
"""Why trials ended that go on as soon as there is more of it."""


@dataclass
class Search:
    """A search as its driver sees it; Tune asks it, by way of `tuning.adapters`."""

    recipe: Recipe
    """With the trials' number of steps."""
    space: Space
    objectives: Sequence[Objective]
    history: History
    num_concurrent: int
    num_trials: int
    num_steps: int
    """The last step of a trial; of a decoding trial its exchanges."""
    signals: Signals = field(default_factory=Signals)
    spent: str | None = None
    """Which budget is, in words."""

    def __post_init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._groups: dict[str, list[str]] = {}
        self._is_tried_out = False
        self._judge = Judge(self.recipe.tuning, self.objectives[0], self.num_steps)
        self._verdicts: dict[int, tuple[str, str, dict[str, Any]]] = {}
        for trial in self.history.trials:
            if trial.state == RUNNING and trial.until_step and trial.first_step + trial.num_steps >= trial.until_step:
                self.history.end(trial.number, FINISHED)  # the driver was lost before it noted that
        has_more = not self.is_over()  # than an earlier session had, which cut trials off
        self._left_over = [
            trial.number for trial in self.history.trials if trial.state == RUNNING or (has_more and _is_cut_off(trial))
        ]
        for trial in self.history.trials:
            self._judge.hear(trial)
        self.display = Display(self)

    @property
    def running(self) -> list[Trial]:
        """Trials that run now."""
        return [self.history.trials[number] for number in self._numbers.values()]

    def next_config(self, tune_id: str) -> dict[str, Any] | str | None:
        """The next trial: first those that an interruption left or that were lost, then new ones."""
        if len(self._numbers) >= self.num_concurrent:
            return None
        self._clear()
        while (work := self._next_work()) is not None:
            if isinstance(work, str):
                return None if self._numbers else work  # one that runs may yet be lost, and is then to begin again
            number = work.number
            try:
                batch_tokens = recipe_of(self.recipe, work.sample).training.batch_tokens
            except RecipeError as error:  # only a grid asks for what was not tried on the recipe before
                self._begin(work, 0)
                self.history.end(number, FAILED, reason(error))
                continue
            self._begin(work, 0 if self.space.is_of_decoding else batch_tokens)
            self._numbers[tune_id] = number
            self.display.begun(self.history.trials[number])
            return {"work": work.to_json()}
        return None

    def goes_on(self, tune_id: str, result: dict[str, Any]) -> bool:
        """Records what a trial reports. False stops it."""
        if (number := self._numbers.get(tune_id)) is None:
            return False
        if GROUP in result:
            self._groups.setdefault(tune_id, []).append(str(result[GROUP]))
            return True
        trial = self.history.trials[number]
        if FAILURE in result:
            self._verdicts[number] = FAILED, str(result[FAILURE]), {}
            return True  # it is about to end
        facts = {key.removeprefix(f"{FACTS}/"): value for key, value in result.items() if key.startswith(f"{FACTS}/")}
        if facts:
            self._verdicts[number] = FINISHED, "", facts
            return True
        step = result.get("step")
        if step is None or (trial.points and step <= trial.points[-1].step):
            return True  # Tune tells the last one again, and a restarted run may validate the same step again
        metrics = {name: float(value) for name, value in result.items() if _is_metric(name, value)}
        self.history.point(number, int(step), metrics | {"s": trial.seconds(time.time())})
        first, point = self.objectives[0], trial.points[-1]
        self.display.reported(trial)
        if not has_number(point, first.metric):
            self._verdicts[number] = FAILED, f"{first.metric} is {metrics.get(first.metric)} at step {step}", {}
            return False
        if trial.until_step is not None and step >= trial.until_step:
            self._verdicts[number] = FINISHED, "", {}
            return step >= self.num_steps  # at the very end it ends by itself
        if not self._judge.goes_on(number, int(step), metrics):
            self._verdicts[number] = STOPPED, f"{self.recipe.tuning.scheduler} at step {step}", {}
            return False
        return True

    def ended(self, tune_id: str, error: BaseException | None = None) -> None:
        """Records a trial's end, and sees to it that its workers hold nothing any more.

        One whose process was lost before its end was known begins again, from its last checkpoint, unless it was lost
        too often.
        """
        self._free(tune_id)
        if (number := self._numbers.pop(tune_id, None)) is None:
            return
        trial, verdict = self.history.trials[number], self._verdicts.get(number)
        if verdict is None and error is not None and trial.num_losses < self.recipe.training.max_restarts:
            self._lost(number, error)
            self._left_over.append(number)
            return
        if verdict is None:
            verdict = FAILED, "its process ended without a word" if error is None else reason(error), {}
        if verdict[0] == FINISHED and not trial.points:
            verdict = FAILED, "it measured nothing", {}
        self.history.end(number, *verdict)
        self.display.ended(trial)

    def lost(self, tune_id: str, error: BaseException) -> None:
        """Records that Tune begins a trial again."""
        self._free(tune_id)
        if (number := self._numbers.get(tune_id)) is not None:
            self._lost(number, error)

    def is_over(self) -> bool:
        """Whether a budget is spent or somebody wants it to end."""
        settings = self.recipe.tuning
        if self.spent is None and settings.max_wall_s and self.elapsed_s >= settings.max_wall_s:
            self.spent = f"tuning.max_wall_s = {settings.max_wall_s:g}"
        if self.spent is None and settings.max_tokens and self.history.num_tokens >= settings.max_tokens:
            self.spent = f"tuning.max_tokens = {settings.max_tokens:,}"
        return self.spent is not None or self.signals.received is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds of all its sessions."""
        return self.history.earlier_s + self.history.session_s

    @property
    def has_work(self) -> bool:
        """Whether any trial is left to be made."""
        return self._next_work(peek=True) != Searcher.FINISHED and not self.is_over()

    def run(self, trial_function: Callable[..., None]) -> None:
        """Runs trials until there are no more, or a budget is spent. Raises Stopped when somebody wants it to end."""
        if "REJOINDER_DEBUG" not in os.environ:  # what it says of lost trials, with tracebacks, the display says too
            logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        ray_name, groups_before = f"{self.history.folder.name}-{int(time.time())}", groups()
        kept = "" if self.space.is_of_decoding else ", whose last checkpoints are kept"
        cpus_of_driver = 1 if self.space.is_of_decoding else 0  # it writes the replies itself
        ray_storage = Storage(self.recipe).ray
        tuner = tune.Tuner(
            tune.with_resources(trial_function, {"memory": DRIVER_MEMORY_BYTES, "cpu": cpus_of_driver}),
            tune_config=tune.TuneConfig(
                num_samples=-1, search_alg=Samples(self), scheduler=Decisions(self), reuse_actors=False,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name=ray_name, storage_path=str(ray_storage), verbose=0, stop=Ending(self),
                failure_config=tune.FailureConfig(max_failures=0),  # `ended` begins them again
            ),
        )  # fmt: skip
        try:
            with stop_signals(f"ending the trials{kept}") as self.signals, self.display:
                run_while_signals_are_heard(tuner.fit)
            for group in groups() - groups_before:  # of trials that ended with the search, told of or not
                free(group)
        except Exception as error:
            for cause in _causes(error):
                if isinstance(cause, TuningError):  # Tune wraps what our own decisions raise
                    raise cause from None
            raise
        finally:
            shutil.rmtree(ray_storage / ray_name, ignore_errors=True)
        if self.signals.received:
            ended = sum(trial.state != RUNNING for trial in self.history.trials)
            raise Stopped(
                f"stopped by {self.signals.received}: {ended} of {self.num_trials} trials have ended and are kept in "
                f"{self.history.folder}; the same command goes on from there"
            )
        self.cut_off()

    def cut_off(self) -> None:
        """Ends what ran still when the budget was spent; it goes on when there is more."""
        for trial in self.history.trials:
            if trial.state == RUNNING:
                self.history.end(trial.number, STOPPED, f"{_CUT_OFF}: {self.spent}")

    def _next_work(self, *, peek: bool = False) -> Work | str | None:
        """Work, FINISHED, or None to wait."""
        trials, tuning = self.history.trials, self.recipe.tuning
        if self._left_over:
            trial = trials[self._left_over[0] if peek else self._left_over.pop(0)]
            return Work(trial.number, trial.sample, trial.parent, trial.first_step)
        if len(trials) >= self.num_trials:
            return str(Searcher.FINISHED)
        if tuning.search == "pbt":
            segment = population.next_segment(self.space, self.recipe, self.objectives, trials)
            if segment is None:
                return None
            self._until = segment.until_step
            first_step = 0 if segment.parent is None else trials[segment.parent].points[-1].step
            return Work(len(trials), segment.sample, segment.parent, first_step)
        sample = None
        if not self._is_tried_out:
            sample = searchers.next_sample(self.space, tuning, self.objectives, trials)
        self._is_tried_out = sample is None
        return str(Searcher.FINISHED) if sample is None else Work(len(trials), sample, None)

    def _free(self, tune_id: str) -> None:
        for group in self._groups.pop(tune_id, []):
            free(group)

    def _lost(self, number: int, error: BaseException) -> None:
        self._verdicts.pop(number, None)
        self.history.lose(number, reason(error))
        self.display.lost(self.history.trials[number])

    def _begin(self, work: Work, batch_tokens: int) -> None:
        known = self.history.trials[work.number] if work.number < len(self.history.trials) else None
        until = known.until_step if known else getattr(self, "_until", None)
        self.history.begin(work.number, work.sample, batch_tokens, work.parent, until)

    def _clear(self) -> None:
        """Checkpoints of trials that will not be asked for again. A population may go on from any."""
        if self.recipe.tuning.search == "pbt":
            return
        self.clear_all_but({trial.number for trial in self.history.front(self.objectives)}, settled_s=60)

    def clear_all_but(self, kept: set[int], settled_s: float = 0) -> None:
        """Deletes the checkpoints of ended trials, if they ended long enough ago for their workers to be gone."""
        for trial in self.history.trials:
            folder = folder_of(self.history.folder, trial.number)
            if trial.state == RUNNING or trial.number in kept or _is_cut_off(trial) or not folder.directory.exists():
                continue
            ended_s = trial.facts.get("recorded_s") or _changed_s(folder)
            if time.time() - ended_s >= settled_s:
                folder.remove()


def search_name(recipe: Recipe, space: Space, objectives: Sequence[Objective], basis: str) -> str:
    """The same for the same search, whatever its budget: a search that was interrupted, or is to be longer, is found.

    `basis` is the fingerprint of what it works on: the prepared set, or the checkpoint.
    """
    budget = {"num_trials", "max_wall_s", "max_tokens", "max_concurrent_trials"}
    content = {
        "basis": basis, "space": space.plain(), "objectives": [one.metric for one in objectives],
        "tuning": recipe.tuning.model_dump(mode="json", exclude=budget),
        "recipe": recipe.model_dump(mode="json", include={"model", "training", "decoding"}),
        "evaluation": recipe.evaluation.batch_tokens,
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
    return f"{recipe.name}-{space.name}-{digest}"


def num_concurrent(recipe: Recipe, *, workers: int, cpus: int, gpus: int) -> int:
    """How many whole trials the cluster has room for. Raises ClusterError where there is room for none."""
    fitting = cluster.room(recipe, is_whole=True) // workers
    if fitting == 0:
        require_room(recipe, workers, cpus, gpus, cluster.require)
    return max(1, min(fitting, recipe.tuning.max_concurrent_trials or fitting))


def require_room(recipe: Recipe, workers: int, cpus: int, gpus: int, ask: Callable[..., None]) -> None:
    """Raises ClusterError where one trial has no room; `ask` the cluster, or this machine before it has one."""
    what = f"one trial ({workers} worker{'s' if workers > 1 else ''} of {cpus} CPU)"
    ask(recipe, workers * cpus, workers * gpus, what)


def folder_of_search(recipe: Recipe, name: str) -> Folder:
    """Where a search keeps its history, its report and its trials."""
    return Storage(recipe).tuning / name


def _is_metric(name: str, value: object) -> bool:
    """Tune adds some of its own to what a trial reports."""
    ours = name.startswith("valid_") or name in OF_TRAINING or name in OF_DECODING
    return ours and isinstance(value, int | float)


def _is_cut_off(trial: Trial) -> bool:
    return trial.state == STOPPED and trial.reason.startswith(_CUT_OFF)


def _changed_s(folder: Folder) -> float:
    return folder.directory.stat().st_mtime


def _causes(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
