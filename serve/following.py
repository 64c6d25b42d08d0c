"""The registry's aliases in, a service that follows them out: looked at every few seconds, in a thread of its own."""

from __future__ import annotations

import logging
from contextlib import suppress

from rejoinder.errors import RegistryError
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry, Version
from serve.replica import ChatReplica, load_replica
from serve.versions import NotLoaded, Versions

log = logging.getLogger("rejoinder.versions")


class Following:
    """Loads what the recipe's aliases point at. `look` is one round; serve.rounds calls it again and again."""

    def __init__(self, recipe: Recipe, registry: Registry, versions: Versions) -> None:
        self._serving, self._registry, self._versions = recipe.serving, registry, versions
        logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # we say ourselves that it is away, and once
        self.is_away = False
        """Whether the registry did not answer last time: the versions that are here go on."""

    def look(self) -> None:
        """A new champion takes over when it is loaded and answers; other versions come and go with their names."""
        serving, versions = self._serving, self._versions
        names = dict.fromkeys([*serving.asked_names, *serving.also_loaded])
        try:
            found = {name: self._number(name) for name in [serving.alias, *names]}
        except RegistryError as error:
            if not self.is_away:
                log.warning("%s; the versions that are loaded go on, and it is asked again", error)
            self.is_away = True
            return
        if self.is_away:
            log.info("the registry answers again")
        self.is_away = False
        champion = found.pop(serving.alias)
        pointed = {name: number for name, number in found.items() if number is not None}
        versions.point(pointed)
        versions.drop_stuck()
        versions.forget_failures([*pointed.values(), champion or 0])
        # An alias that was taken away leaves the champion where it is: somebody must answer.
        if champion is not None and champion != versions.champion.version.number:
            with suppress(NotLoaded):  # said when it happened
                versions.take_over(versions.bring(champion))
        for name, number in pointed.items():
            # Others come when somebody asks for them, and the one that was asked for longest ago goes.
            if name in serving.asked_names or versions.has_room():
                with suppress(NotLoaded):
                    versions.bring(number)
        versions.trim()

    def _number(self, name: str) -> int | None:
        return int(name) if name.isdigit() else self._registry.ledger.pointed_at(name)


def first_replica(recipe: Recipe, registry: Registry) -> ChatReplica:
    """The version that serving.alias points at; where that cannot answer, the one before it: a replica that is
    started anew must not be worse off than those that run.

    Raises RegistryError without a version, and what is wrong with the champion when there is none before it.
    """
    number = first_number(recipe, registry)
    champion = registry.find(recipe.serving.alias if number is None else number)
    try:
        return load_replica(recipe, registry, champion)
    except Exception as error:
        before = _before(recipe, registry, champion)
        if before is None:
            raise
        log.error("%s cannot be used: %s; %s, which was there before, answers", champion, error, before)
        return load_replica(recipe, registry, before)


def first_number(recipe: Recipe, registry: Registry) -> int | None:
    """Where serving.alias points; where it was taken away, what it pointed at last: those that run go on with it.

    None where it never pointed anywhere. Raises RegistryError when the store cannot be reached.
    """
    alias = recipe.serving.alias
    number = registry.ledger.pointed_at(alias)
    return registry.ledger.standing().holder(alias) if number is None else number


def _before(recipe: Recipe, registry: Registry, champion: Version) -> Version | None:
    try:
        standing = registry.ledger.standing()
        number = standing.before(recipe.serving.alias)
        is_known = standing.holder(recipe.serving.alias) == champion.number
        return registry.find(number) if number is not None and is_known else None
    except RegistryError:
        return None
