"""The versions of a model that one process holds: who is there, who takes over, who is let go when its last reply ends.

    load beside ─▶ asked the readiness prompts ─▶ held ─▶ champion ─▶ previous, at hand for the way back ─▶ let go

All methods may be called from any thread. Each version has an engine, and its thread, of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from rejoinder.engine import Statistics
from rejoinder.errors import RejoinderError, ServingError
from rejoinder.recipe import ServingSection
from serve.replica import ChatReplica
from serve.traffic import name_for

log = logging.getLogger("rejoinder.versions")
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 3_600.0
"""Before a version that failed is tried again: at first, and at most; each time twice as long."""
_LONGEST_REASON = 300


class UnknownVersion(ServingError):
    """A request asks for a model that is not here; says which are."""


class NotLoaded(ServingError):
    """A version cannot be loaded, or does not answer."""


@dataclass
class _Failed:
    num_times: int
    again_at: float
    why: str


@dataclass
class _Held:
    replica: ChatReplica
    used_at: float
    num_replies: int = 0
    """In the making."""
    is_leaving: bool = False


class Versions:
    """Begins with a champion. What else is wanted comes by `point`, `bring` and `take_over`."""

    def __init__(
        self, champion: ChatReplica, serving: ServingSection, load: Callable[[int], ChatReplica] | None = None
    ) -> None:
        """`load` makes a replica of a version's number and blocks; without it there is the champion and nobody else."""
        self._serving, self._load = serving, load
        self._champion = champion
        self._held = {champion.version.number: _Held(champion, time.monotonic())}
        self._leaving: list[_Held] = []
        self._previous: int | None = None
        self._names: dict[str, int] = {}
        self._retreated: frozenset[int] = frozenset()
        self._failed: dict[int, _Failed] = {}
        self._asked: dict[int, Future[None]] = {}
        self._loader = ThreadPoolExecutor(1, "loading")
        self._is_closed = False
        self._lock, self._loading = threading.RLock(), threading.Lock()
        self.num_loaded = self.num_failures = self.num_takeovers = 0

    @property
    def champion(self) -> ChatReplica:
        """Who answers where nothing else is said."""
        return self._champion

    @property
    def names(self) -> dict[str, int]:
        """Aliases (and numbers) that were asked for in the recipe, to the versions that they mean."""
        with self._lock:
            return dict(self._names)

    def held(self) -> list[tuple[ChatReplica, str]]:
        """Who is loaded, with what for: champion, previous, or the names that point there."""
        with self._lock:
            return [(held.replica, self._role(number)) for number, held in sorted(self._held.items())]

    def model_names(self) -> list[str]:
        """What a request may ask for: the model, a version, an alias."""
        with self._lock:
            model = self._champion.version.model
            numbers = sorted({*self._held, *self._names.values()})
            aliases = sorted(name for name in {self._serving.alias, *self._names} if not name.isdigit())
            return [model, *(f"{model}@{which}" for which in [*numbers, *aliases])]

    def engines(self) -> list[tuple[str, Statistics]]:
        """Of each loaded version what its engine does, those included that only end their last replies."""
        with self._lock:
            replicas = [held.replica for held in [*self._held.values(), *self._leaving]]
        return [(str(replica.version), replica.responder.engine.statistics()) for replica in replicas]

    @property
    def num_replies(self) -> int:
        """In the making, with whichever version."""
        with self._lock:
            return sum(held.num_replies for held in [*self._held.values(), *self._leaving])

    def number_for(self, model: str, asker: str) -> int:
        """The version that answers. Raises UnknownVersion for a name that is none of `model_names`."""
        with self._lock:
            champion = self._champion.version
            name, at, which = model.rpartition("@") if "@" in model else (model, "", "")
            if name != champion.model or (at and not which):
                raise self._unknown(model)
            if at:
                number = champion.number if which == self._serving.alias else self._names.get(which)
                if number is None and which.isdigit() and int(which) in {*self._held, *self._names.values()}:
                    number = int(which)
                if number is None:
                    raise self._unknown(model)
                return number
            # Whoever the canary cannot answer, since it is not there or was called back, is the champion's.
            number = self._names.get(name_for(asker, self._serving), champion.number)
            return champion.number if number in self._retreated or number not in self._held else number

    def lend(self, number: int) -> ChatReplica | None:
        """The version to make one reply with, until `give_back`; None when it is not loaded (any more)."""
        with self._lock:
            held = self._held.get(number)
            if held is None:
                return None
            held.num_replies += 1
            held.used_at = time.monotonic()
            return held.replica

    def give_back(self, replica: ChatReplica) -> None:
        """A reply has ended."""
        with self._lock:
            every = [*self._held.values(), *self._leaving]
            for held in [held for held in every if held.replica is replica]:  # none when all is over
                held.num_replies -= 1
                self._stop_if_done(held)

    def bring(self, number: int) -> ChatReplica:
        """Loads a version unless it is here; blocks for seconds, while everybody else goes on.

        Raises NotLoaded, at once if it failed lately: it is tried again after a wait that grows.
        """
        with self._loading:  # one at a time: each takes all cores for a moment
            with self._lock:
                if number in self._held:
                    return self._held[number].replica
                failed = self._failed.get(number)
            if failed is not None and time.monotonic() < failed.again_at:
                raise NotLoaded(failed.why)
            begun = time.monotonic()
            try:
                if self._load is None:
                    raise ServingError("nothing else is loaded here")
                replica = self._load(number)
            except Exception as error:
                raise self._note_failure(number, error) from error
            with self._lock:
                self._failed.pop(number, None)
                if not self._is_closed:
                    self._held[number] = _Held(replica, time.monotonic())
                self.num_loaded += 1
            if self._is_closed:
                replica.responder.engine.stop()
                raise NotLoaded("the service is closing")
            log.info("%s is loaded and answers, after %.1f s", replica.version, time.monotonic() - begun)
            return replica

    def bring_asked(self, number: int) -> Future[None]:
        """The same for a version that somebody asked for by name, in a thread of its own: another may have to go for
        it. All who ask for one meanwhile get the same future, and must not cancel it.
        """
        with self._lock:
            if self._is_closed:
                raise NotLoaded("the service is closing")
            asked = self._asked.get(number)
            if asked is None or asked.done():
                asked = self._asked[number] = self._loader.submit(self._bring_and_trim, number)
            return asked

    def take_over(self, replica: ChatReplica) -> None:
        """From the next reply on it is the champion; the one before stays at hand. Raises NotLoaded when it was let go
        since it was brought."""
        with self._lock:
            held = self._held.get(replica.version.number)
            if held is None or held.replica is not replica:
                raise NotLoaded(f"{replica.version} was let go before it could take over")
            before, self._champion = self._champion, replica
            if before is replica:
                return
            self._previous = before.version.number
            self._held[before.version.number].used_at = time.monotonic()
            self.num_takeovers += 1
        log.info("%s takes over from %s", replica.version, before.version)

    def point(self, names: dict[str, int]) -> None:
        """Which versions the recipe's names mean now. One that failed is tried at once when a name comes back to it."""
        with self._lock:
            self._names = dict(names)

    def forget_failures(self, wanted: Iterable[int]) -> None:
        """Of versions that nobody wants any more: should they be wanted again, they are tried at once."""
        with self._lock:
            self._failed = {number: failed for number, failed in self._failed.items() if number in set(wanted)}

    def call_back(self, numbers: Iterable[int]) -> None:
        """These answer nobody who did not ask for them by name."""
        with self._lock:
            self._retreated = frozenset(numbers)

    def drop_stuck(self) -> None:
        """Lets go of versions whose engine does not move any more; they count as failed. Not of the champion: a replica
        that cannot answer is started anew."""
        with self._lock:
            for number, held in list(self._held.items()):
                if held.replica is self._champion:
                    continue
                try:
                    held.replica.check()
                except ServingError as error:
                    self._note_failure(number, error)
                    self._let_go(number)

    def has_room(self) -> bool:
        """Whether one more, of about the champion's size, can stay."""
        with self._lock:
            return not self._is_too_much(1)

    def trim(self) -> None:
        """Lets go of whom nobody wants any more, and of the least used when there are too many or too large ones."""
        with self._lock:
            needed = {self._champion.version.number}
            needed |= {self._names[name] for name in self._serving.asked_names if name in self._names}
            wanted = needed | set(self._names.values()) | {self._previous}
            for number in [number for number in self._held if number not in wanted]:
                self._let_go(number)
            spare = [number for number in self._held if number not in needed]
            # The way back is given up late, and last whom somebody waits for.
            awaited = {number for number, asked in self._asked.items() if not asked.done()}
            spare.sort(key=lambda one: (one in awaited, one == self._previous, self._held[one].used_at))
            while spare and self._is_too_much():
                self._let_go(spare.pop(0))

    def retreated(self) -> frozenset[int]:
        """Who was called back."""
        return self._retreated

    def close(self) -> None:
        """Stops all engines; what is being written ends as cancelled."""
        with self._lock:
            self._is_closed, everyone = True, [*self._held.values(), *self._leaving]
            self._held, self._leaving = {}, []
        self._loader.shutdown(wait=False, cancel_futures=True)
        for held in everyone:
            held.replica.responder.engine.stop()

    def _bring_and_trim(self, number: int) -> None:
        self.bring(number)
        self.trim()
        with self._lock:
            # A name that was taken away meanwhile is no failure: who asks for it is told that it is unknown.
            is_offered = number in self._names.values() and not self._is_closed
            if is_offered and number not in self._held:
                raise self._note_failure(number, ServingError("there is no room for it; raise serving.max_loaded_mb"))

    def _is_too_much(self, num_more: int = 0) -> bool:
        limit_mb = self._serving.max_loaded_mb
        replicas = [held.replica for held in self._held.values()] + num_more * [self._champion]
        if limit_mb is not None and sum(replica.num_bytes for replica in replicas) > limit_mb * 10**6:
            return True
        return len(replicas) > self._serving.max_loaded

    def _let_go(self, number: int) -> None:
        held = self._held.pop(number)
        held.is_leaving = True
        self._leaving.append(held)
        if number == self._previous:
            self._previous = None
        log.info("%s is let go, %d replies end on it", held.replica.version, held.num_replies)
        self._stop_if_done(held)

    def _stop_if_done(self, held: _Held) -> None:
        if held.is_leaving and held.num_replies == 0 and held in self._leaving:
            self._leaving.remove(held)
            # Whoever ended the last reply may be the event loop: the engine's last step is waited for elsewhere.
            threading.Thread(target=held.replica.responder.engine.stop, name="let go", daemon=True).start()

    def _note_failure(self, number: int, error: Exception) -> NotLoaded:
        num_times = self._failed[number].num_times + 1 if number in self._failed else 1
        wait_s = min(FIRST_WAIT_S * 2 ** (num_times - 1), LONGEST_WAIT_S)
        said = " ".join(str(error).split()) if isinstance(error, RejoinderError) else repr(error)
        why = f"version {number} cannot be used: {said[:_LONGEST_REASON]}"
        with self._lock:
            self._failed[number] = _Failed(num_times, time.monotonic() + wait_s, why)
            self.num_failures += 1
        log.error(
            "%s; %s goes on; tried again in %.0f s, or when its alias changes", why, self._champion.version, wait_s,
            exc_info=None if isinstance(error, RejoinderError) else error,
        )  # fmt: skip
        return NotLoaded(why)

    def _role(self, number: int) -> str:
        names = [name for name, points_at in sorted(self._names.items()) if points_at == number]
        if number == self._champion.version.number:
            names.insert(0, "champion")
        elif number == self._previous:
            names.insert(0, "previous")
        return ",".join(names)

    def _unknown(self, model: str) -> UnknownVersion:
        return UnknownVersion(f"no model is called {model!r}; there are: {', '.join(self.model_names())}")
