"""An MLflow run in, what it recorded of where its checkpoint comes from out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from rejoinder.registry import lineage
from rejoinder.registry.documents import DATA_MANIFEST, LOCK, Origin
from rejoinder.registry.lineage import Link
from rejoinder.shards import Manifest

CODE_TAG, CODE_SHA256_TAG = "rejoinder.code", "rejoinder.code_sha256"
COMMIT_TAG = "mlflow.source.git.commit"
"""MLflow shows it as the run's source version."""
CODE_TAGS = (CODE_TAG, CODE_SHA256_TAG, COMMIT_TAG)


def code_tags() -> dict[str, str]:
    """The code of this process, as tags of a run that begins with it."""
    (link,) = lineage.code_links()
    commit = lineage.git("rev-parse", "HEAD")
    return {CODE_TAG: link.name, CODE_SHA256_TAG: link.sha256} | ({COMMIT_TAG: commit} if commit else {})


def origin_of(client: MlflowClient, uri: str, run_id: str, run_name: str) -> Origin:
    """Nothing is missing of a run that `tracked_run` began; of another one, what it does not say is left out."""
    tags = client.get_run(run_id).data.tags
    code = Link(lineage.CODE, tags[CODE_TAG], tags.get(CODE_SHA256_TAG, "")) if CODE_TAG in tags else None
    manifest, text = None, _artifact(uri, run_id, DATA_MANIFEST)
    try:
        manifest = Manifest.model_validate_json(text) if text else None
    except ValidationError:  # of a shard format of another version
        manifest = None
    return Origin(run_id, run_name, manifest, _artifact(uri, run_id, LOCK), code)


def _artifact(uri: str, run_id: str, name: str) -> str:
    """The text of a run's artifact; empty where there is none."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            file = mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path=name, dst_path=scratch, tracking_uri=uri
            )
        except (MlflowException, OSError):
            return ""
        return Path(file).read_text(encoding="utf-8")
