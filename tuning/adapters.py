"""A search's decisions in, what Ray Tune calls out: Searcher, TrialScheduler and Stopper, each a few lines.

Tune pickles all three beside its own state, from which nothing of ours is ever read; so they travel empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from ray.tune import Stopper
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from rejoinder.errors import TuningError
from rejoinder.recipe import TuningSection
from tuning.history import Trial
from tuning.objectives import Objective


class Conductor(Protocol):
    """Who decides; see `tuning.search`."""

    def next_config(self, tune_id: str) -> dict[str, Any] | str | None:
        """The configuration of Tune's next trial; None to wait, Searcher.FINISHED when there are no more."""

    def goes_on(self, tune_id: str, result: dict[str, Any]) -> bool:
        """What a trial reports, and whether it may go on."""

    def ended(self, tune_id: str, error: BaseException | None = None) -> None:
        """A trial is over; with an error when its process was lost."""

    def lost(self, tune_id: str, error: BaseException) -> None:
        """A trial's process was lost, and Tune itself begins the trial again."""

    def is_over(self) -> bool:
        """Whether all is to end now."""


class _Empty:
    """Is pickled without what it holds."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Samples(_Empty, Searcher):
    """Asks the conductor for configurations."""

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self._conductor = conductor

    def suggest(self, trial_id: str) -> Any:
        """One for a new trial."""
        return self._conductor.next_config(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The scheduler has told it already, with the error."""

    def save(self, checkpoint_path: str) -> None:
        """Its state is the search's history."""

    def restore(self, checkpoint_path: str) -> None:
        """Its state is the search's history."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Its state is the search's history."""


class Decisions(_Empty, FIFOScheduler):
    """Takes a trial's reports to the conductor."""

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self._conductor = conductor

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Goes on, or stops."""
        goes_on = self._conductor.goes_on(trial.trial_id, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """It has ended or was stopped."""
        self._conductor.ended(trial.trial_id)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Its process was lost. Tune has let go of a trial before it says so, where it will begin it again: after a
        loss that was announced, which it does not count."""
        error = trial.get_error() or TuningError("its process was lost")
        if trial.status == trial.ERROR:
            self._conductor.lost(trial.trial_id, error)
        else:
            self._conductor.ended(trial.trial_id, error)


class Ending(_Empty, Stopper):
    """Ends everything when the conductor says so."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """A single trial is the scheduler's business."""
        return False

    def stop_all(self) -> bool:
        """Asked many times a second."""
        return self._conductor.is_over()


class Judge:
    """Who is stopped, by Tune's own schedulers. What it heard of earlier sessions' trials it hears again."""

    def __init__(self, settings: TuningSection, objective: Objective, num_steps: int) -> None:
        self._metric, self._num_steps, self._seed = objective.metric, num_steps, settings.seed
        self._inner = _scheduler(settings, objective, num_steps)
        self._known: dict[int, _Judged] = {}

    def hear(self, trial: Trial) -> None:
        """All of a trial that an earlier session has made."""
        for point in trial.points:
            self.goes_on(trial.number, point.step, point.metrics)

    def goes_on(self, number: int, step: int, metrics: dict[str, float]) -> bool:
        """Whether a trial with these metrics may make further steps. At the last step it ends by itself."""
        if self._inner is None or self._metric not in metrics:
            return True
        judged = self._known.get(number)
        if judged is None:
            judged = self._known[number] = _Judged(f"trial-{number}")
            _seeded(f"{self._seed}/{number}", lambda: self._inner.on_trial_add(None, judged))
        said = self._inner.on_trial_result(None, judged, {"step": step, **metrics})
        return bool(said != TrialScheduler.STOP or step >= self._num_steps)


class _Judged:
    """As much of a trial as Tune's schedulers look at."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def _scheduler(settings: TuningSection, objective: Objective, num_steps: int) -> Any:
    """Tune's. `max_t` is never reached: at the last step a trial ends by itself, and is recorded as finished."""
    common = {"time_attr": "step", "metric": objective.metric, "mode": objective.mode}
    grace = min(settings.grace_steps, num_steps)
    if settings.scheduler == "none" or settings.search == "pbt":
        return None
    if settings.scheduler == "median":
        return MedianStoppingRule(**common, grace_period=grace, min_time_slice=float("inf"))  # it is never to pause
    num_brackets = 1
    if settings.scheduler == "hyperband":
        while num_brackets < settings.num_brackets and grace * settings.reduction_factor**num_brackets <= num_steps:
            num_brackets += 1
    return ASHAScheduler(
        **common, max_t=num_steps + 1, grace_period=grace, reduction_factor=settings.reduction_factor,
        brackets=num_brackets,
    )  # fmt: skip


def _seeded(seed: str, call: Callable[[], None]) -> None:
    """Tune draws a trial's bracket by numpy's common generator."""
    state = np.random.get_state()
    np.random.seed(int.from_bytes(seed.encode(), "big") % 2**32)
    try:
        call()
    finally:
        np.random.set_state(state)
