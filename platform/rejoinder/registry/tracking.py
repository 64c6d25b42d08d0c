"""A training run in, one MLflow run out: opened by the driver, written by rank 0, the same one over all restarts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Param, RunTag
from mlflow.exceptions import MlflowException

from rejoinder import cluster
from rejoinder.recipe import Recipe
from rejoinder.registry.connection import open_client, store_errors, tracking_uri
from rejoinder.registry.delivery import Delivery, Kept, hand_over, in_short, waiting_file
from rejoinder.registry.lineage import installed
from rejoinder.registry.origin import CODE_TAGS, code_tags
from rejoinder.registry.recorder import Recorder, last_steps
from rejoinder.registry.system_metrics import SystemMetrics
from rejoinder.shards import Prepared
from rejoinder.storage import Storage

RUN_TAG = "rejoinder.run"
PARENT_TAG = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"
_MAX_PARAM_CHARACTERS = 500  # what every MLflow store takes
_MAX_PARAMS = 100  # of one request, says every MLflow store
_MAX_TAG_CHARACTERS = 5_000
_CUT = " … (cut; see recipe.yaml)"
_CLOSE_TIMEOUT_S = 15.0
_PATIENCE_S = 60.0
log = logging.getLogger(__name__)


@dataclass
class MlflowTracker:
    """Records into one MLflow run. Only addresses travel; the process that records first starts a thread for it."""

    uri: str
    run_id: str
    waiting: Path
    """The file of what the store does not have yet."""
    begun_ms: int
    _delivery: Delivery | None = field(default=None, compare=False)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """A point for each metric, in the store seconds later. Takes microseconds, also when the store is away."""
        self._deliver({"ms": _now_ms(), "step": step, "metrics": metrics})

    def samples(self, make: Callable[[], list[dict[str, str]]], step: int) -> None:
        """Rows for the run's table of replies, made now, in the store seconds later."""
        try:
            rows = make()
        except Exception as error:
            log.warning("step %d: no samples were made: %s", step, in_short(error))
            return
        if rows:
            self._deliver({"ms": _now_ms(), "step": step, "samples": rows})

    def close(self) -> None:
        """Waits some seconds until the store has all. What it does not take waits for the driver, or the next run."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.close(_CLOSE_TIMEOUT_S)

    def _deliver(self, entry: dict[str, Any]) -> None:
        if self._delivery is None:
            recorder = Recorder(self.uri, self.run_id)
            self._delivery = Delivery(recorder, self.waiting, sample=SystemMetrics(self.begun_ms))
        self._delivery.put(entry)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_delivery": None}


@contextmanager
def tracked_run(
    recipe: Recipe, prepared: Prepared, run_name: str, *, fresh: bool = False, parent_run_id: str | None = None,
    title: str | None = None, more: Collection[str] = (),
) -> Iterator[MlflowTracker]:  # fmt: skip
    """The MLflow run of a training run: found by its name when it was begun before, else begun now.

    `fresh` begins another one of the same name. Under a `parent_run_id` it is shown as that run's child. Its page and
    its line in MLflow's tables say `title`, where the name is too long to be read. Its parameters are the settings that
    decide on training, and those of the `more` sections. It is FINISHED when the block ends well, KILLED after Ctrl-C,
    else FAILED; then its curves are drawn. Raises RegistryError when the store cannot be reached at the beginning; one
    that is away later is waited for at the end, for a minute at most.
    """
    uri, client = tracking_uri(recipe), open_client(recipe)
    with store_errors(uri):
        found = None if fresh else _find(client, recipe, run_name)
        run_id = found or _begin(client, recipe, prepared, run_name, title, more)
        if parent_run_id is not None:
            _put_under(client, run_id, parent_run_id)
        client.update_run(run_id, status="RUNNING")
        begun_ms, steps_before = client.get_run(run_id).info.start_time, last_steps(client, run_id)
    tracker, status = MlflowTracker(uri, run_id, waiting_file(Storage(recipe).mlflow, run_id), begun_ms), "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close()
        _end(client, tracker, status, steps_before)


@dataclass
class Ended:
    """What became of a trial."""

    status: str
    """MLflow's word: FINISHED, KILLED or FAILED."""
    reason: str = ""
    """Why it was stopped, or failed."""


@contextmanager
def tracked_search(
    recipe: Recipe, prepared: Prepared, name: str, ended: Callable[[], dict[str, Ended]] = dict,
    title: str | None = None,
) -> Iterator[MlflowTracker]:  # fmt: skip
    """The MLflow run of a search, to be the parent of its trials' runs. Trials that were stopped end with it.

    `ended` tells what became of each trial by its run's name, when the block is left; one that it does not know was
    stopped.
    """
    with tracked_run(recipe, prepared, name, title=title, more=["tuning"]) as tracker:
        client = MlflowClient(tracking_uri=tracker.uri)
        with store_errors(tracker.uri):
            _tag(client, tracker.run_id, code_tags())  # of a search that goes on, the code that it goes on with
        try:
            yield tracker
        finally:
            with suppress(MlflowException):  # what is away is said when the search's own run is ended
                _end_trials(client, recipe, tracker, ended())


def _put_under(client: MlflowClient, run_id: str, parent_run_id: str) -> None:
    """A trial's own process knows neither the checkout nor its commit: Ray has sent it the packages alone."""
    of_parent = client.get_run(parent_run_id).data.tags
    code = {name: of_parent[name] for name in CODE_TAGS if name in of_parent}
    _tag(client, run_id, {PARENT_TAG: parent_run_id, **code})
    if NOTE_TAG in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, NOTE_TAG)  # why it had ended, before it went on


