"""An iterator in, the same items out, some of them made in a thread before they are asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Iterates over `items`, up to `num_items` of them ahead of the reader; with 0 in the reader's own thread.

    What the iterator raises is raised where the item would have come. Use it in a `with` block: leaving it ends the
    thread, wherever the iterator stands.
    """

    def __init__(self, items: Iterator[T], num_items: int) -> None:
        self._items = items
        self._made: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=num_items)
        self._closing = threading.Event()
        self._over: BaseException | None = None
        self._thread = threading.Thread(target=self._make, name="rejoinder-ahead", daemon=True) if num_items else None
        if self._thread is not None:
            self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._thread is None:
            return next(self._items)
        if self._over is None:
            item, self._over = self._made.get()
            if self._over is None:
                return item  # type: ignore[return-value]
        raise self._over

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread and drops what it made; may be called again."""
        self._closing.set()
        self._over = self._over or StopIteration()
        while self._thread is not None and self._thread.is_alive():
            while not self._made.empty():  # a thread that waits for room gets some, and sees that it is to end
                self._made.get_nowait()
            self._thread.join(0.01)

    def _make(self) -> None:
        try:
            while not self._closing.is_set():
                self._made.put((next(self._items), None))
        except BaseException as error:  # StopIteration too: the reader's thread is where it belongs
            self._made.put((None, error))
