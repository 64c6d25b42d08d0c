"""Schemathesis asks what the OpenAPI document describes, and what it forbids: nothing fails, and no answer is other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serve.api import create_api
from serve.service import Service
from tests.serve.helpers import make_key, serve_on_free_port

pytestmark = pytest.mark.slow

NUM_EXAMPLES = 20
"""Of each operation and phase, the same in every run."""
# What is refused may be refused by any 4xx: a body that is too large is a 413 before anybody reads it.
SETTINGS = """
[checks.negative_data_rejection]
expected-statuses = ["4xx"]

[[operations]]
include-path = "/v1/models/{name}"
parameters = { name = "chat" }
"""
# Rules between fields, such as several replies at temperature 0, are told in a sentence and not by JSON Schema: not all
# that a schema admits is accepted.
LEFT_OUT = "positive_data_acceptance"


@pytest.mark.parametrize("words", [(), ("serving.require_keys=true",)], ids=["without keys", "with keys"])
def test_no_request_fails_the_server_or_gets_what_is_not_documented(
    make_service: Callable[..., Service], tmp_path: Path, words: tuple[str, ...]
) -> None:
    service = make_service(*words)
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    program = shutil.which("st", path=str(Path(sys.executable).parent))
    assert program, "schemathesis is not installed"
    for url in serve_on_free_port(create_api(service)):
        done = subprocess.run(
            [
                program, "run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {make_key(service)}",
                "--max-examples", str(NUM_EXAMPLES), "--generation-deterministic", "--exclude-checks", LEFT_OUT,
                "--request-timeout", "60", "--no-color",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
    said = "\n".join(line[:500] for line in done.stdout.splitlines())
    assert done.returncode == 0, said + done.stderr
    asked = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", said)
    assert asked, said
    assert len(set(asked.groups())) == 1  # nothing was left out
    assert int(asked[1]) >= 14
