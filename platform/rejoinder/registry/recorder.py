"""Entries in, points and tables of one MLflow run out: in batches, and none twice."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

from rejoinder.registry.connection import quieten

SAMPLES = "samples.json"
_MAX_POINTS = 1000  # of one request, says every MLflow store
_TABLES_TAG = "mlflow.loggedArtifacts"


class Recorder:
    """Writes to one run. MLflow can neither change nor delete a point, so the first value of a step stands.

    Steps that were lost in an interruption are made again and come to the same numbers; they are not recorded twice.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        """Asks nothing of the store yet."""
        self.uri, self._run_id = uri, run_id
        self._client: MlflowClient | None = None
        self._last_steps: dict[str, int] | None = None

    def record(self, entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Exception | None]:
        """Those that the store did not take, and why. Never raises."""
        try:
            if self._client is None:
                quieten()
                self._client = MlflowClient(tracking_uri=self.uri)
            if self._last_steps is None:
                self._last_steps = last_steps(self._client, self._run_id)
            self._record_points(self._client, self._last_steps, entries)
        except Exception as error:  # whatever it is, the training has nothing to do with it
            self._last_steps = None  # a request that failed may have been carried out
            return entries, error
        tables = [entry for entry in entries if "samples" in entry]
        try:
            if tables:
                self._record_samples(self._client, tables)
        except Exception as error:
            return tables, error
        return [], None

    def _record_points(self, client: MlflowClient, last: dict[str, int], entries: Iterable[dict[str, Any]]) -> None:
        points = []
        for entry in entries:
            for name, value in entry.get("metrics", {}).items():
                if entry["step"] > last.get(name, -1):
                    points.append(Metric(name, value, entry["ms"], entry["step"]))
                    last[name] = entry["step"]
        for first in range(0, len(points), _MAX_POINTS):
            client.log_batch(self._run_id, metrics=points[first : first + _MAX_POINTS])

    def _record_samples(self, client: MlflowClient, entries: list[dict[str, Any]]) -> None:
        """Puts rows into the run's table, in the form in which MLflow shows tables; of a step the newest stand."""
        of_step = {entry["step"]: entry["samples"] for entry in entries}
        rows = [row for row in self._rows_there(client) if row["step"] not in of_step]
        rows += [{"step": step, **row} for step, samples in of_step.items() for row in samples]
        rows.sort(key=lambda row: row["step"])
        columns = list(rows[0])
        table = {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}
        client.log_text(self._run_id, json.dumps(table, ensure_ascii=False), SAMPLES)
        client.set_tag(self._run_id, _TABLES_TAG, json.dumps([{"path": SAMPLES, "type": "table"}]))

    def _rows_there(self, client: MlflowClient) -> list[dict[str, Any]]:
        if not any(artifact.path == SAMPLES for artifact in client.list_artifacts(self._run_id)):
            return []
        with tempfile.TemporaryDirectory() as scratch:
            file = mlflow.artifacts.download_artifacts(
                run_id=self._run_id, artifact_path=SAMPLES, dst_path=scratch, tracking_uri=self.uri
            )
            table = json.loads(Path(file).read_text(encoding="utf-8"))
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def last_steps(client: MlflowClient, run_id: str) -> dict[str, int]:
    """The last step of each metric that a run has.

    One request; MLflow's own monitor of system metrics reads the same field. A metric's history would be all of it.
    """
    return {metric.key: metric.step for metric in client.get_run(run_id).data._metric_objs}
