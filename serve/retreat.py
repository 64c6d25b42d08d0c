"""What two versions' replies came to in; why one of them may not go on out, for all replicas and over restarts."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator

from sqlalchemy import Connection

from rejoinder.recipe import RetreatSection, ServingSection
from serve.store import Database, retreats
from serve.store.retreats import Retreat
from serve.tallies import Sum, Tally, Window
from serve.versions import Versions

log = logging.getLogger("rejoinder.versions")
EVERY_S = 2.0
_SURE = 1.645
"""Standard errors: of 20 that are no worse, at most one looks so by chance, before the limits are asked."""


def regressions(one: Tally, champion: Tally, limits: RetreatSection) -> Iterator[str]:
    """In which respects a version is worse than the champion, a sentence each: by more than the recipe allows, and by
    more than chance does. Nothing while either has fewer than `min_replies`."""
    if min(one.failed.number, champion.failed.number) < limits.min_replies:
        return
    if _is_above(one.failed, champion.failed, limits.max_error_rise):
        yield f"{one.failed.mean:.1%} of its replies fail, of the champion's {champion.failed.mean:.1%}"
    if _is_above(one.log_first_token_s, champion.log_first_token_s, math.log(limits.max_first_token_ratio)):
        seconds, usual = math.exp(one.log_first_token_s.mean), math.exp(champion.log_first_token_s.mean)
        yield f"its first token comes after {seconds:.3g} s, the champion's after {usual:.3g} s"
    if _is_above(one.repetition, champion.repetition, limits.max_repetition_rise):
        yield f"{one.repetition.mean:.1%} of a reply was said before, of the champion's {champion.repetition.mean:.1%}"


def _is_above(one: Sum, other: Sum, allowed: float) -> bool:
    if not one.number or not other.number:
        return False
    rise = one.mean - other.mean
    return rise > allowed and rise > _SURE * math.sqrt(one.variance_of_mean + other.variance_of_mean)


class Judge:
    """Shares this replica's counts, judges by those of all, and calls back whom any replica has called back."""

    def __init__(
        self, versions: Versions, window: Window, database: Database, serving: ServingSection, replica: str
    ) -> None:
        self._versions, self._window, self._database = versions, window, database
        self._serving, self._replica = serving, replica

    def read(self) -> dict[int, str]:
        """Who was called back, and why; done before the first reply, so that a restart forgets nothing."""
        model = self._versions.champion.version.model
        found = self._database.work(lambda rows: retreats.listed(rows, model), writes=False)
        self._versions.call_back(retreat.version for retreat in found)
        for retreat in found:  # so that it begins anew when it is cleared
            self._window.forget(retreat.version)
        return {retreat.version: retreat.reason for retreat in found}

    def look(self) -> None:
        """One round."""
        back, versions = self.read(), self._versions
        model, champion = versions.champion.version.model, versions.champion.version.number
        counts = {str(version): tally.to_json() for version, tally in self._window.tallies().items()}
        now = time.time()

        def share(rows: Connection) -> dict[int, Tally]:
            retreats.write_counts(rows, self._replica, model, counts, now)
            sums: dict[int, Tally] = defaultdict(Tally)
            for of_one in retreats.counts_of_all(rows, model, now):
                for version, said in of_one.items():
                    sums[int(version)] += Tally.of_json(said)
            return sums

        sums, names = self._database.work(share), versions.names
        judged = {names[name] for name in (self._serving.canary.to, *self._serving.ab_test) if name in names}
        for number in sorted(judged - back.keys() - {champion}):
            if why := list(regressions(sums.get(number, Tally()), sums.get(champion, Tally()), self._serving.retreat)):
                self._call_back(Retreat(model, number, "; ".join(why), self._replica, now))

    def _call_back(self, retreat: Retreat) -> None:
        if self._database.work(lambda rows: retreats.begin(rows, retreat)):
            log.error(
                "version %d is called back, %s answers instead: %s; `python jobs/retreats.py clear %d` lets it again",
                retreat.version, self._versions.champion.version, retreat.reason, retreat.version,
            )  # fmt: skip
        self.read()
