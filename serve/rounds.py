"""Work in, the same work every few seconds out, in a thread that nothing stops but `close`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from rejoinder.errors import RejoinderError

log = logging.getLogger(__name__)


class Rounds:
    """Calls `work` again and again; what it raises is logged."""

    def __init__(self, name: str, work: Callable[[], object], every_s: float | None) -> None:
        """Begins at once; `every_s` = None is once."""
        self._work, self._every_s, self._closing = work, every_s, threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self, patience_s: float = 1.0) -> None:
        """Begins no further round; one that runs is not waited for long, and ends with the process."""
        self._closing.set()
        self._thread.join(patience_s)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._work()
            except RejoinderError as error:  # such as a database that is away: a line, and no traceback
                log.warning("%s: %s", self._thread.name, error)
            except Exception:
                log.exception("%s failed, and is tried again", self._thread.name)
            if self._every_s is None:
                return
            self._closing.wait(self._every_s)