def _tag(client: MlflowClient, run_id: str, tags: dict[str, str]) -> None:
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _end_trials(client: MlflowClient, recipe: Recipe, parent: MlflowTracker, ended: dict[str, Ended]) -> None:
    """A scheduler stops a trial where it stands, with its last points undelivered and nobody to end its run.

    Why one ended stands as its run's note, which MLflow's page of the run shows.
    """
    trials = client.search_runs(
        [_experiment_id(client, recipe)], f"tags.`{PARENT_TAG}` = '{parent.run_id}'", max_results=50_000
    )
    for trial in trials:
        run_id, outcome = trial.info.run_id, ended.get(trial.data.tags.get(RUN_TAG, ""), Ended("KILLED"))
        if trial.info.status == "RUNNING":
            hand_over(Kept(waiting_file(Storage(recipe).mlflow, run_id)), Recorder(parent.uri, run_id))
            client.set_terminated(run_id, outcome.status)
        if outcome.reason and trial.data.tags.get(NOTE_TAG) != outcome.reason:
            client.set_tag(run_id, NOTE_TAG, outcome.reason[:_MAX_TAG_CHARACTERS])


def _end(client: MlflowClient, tracker: MlflowTracker, status: str, steps_before: dict[str, int]) -> None:
    """What the workers could not deliver, the run's pictures and its status."""
    kept, recorder, deadline_s = Kept(tracker.waiting), Recorder(tracker.uri, tracker.run_id), _deadline()
    has_said = False
    while (error := hand_over(kept, recorder)) and status != "KILLED" and time.monotonic() < deadline_s:
        if not has_said:
            log.warning("MLflow at %s does not answer; the end of the run waits for it, a minute at most", tracker.uri)
        has_said = True
        time.sleep(1)
    if error:
        log.warning(
            "MLflow at %s does not answer (%s): %d records of this training wait in %s; the same command delivers them",
            tracker.uri, in_short(error), len(kept.lines), kept.file,
        )  # fmt: skip
        return
    try:
        if last_steps(client, tracker.run_id) != steps_before:
            _draw(client, tracker.run_id)
        client.set_terminated(tracker.run_id, status)
    except MlflowException as error:
        log.warning("the end of the run was not recorded in MLflow at %s: %s", tracker.uri, error)


def _deadline() -> float:
    return time.monotonic() + _PATIENCE_S


def _draw(client: MlflowClient, run_id: str) -> None:
    from rejoinder.registry import plots  # not above: workers need no matplotlib

    histories = {
        metric: sorted((point.step, point.value) for point in client.get_metric_history(run_id, metric))
        for metric in plots.metrics_drawn()
    }
    for name, figure in plots.draw(histories).items():
        client.log_figure(run_id, figure, f"plots/{name}.png")


def _find(client: MlflowClient, recipe: Recipe, run_name: str) -> str | None:
    """The newest one of this name."""
    found = client.search_runs([_experiment_id(client, recipe)], f"tags.`{RUN_TAG}` = '{run_name}'", max_results=1)
    return found[0].info.run_id if found else None


def _begin(
    client: MlflowClient, recipe: Recipe, prepared: Prepared, run_name: str, title: str | None, more: Collection[str]
) -> str:
    run = client.create_run(_experiment_id(client, recipe), run_name=title or run_name)
    run_id: str = run.info.run_id
    sections = {"data", "text", "model", "training", "scaling", "decoding", *more}  # with all that a search may change
    params = as_params(flatten(recipe.model_dump(mode="json", include=sections)))
    tags = {
        "rejoinder.data": prepared.manifest.fingerprint,
        **code_tags(),
        **{f"version.{k}": v for k, v in cluster.versions().items()},
    }
    _tag(client, run_id, tags)
    for first in range(0, len(params), _MAX_PARAMS):
        client.log_batch(run_id, params=params[first : first + _MAX_PARAMS])
    client.log_text(run_id, recipe.to_yaml(), "recipe.yaml")
    client.log_text(run_id, prepared.manifest.model_dump_json(indent=1), "data_manifest.json")
    client.log_text(run_id, installed(), "requirements.lock")
    _tag(client, run_id, {RUN_TAG: run_name})  # last: who is killed before begins another, and this one is never found
    return run_id


def _experiment_id(client: MlflowClient, recipe: Recipe) -> str:
    experiment = client.get_experiment_by_name(recipe.registry.experiment)
    assert experiment is not None  # open_client made it
    experiment_id: str = experiment.experiment_id
    return experiment_id


def as_params(settings: dict[str, str]) -> list[Param]:
    """Settings as the store takes them: a value that is too long is cut, with a mark."""
    kept = _MAX_PARAM_CHARACTERS - len(_CUT)
    return [
        Param(name, value if len(value) <= _MAX_PARAM_CHARACTERS else value[:kept] + _CUT)
        for name, value in settings.items()
    ]


def flatten(tree: Any, path: str = "") -> dict[str, str]:
    """{"a": {"b": [1]}} -> {"a.b.0": "1"}: settings as MLflow parameters."""
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        items = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return {path: str(tree)}
    flat: dict[str, str] = {}
    for key, value in items:
        flat |= flatten(value, f"{path}.{key}" if path else key)
    return flat


def _now_ms() -> int:
    return int(time.time() * 1000)
