"""The folder listing is the architecture: what may stand where."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
JOBS = sorted(file for file in (CHECKOUT / "jobs").glob("*.py") if file.name != "_checkout.py")
SOURCES = sorted(
    file
    for folder in ("platform", "jobs", "serve", "tuning", "bench")
    for file in (CHECKOUT / folder).rglob("*.py")
    if ".peers" not in file.parts  # others' code, installed there by the benches
)


def name(file: Path) -> str:
    return str(file.relative_to(CHECKOUT))


def test_platform_is_a_source_root_and_no_package() -> None:
    """With an `__init__.py` there, `import platform` finds ours, and `import ray` dies in every worker."""
    assert not (CHECKOUT / "platform" / "__init__.py").exists()


def test_no_job_is_called_like_something_that_is_imported() -> None:
    """`jobs/` comes first on sys.path: jobs/tokenize.py would break every traceback."""
    pinned = {re.split(r"[=\[; ]", line)[0] for line in (CHECKOUT / "requirements.lock").read_text().splitlines()}
    dependencies = {word.lower().replace("-", "_") for word in pinned}
    ours = {file.parent.name for root in (CHECKOUT, CHECKOUT / "platform") for file in root.glob("*/__init__.py")}
    assert "numpy" in dependencies
    assert {"rejoinder", "serve", "tuning"} <= ours
    taken = dependencies | ours | set(sys.stdlib_module_names)
    assert [file.stem for file in JOBS if file.stem in taken] == []


@pytest.mark.parametrize("file", JOBS, ids=name)
def test_a_job_is_a_doorway(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    nodes = ast.parse(text).body
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(text.splitlines()) < 30
    assert ast.unparse(imports[0]) == "import _checkout"
    assert not any(isinstance(node, ast.ClassDef) for node in nodes)  # it would not travel to a worker


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_a_source_file_says_what_it_is_for_and_is_not_too_long(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "begins without a docstring"
    assert len(text.splitlines()) <= 400


def test_a_wheel_has_what_the_packages_read() -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packed = {
        file
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for file in (CHECKOUT / settings["package-dir"][package]).glob(pattern)
    }
    there = {
        file
        for folder in settings["package-dir"].values()
        for file in (CHECKOUT / folder).rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    assert there - packed == {CHECKOUT / "serve" / "config.yaml"}  # for people, not for the code


def test_a_replica_imports_nothing_that_only_training_needs() -> None:
    """A fifth of the seconds that a burst waits for another replica."""
    code = (
        "import sys, serve.app\n"
        "print({'ray.train', 'ray.data', 'torch.distributed.tensor', 'matplotlib', 'transformers'} & {*sys.modules})"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT / "platform"), str(CHECKOUT)])}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"


def test_nobodys_own_paths_stand_in_what_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CHECKOUT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip(f"git cannot list this checkout: {listed.stderr.decode().strip()}")
    # This line does not match itself. `ray` is the user of Ray's own container images.
    of_a_machine = re.compile(rb"/(?:work|root|home/(?!ray/)[a-z][a-z0-9_-]*)/")
    found = []
    for path in filter(None, listed.stdout.decode().split("\0")):
        file = CHECKOUT / path
        if file.is_file():
            found += [f"{path}: {match.decode()}" for match in of_a_machine.findall(file.read_bytes())]
    assert found == []
