"""deploy/: the compose file and the Kubernetes manifest start the same server; their names, ports and keys agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
DEPLOY = CHECKOUT / "deploy"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the compose file."""
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def objects() -> dict[tuple[str, str], dict[str, Any]]:
    """The objects of the manifest, by kind and name."""
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {(of["kind"], of["metadata"]["name"]): of for of in found}


def container(objects: dict[tuple[str, str], dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The only container of a deployment."""
    (only,) = objects[kind, name]["spec"]["template"]["spec"]["containers"]
    return only


def test_the_image_has_the_versions_that_are_tested() -> None:
    locked = (CHECKOUT / "requirements.lock").read_text().splitlines()
    installed = re.findall(r"[\w-]+(?:\[\w+\])?==[\d.]+", (DEPLOY / "Dockerfile").read_text())
    assert {re.sub(r"\[.*\]", "", package) for package in installed} <= set(locked)
    assert len(installed) == 3


def test_both_run_the_same_command_with_the_same_settings(services: dict[str, Any], objects: Any) -> None:
    ours, theirs = services["mlflow"], container(objects, "Deployment", "mlflow")
    assert ours["command"] == theirs["command"]
    settings = objects["ConfigMap", "mlflow"]["data"].keys() | {entry["name"] for entry in theirs["env"]}
    assert settings - {"POSTGRES_PASSWORD"} == ours["environment"].keys()
    for name in (
        "MLFLOW_SERVER_ALLOWED_HOSTS",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION",
    ):
        assert objects["ConfigMap", "mlflow"]["data"][name] == ours["environment"][name]
    assert ours["environment"]["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_what_one_part_calls_another_by_is_its_name_and_port(services: dict[str, Any], objects: Any) -> None:
    environment = services["mlflow"]["environment"]
    user, host, port, database = re.fullmatch(
        r"postgresql://(\w+):.*@(\w+):(\d+)/(\w+)", environment["MLFLOW_BACKEND_STORE_URI"]
    ).groups()
    assert services[host]["environment"]["POSTGRES_USER"] == user
    assert services[host]["environment"]["POSTGRES_DB"] == database
    service = objects["Service", host]["spec"]
    assert service["ports"][0]["port"] == int(port)
    own = {entry["name"]: entry.get("value") for entry in container(objects, "StatefulSet", host)["env"]}
    assert (own["POSTGRES_USER"], own["POSTGRES_DB"]) == (user, database)
    host, port = re.search(r"http://(\w+):(\d+)", environment["AWS_ENDPOINT_URL"]).groups()
    assert f"-s3.port={port}" in services[host]["command"]
    assert "--port=5000" in services["mlflow"]["command"]
    assert services["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]  # there is no login
    assert "mlflow:5000" in environment["MLFLOW_SERVER_ALLOWED_HOSTS"]


def test_every_service_finds_its_pods_and_every_key_its_secret(objects: Any) -> None:
    for kind, name in (("Deployment", "mlflow"), ("StatefulSet", "database")):
        template = objects[kind, name]["spec"]["template"]
        assert objects["Service", name]["spec"]["selector"] == template["metadata"]["labels"]
        assert objects[kind, name]["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
        ports = {port["name"]: port["containerPort"] for port in container(objects, kind, name)["ports"]}
        (served,) = objects["Service", name]["spec"]["ports"]
        assert ports == {served["targetPort"]: served["port"]}
    page = (DEPLOY / "kubernetes.yaml").read_text()
    wanted = set(re.findall(r"secretKeyRef: {name: mlflow, key: (\w+)}", page))
    assert wanted == set(re.findall(r"--from-literal=(\w+)=", page))


def test_no_secret_stands_in_a_file(services: dict[str, Any], objects: Any) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "SECRET" in name:
                assert value.startswith("${")
    assert ("Secret", "mlflow") not in objects


def test_the_keys_of_the_own_s3_are_those_that_mlflow_uses() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    identities = yaml.safe_load(compose["configs"]["s3-keys"]["content"])["identities"]
    assert identities[0]["credentials"] == [
        {"accessKey": "${AWS_ACCESS_KEY_ID}", "secretKey": "${AWS_SECRET_ACCESS_KEY}"}
    ]


def test_what_kubernetes_sets_by_itself_is_no_setting_of_mlflows(objects: Any) -> None:
    """A service named mlflow puts MLFLOW_PORT=tcp://… into every pod that does not refuse it."""
    assert objects["Deployment", "mlflow"]["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_image_needs_nothing_but_its_own_file(services: dict[str, Any]) -> None:
    build = services["mlflow"]["build"]
    lines = (DEPLOY / build["context"] / build["dockerfile"]).read_text().splitlines()
    words = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert words == ["FROM", "RUN", "USER", "EXPOSE", "CMD"]  # COPY would need a path to be there
