"""Registered versions in; what they are, where they come from, who served when, whether they can be made again out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rejoinder import checkpoints, cluster, console
from rejoinder.errors import RegistryError
from rejoinder.promotion import rollback_stage
from rejoinder.recipe import Recipe
from rejoinder.registry import CHECKPOINT, Entry, Link, Registry, Version, differences, links_now
from rejoinder.stages import prepare_stage
from rejoinder.training import train

AGAIN = "reproduced"
"""The folder under storage.uri in which versions are made again: nothing that stands is used, or touched."""


def models_job(recipe: Recipe, what: str, which: str, alias: str, reason: str) -> None:
    """One of `list`, `show`, `history`, `rollback`, `reproduce`."""
    if what == "list":
        list_versions(recipe)
    elif what == "show":
        show(recipe, which)
    elif what == "history":
        history(recipe)
    elif what == "rollback":
        rollback_stage(recipe, alias, reason)
    else:
        reproduce_stage(recipe, which)


def list_versions(recipe: Recipe) -> list[Version]:
    """The newest first, with aliases and figures."""
    registry = Registry(recipe)
    versions, aliases = registry.versions(), registry.aliases()
    if not versions:
        raise RegistryError(f"no version of {recipe.registry.model!r} at {registry.uri} yet: run jobs/train.py first")
    console.say(f"{'version':<9}{'registered':<18}{'bits per byte':<15}{'aliases':<24}run")
    for version in versions:
        named = ", ".join(alias for alias, number in aliases.items() if number == version.number)
        bits = version.tags.get("metric.test_bits_per_byte", "–")
        run = version.tags.get("rejoinder.run", "–")
        console.say(f"{version.number:<9}{_time(version.created_s):<18}{bits:<15}{named:<24}{run}")
    return versions


def show(recipe: Recipe, which: str) -> list[Link]:
    """The chain from the corpus files to the header of a reply. Every file of the version is compared with its hash."""
    registry = Registry(recipe)
    version = _found(registry, which)
    links = registry.chain(version)
    aliases = [alias for alias, number in registry.aliases().items() if number == version.number]
    folder = registry.documents(version)
    console.say(f"{version}  {', '.join(aliases)}")
    for link in [*links, *_last_links(version)]:
        console.say(f"   {link.what:<13} {link.sha256[:16] or '–':<18}{link.name}")
    console.say(f"   every file of the version has its hash; model card: {folder}/model_card.md")
    return links


def history(recipe: Recipe) -> Sequence[Entry]:
    """Who decided what, and so who served when."""
    registry = Registry(recipe)
    standing = registry.ledger.standing()
    if not standing.entries:
        raise RegistryError(f"the ledger of {recipe.registry.model!r} is empty: nothing was promoted yet")
    for entry in standing.entries:
        of = entry.decision
        replaced = f" instead of {of.replaces}" if of.replaces else ""
        too_late = "" if entry.counts else "  (came too late, counts for nothing)"
        forced = " by force" if of.is_forced else ""
        said = f"{of.alias}: {of.action}{forced} version {of.version}{replaced}{too_late}"
        console.say(f"{entry.number:>4}  {of.when}  {said}")
        console.say(f"      {of.who}: {of.reason}")
    for alias in standing.served:
        points_at, says = registry.ledger.pointed_at(alias), standing.holder(alias)
        also = "" if points_at == says else f"; the alias points at {points_at}: the next promotion puts it right"
        console.say(f"{alias}: version {says}{also}")
    console.say(f"{len(standing.entries)} entries, no link of the chain is missing or changed")
    return standing.entries


def reproduce_stage(recipe: Recipe, which: str) -> bool:
    """Makes a version again from its corpus files, by its own recipe, in a folder of its own: whether every hash is
    the same. What differs is said by its link. Interrupted, the same command goes on."""
    registry = Registry(recipe)
    version = _found(registry, which)
    links = registry.chain(version)
    own = _elsewhere(checkpoints.read_recipe(registry.download(version)), recipe, version)
    with cluster.connect(own):
        prepared = prepare_stage(own)
        with console.stage(f"Train again: {version}"):
            run = train(own, prepared)
    with console.stage("Compare"), tempfile.TemporaryDirectory() as scratch:
        exported = Path(scratch) / "checkpoint"
        checkpoints.export(run.checkpoint, exported)
        differing = differences(links, links_now(exported, prepared.manifest))
        for difference in differing:
            console.say(
                f"   {difference.what:<13} differs: {difference.first[:16] or '–'} then, "
                f"{difference.second[:16] or '–'} now   {difference.name}"
            )
        is_same = all(difference.what != CHECKPOINT for difference in differing)
        console.say(f"   {version}: the weights are {'the same, byte for byte' if is_same else 'not the same'}")
        console.say(f"   made in {own.storage.uri}, which may be deleted")
    return is_same


def _elsewhere(own: Recipe, recipe: Recipe, version: Version) -> Recipe:
    """The version's recipe on this cluster, in a folder of its own."""
    place = f"{recipe.storage.uri}/{AGAIN}/{version.model}-{version.number}"
    storage = recipe.storage.model_copy(update={"uri": place})
    return own.model_copy(update={"storage": storage, "cluster": recipe.cluster, "registry": recipe.registry})


def _found(registry: Registry, which: str) -> Version:
    return registry.find(int(which) if which.isdigit() else which)


def _last_links(version: Version) -> list[Link]:
    """What a version's own documents cannot say of it."""
    return [
        Link("version", str(version), version.tags.get("rejoinder.documents", "")),
        Link("reply", f"x-model-version: {version}", ""),
    ]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
