"""cluster.yaml is what Ray's launcher takes, and keeps the doors shut."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def config() -> dict[str, Any]:
    """The file as it stands."""
    return yaml.safe_load((CHECKOUT / "cluster.yaml").read_text())


def validated(config: dict[str, Any]) -> dict[str, Any]:
    """What the launcher makes of it: Ray's own defaults and schema check, which need no cloud. (A private function.)"""
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray").setLevel(logging.ERROR)
    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def test_the_launcher_takes_it(config: dict[str, Any]) -> None:
    assert validated(config)["cluster_name"] == "rejoinder"


def test_the_launchers_check_would_notice_a_misspelt_key(config: dict[str, Any]) -> None:
    from jsonschema import ValidationError

    config["available_node_type"] = config["available_node_types"]
    with pytest.raises(ValidationError, match="available_node_type"):
        validated(config)


def test_the_head_trains_nothing_and_gpu_workers_come_and_go(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    workers = types["gpu_worker"]
    assert workers["min_workers"] == 0
    assert workers["max_workers"] > 0
    assert workers["resources"]["GPU"] == 1


def test_the_dashboard_listens_on_this_machine_only_and_every_node_wants_a_token(config: dict[str, Any]) -> None:
    prepared = validated(config)
    head = " ".join(prepared["head_start_ray_commands"])
    worker = " ".join(prepared["worker_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in head + worker
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker


def test_it_installs_the_lock_and_brings_none_of_our_code(config: dict[str, Any]) -> None:
    assert any("requirements.lock" in command for command in config["setup_commands"])
    assert set(config["file_mounts"].values()) == {"./requirements.lock", "~/.ray/auth_token"}


def test_its_ray_is_the_locks_ray(config: dict[str, Any]) -> None:
    lock = (CHECKOUT / "requirements.lock").read_text()
    version = next(line for line in lock.splitlines() if line.startswith("ray==")).removeprefix("ray==")
    for image in ("head_image", "worker_image"):
        assert f"ray:{version}-py311" in config["docker"][image]
