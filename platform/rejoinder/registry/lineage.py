"""A version's parts in, the chain of content hashes out that leads from the corpus files to its replies.

    corpus files ─▶ cleaning ─▶ shards, tokenizer ─▶ recipe, code, lock file ─▶ run ─▶ checkpoint ─▶ version ─▶ reply

Each link has the sha256 of what it names, so that two chains are compared link by link: `jobs/models.py reproduce`.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from rejoinder import checkpoints, cluster
from rejoinder.recipe import Recipe
from rejoinder.shards import Manifest
from rejoinder.storage import sha256_of

FORMAT = 1
CORPUS, CLEANING, SHARDS, TOKENIZER = "corpus file", "cleaning", "shards", "tokenizer"
RECIPE, CODE, LOCK, RUN, CHECKPOINT = "recipe", "code", "lock file", "run", "checkpoint"
_LEARNT_FROM = ("name", "data", "text", "model", "training", "scaling", "decoding", "evaluation")


@dataclass(frozen=True)
class Link:
    """One link of the chain."""

    what: str
    name: str
    sha256: str
    """Of its content; empty where nothing is known of it."""


@dataclass(frozen=True)
class Difference:
    """A link that two chains do not share."""

    what: str
    name: str
    first: str
    second: str


def data_links(manifest: Manifest) -> list[Link]:
    """From the files of the corpora to the shards."""
    text: dict[str, Any] = manifest.settings.get("text", {})
    steps = [step if isinstance(step, str) else step.get("name", "?") for step in text.get("cleaning", ())]
    filters = [step if isinstance(step, str) else step.get("name", "?") for step in text.get("filters", ())]
    files = sum(len(shards) for shards in manifest.splits.values())
    return [
        *(Link(CORPUS, f"{file.reader}: {file.file}", file.sha256) for file in manifest.corpora),
        Link(CLEANING, ", ".join([*steps, *filters]) or "none", _sha256_of_json(manifest.settings)),
        Link(SHARDS, f"{manifest.fingerprint}, {files} files", _sha256_of_files(manifest)),
        Link(TOKENIZER, f"{manifest.vocabulary_size:,} ids", manifest.tokenizer_sha256),
    ]


def checkpoint_links(checkpoint: Path) -> list[Link]:
    """The recipe and the weights of an exported checkpoint."""
    recipe, progress = checkpoints.read_recipe(checkpoint), checkpoints.read_progress(checkpoint)
    return [
        Link(RECIPE, recipe.name, recipe_sha256(recipe)),
        Link(CHECKPOINT, f"weights after step {progress.step:,}", sha256_of(checkpoint / checkpoints.WEIGHTS)),
    ]


def recipe_sha256(recipe: Recipe) -> str:
    """Of all that decides what is learnt and how it speaks; not of where things are kept."""
    return _sha256_of_json(recipe.model_dump(mode="json", include=set(_LEARNT_FROM)))


@cache
def code_links() -> tuple[Link, ...]:
    """This checkout: the commit where git knows it, and the hash of the package's files."""
    package = cluster.CHECKOUT / "platform" / "rejoinder"
    files = {str(file.relative_to(package)): sha256_of(file) for file in sorted(package.rglob("*.py"))}
    commit = git("rev-parse", "HEAD")
    changed = bool(git("status", "--porcelain", "--", "platform", "jobs", "serve", "tuning"))
    name = f"git {commit}{' and changes' if changed else ''}" if commit else "not from a git checkout"
    return (Link(CODE, name, _sha256_of_json(files)),)


@cache
def installed() -> str:
    """Every package of this process's environment, in the version that is installed, as `pip install -r` takes it."""
    found = {(name, package.version) for package in distributions() if (name := package.metadata["Name"])}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found, key=lambda pair: pair[0].lower()))


def lock_link(lock: str) -> Link:
    """The packages of an environment, by the text of `installed`."""
    packages = len(lock.splitlines())
    return Link(LOCK, f"{packages} packages", text_sha256(lock) if packages else "")


def links_now(checkpoint: Path, manifest: Manifest) -> list[Link]:
    """What this machine has just made, to be compared with a version's chain."""
    return [*data_links(manifest), *checkpoint_links(checkpoint), *code_links(), lock_link(installed())]


def git(*words: str) -> str:
    """What git says of this checkout; nothing where there is no git, as in a submitted job."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=cluster.CHECKOUT, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def to_json(links: Iterable[Link]) -> str:
    """As a file of a version."""
    return json.dumps({"format": FORMAT, "links": [asdict(link) for link in links]}, indent=1, ensure_ascii=False)


def from_json(text: str) -> list[Link]:
    """Back from the file."""
    return [Link(**link) for link in json.loads(text)["links"]]


def differences(first: Sequence[Link], second: Sequence[Link]) -> list[Difference]:
    """Links that differ in their content, or that one lacks, by kind and place. A run is what happened, not content."""
    found = []
    for what in dict.fromkeys(link.what for link in [*first, *second] if link.what != RUN):
        ours, theirs = ([link for link in links if link.what == what] for links in (first, second))
        for number in range(max(len(ours), len(theirs))):
            a = ours[number] if number < len(ours) else None
            b = theirs[number] if number < len(theirs) else None
            if a is None or b is None or a.sha256 != b.sha256:
                name = (a or b or Link(what, "", "")).name
                found.append(Difference(what, name, a.sha256 if a else "", b.sha256 if b else ""))
    return found


def text_sha256(text: str) -> str:
    """Of a text as it is written to a file."""
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256_of_files(manifest: Manifest) -> str:
    """Of all shards and indexes, by their own hashes."""
    return _sha256_of_json(manifest.sha256s())


def _sha256_of_json(content: Any) -> str:
    return text_sha256(json.dumps(content, sort_keys=True, ensure_ascii=False))
