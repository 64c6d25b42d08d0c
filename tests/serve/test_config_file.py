"""What is wrong with a config file for `serve deploy`, which itself says nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from ray._common.utils import import_attr
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

from rejoinder import cluster
from rejoinder.errors import ServingError
from serve import config_file

OURS = Path(config_file.__file__).with_name("config.yaml")
HEAD = "http_options: {host: 127.0.0.1}\napplications:\n  - name: a\n    import_path: serve.app:build\n"


def said(tmp_path: Path, text: str) -> str:
    """The complaint about such a file."""
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ServingError) as refused:
        config_file.check(tmp_path / "config.yaml")
    return str(refused.value)


def test_our_own_file_is_right() -> None:
    config_file.check(OURS)
    assert config_file.main([str(OURS)]) == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEAD + "    args: {recipe: tiny}\nhttp_option: {}\n",
         "http_option: Serve knows no such key, and would leave it out; did you mean 'http_options'?"),
        (HEAD + "    args: {recipe: tiny}\n    deployments: [{name: chat, max_surge_percents: 1}]\n",
         "applications.0.deployments.0.max_surge_percents: Serve knows no such key"),
        (HEAD + "    args: {recipe: tiny}\n    deployments: [{name: chat, autoscaling_config: {max_replica: 8}}]\n",
         "deployments.0.autoscaling_config.max_replica: Serve knows no such key, and would leave it out; "
         "did you mean 'max_replicas'?"),
        (HEAD + "    args: {recipe: tiny}\n    deployments: [{name: chat, ray_actor_options: {num_cpu: 1}}]\n",
         "ray_actor_options.num_cpu: Serve knows no such key, and would leave it out; did you mean 'num_cpus'?"),
        (HEAD + "    args: {recipe: tiny}\n"
         "    deployments: [{name: chat, autoscaling_config: {min_replicas: 3, max_replicas: 2}}]\n",
         "applications.0.deployments.0.autoscaling_config: max_replicas (2) must be greater than"),
        (HEAD + "    args: {recipe: tiny}\n    deployments: [{name: chatt}]\n", "has one deployment, 'chat'"),
        (HEAD + "    args: {recipe: tiny}\n    route_prefix: x\n", "route_prefix = 'x': must begin"),
        (HEAD + "    args: {recipe: tiny, word: []}\n", "applications.0.args.word: Serve knows no such key"),
        (HEAD + "    args: {recipe: nowhere}\n", "nowhere.yaml: there is no such recipe file"),
        (HEAD + "    args: {recipe: tiny, words: [serving.max_replica=3]}\n", "did you mean 'max_replicas'?"),
        (HEAD + "    args: {recipe: tiny, words: [decoding.top_k=3]}\n", "write serving.decoding.top_k=3"),
        (HEAD + "    args: {recipe: tiny}\n    args: {recipe: demo}\n", "'args' is given twice"),
        (HEAD.replace("127.0.0.1", "0.0.0.0") + "    args: {recipe: tiny}\n", "asks nobody for a key"),
        (HEAD.partition("\n")[2] + "    args: {recipe: tiny}\n", "http_options.host = 0.0.0.0"),
        ("applications: 7\n", "applications: Input should be a valid list"),
        ("[]\n", "a Serve config is a mapping"),
        ("a: [\n", "not valid YAML"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    assert complaint in said(tmp_path, text)


def test_all_mistakes_are_said_at_once_and_the_exit_status_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = HEAD + "    args: {recipe: tiny}\n    import_paths: x\n    deployments: [{name: chat, max_surge: 1}]\n"
    assert "2 problems" in said(tmp_path, text)
    assert config_file.main([str(tmp_path / "config.yaml")]) == 1
    assert "import_paths" in capsys.readouterr().err


def test_the_public_address_with_keys_is_fine(tmp_path: Path) -> None:
    text = HEAD.replace("127.0.0.1", "0.0.0.0") + "    args: {recipe: tiny, words: [serving.host=0.0.0.0]}\n"
    (tmp_path / "config.yaml").write_text(text)
    config_file.check(tmp_path / "config.yaml")


def test_serve_is_set_up_as_our_own_jobs_set_it_up() -> None:
    variables = config_file.read(OURS)["controller_options"]["runtime_env"]["env_vars"]
    assert variables == {name: value for name, value in cluster.RAY_SETTINGS.items() if name.startswith("RAY_SERVE_")}


def test_serve_builds_the_application_from_the_arguments() -> None:
    (application,) = config_file.read(OURS)["applications"]
    builder = import_attr(application["import_path"])
    built = call_user_app_builder_with_args_if_necessary(builder, {"recipe": "tiny", "words": ["serving.num_slots=3"]})
    assert built._bound_deployment.name == config_file.NAME
    assert built._bound_deployment.init_args[0].serving.num_slots == 3
    with pytest.raises(ValidationError, match="recipes"):
        call_user_app_builder_with_args_if_necessary(builder, {"recipes": "tiny"})
