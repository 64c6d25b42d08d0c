"""Decisions about a model's aliases in, one chain of them out: appended in the model store, never rewritten.

The ledger of the model `chat` is the registered model `chat.ledger`, and a decision is a version of it. MLflow cannot
compare and set: of two who move an alias, the last one wins. But a version's number is part of a primary key, in SQLite
as in PostgreSQL and behind a server, so that all processes of all machines see one order of entries. Each names the
sha256 of the one it follows; one that follows another than the last came too late: it stands there and counts for
nothing. So of two promotions at once one wins. The alias is set after its entry, and is a copy that anyone puts right.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import random
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient

from rejoinder.errors import RegistryError
from rejoinder.registry.connection import store_errors, suppress_existing, suppress_missing

SUFFIX = ".ledger"
ENTRY_TAG, SHA256_TAG = "rejoinder.entry", "rejoinder.sha256"
PROMOTED, REFUSED, ROLLED_BACK, FOUND = "promoted", "refused", "rolled back", "found"
_ATTEMPTS = 20
_PAGE = 200


@dataclass(frozen=True)
class Decision:
    """Who decided what about which alias, when and on which evidence."""

    action: str
    """`promoted`, `refused`, `rolled back`; or `found`, for an alias that had been set before there was a ledger."""
    alias: str
    version: int
    """The one that was decided about; of a rollback, the one that serves again."""
    replaces: int | None
    """The version that the alias pointed at."""
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)
    """What it rests on: the gate's table and the hashes of what was compared."""
    is_forced: bool = False
    who: str = field(default_factory=lambda: _who())
    when: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells an entry from the same one written twice, when a request was repeated."""
    previous: str = ""
    """sha256 of the entry that this one follows; of the first, nothing."""

    def to_json(self) -> str:
        """The entry's text, of which its sha256 is taken."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @property
    def moves_the_alias(self) -> bool:
        """Whether the alias points at `version` from then on."""
        return self.action != REFUSED


@dataclass(frozen=True)
class Entry:
    """A decision where it stands."""

    number: int
    decision: Decision
    sha256: str
    counts: bool
    """False: it came too late, another one follows its predecessor."""


@dataclass(frozen=True)
class Standing:
    """What all entries come to."""

    entries: tuple[Entry, ...] = ()
    head: str = ""
    """sha256 of the last entry that counts."""
    served: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of each alias the versions to go back to, the one that it points at last."""

    def holder(self, alias: str) -> int | None:
        """The version that an alias points at."""
        return self.served[alias][-1] if self.served.get(alias) else None

    def before(self, alias: str) -> int | None:
        """The version to go back to."""
        return self.served[alias][-2] if len(self.served.get(alias, ())) > 1 else None


class Ledger:
    """The ledger of one registered model."""

    def __init__(self, client: MlflowClient, uri: str, model: str) -> None:
        self._client, self._uri, self._model, self.name = client, uri, model, model + SUFFIX

    def standing(self) -> Standing:
        """Reads all of it. Raises RegistryError naming an entry that is missing or was changed."""
        texts = self._texts()
        missing = sorted(set(range(1, max(texts, default=0) + 1)) - texts.keys())
        if missing:
            raise self._broken(f"entry {missing[0]} is missing")
        entries, head, served, ids = list[Entry](), "", dict[str, tuple[int, ...]](), set[str]()
        for number, (text, said) in sorted(texts.items()):
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            if sha256 != said:
                raise self._broken(f"entry {number} was changed after it had been written")
            decision = Decision(**json.loads(text))
            counts = decision.previous == head and decision.id not in ids
            entries.append(Entry(number, decision, sha256, counts))
            ids.add(decision.id)
            if counts:
                head = sha256
                if decision.moves_the_alias:
                    served[decision.alias] = _moved(served.get(decision.alias, ()), decision)
        return Standing(tuple(entries), head, served)

    def append(self, make: Callable[[Standing], Decision]) -> Decision:
        """Writes what `make` decides as things stand. It is asked again when another entry came in between.

        Raises what `make` raises, which looks whether the decision still holds; RegistryError of a store that is away.
        """
        for attempt in range(_ATTEMPTS):
            standing = self.standing()
            decision = make(standing)
            decision = Decision(**asdict(decision) | {"previous": standing.head})
            error = self._write(decision)
            if any(entry.counts and entry.decision.id == decision.id for entry in self.standing().entries):
                return decision
            if error is not None and attempt == _ATTEMPTS - 1:
                raise error
            time.sleep(random.uniform(0, 0.05 * 2 ** min(attempt, 5)))
        raise RegistryError(
            f"the ledger {self.name!r} at {self._uri}: others wrote {_ATTEMPTS} times in between; run the command again"
        )

    def settle(self, alias: str) -> None:
        """Lets the alias point where the ledger says, also when others move it meanwhile."""
        for attempt in range(_ATTEMPTS):
            holder = self.standing().holder(alias)
            if holder is None or self.pointed_at(alias) == holder:
                return
            try:
                with store_errors(self._uri):
                    self._client.set_registered_model_alias(self._model, alias, str(holder))
            except RegistryError:  # such as two who set it for the first time
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0, 0.2))

    def pointed_at(self, alias: str) -> int | None:
        """The version that MLflow's alias points at, which is what is served."""
        aliases = dict[str, str]()
        with store_errors(self._uri), suppress_missing():
            aliases = dict(self._client.get_registered_model(self._model).aliases)
        return int(aliases[alias]) if alias in aliases else None

    def _write(self, decision: Decision) -> RegistryError | None:
        """Why it may not have been written. A store that is busy, and two who make the ledger at once, pass."""
        text = decision.to_json()
        tags = {ENTRY_TAG: text, SHA256_TAG: hashlib.sha256(text.encode()).hexdigest()}
        try:
            with store_errors(self._uri):
                with suppress_existing():
                    self._client.create_registered_model(self.name, description=f"Decisions about {self._model}")
                said = f"{decision.alias}: {decision.action} version {decision.version}. {decision.reason}"[:1000]
                # One call, one transaction: an entry is never there by halves.
                self._client.create_model_version(
                    self.name, f"models:/{self._model}/{decision.version}", tags=tags, description=said,
                    await_creation_for=0,
                )  # fmt: skip
        except RegistryError as error:
            return error
        return None

    def _texts(self) -> dict[int, tuple[str, str]]:
        """Number to text and sha256."""
        found, token = dict[int, tuple[str, str]](), None
        with store_errors(self._uri):
            while True:
                page = self._client.search_model_versions(
                    f"name = '{self.name}'", max_results=_PAGE, order_by=["version_number ASC"], page_token=token
                )
                for version in page:
                    tags = version.tags
                    found[int(version.version)] = tags.get(ENTRY_TAG, ""), tags.get(SHA256_TAG, "no hash")
                token = page.token
                if not token:
                    return found

    def _broken(self, what: str) -> RegistryError:
        return RegistryError(
            f"the ledger {self.name!r} at {self._uri}: {what}; bring the store back from a backup, or delete the "
            f"registered model {self.name!r} to begin a new ledger"
        )


def _moved(served: tuple[int, ...], decision: Decision) -> tuple[int, ...]:
    """A promotion goes on top, a rollback takes away: two of them go back by two."""
    return served[:-1] if decision.action == ROLLED_BACK else (*served, decision.version)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
