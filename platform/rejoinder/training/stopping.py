"""A wish to stop in, the same answer on all ranks at the same step out; and Ctrl-C and SIGTERM as such a wish."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch
import torch.distributed as dist

from rejoinder import console


class Stopped(KeyboardInterrupt):
    """Training ended at somebody's wish; the message says what is kept and how to go on."""


class Agreement:
    """Whether to stop: all ranks get the same answer at the same step, though one alone may know of the wish.

    They confer about every `every_s` seconds, which costs a small all-reduce. After how many steps they next do is part
    of what they agree on, so that in between nobody needs to be asked.
    """

    def __init__(self, world_size: int, device: torch.device, every_s: float = 0.5) -> None:
        self._world_size, self._device, self._every_s = world_size, device, every_s
        self._num_steps = self._steps_left = 1
        self._conferred_at = time.monotonic()

    def reached(self, is_wanted: Callable[[], bool]) -> bool:
        """To be asked on every rank after every step; `is_wanted` is this rank's own wish, looked at now and then."""
        self._steps_left -= 1
        if self._steps_left > 0:
            return False
        now = time.monotonic()
        step_s = max(1e-6, (now - self._conferred_at) / self._num_steps)
        # At most twice as many as the last time: the first steps say little of the others.
        num_steps = max(1, min(2 * self._num_steps, int(self._every_s / step_s)))
        answers = torch.tensor([int(is_wanted()), num_steps], device=self._device)
        if self._world_size > 1:
            dist.all_reduce(answers, dist.ReduceOp.MAX)
        stops, self._num_steps = answers.tolist()
        self._steps_left, self._conferred_at = self._num_steps, now
        return bool(stops)


@dataclass
class Signals:
    """What the system has asked of this process."""

    received: str | None = None
    """`Ctrl-C` or `SIGTERM`."""


@contextmanager
def stop_signals(follows: str = "saving at the next step, then ending") -> Iterator[Signals]:
    """Within the block the first Ctrl-C or SIGTERM is only noted; the second one raises Stopped at once.

    `follows` is what people are told will happen. Signals can be caught in a program's main thread alone; in another
    one they do what they always did.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def handle(number: int, frame: FrameType | None) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if signals.received is not None:
            restore()
            raise Stopped(f"stopped at once by the second {name}; the same command goes on from the last checkpoint")
        signals.received = name
        console.say(f"   {name}: {follows}; once more ends at once")

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, handle)
    try:
        yield signals
    finally:
        restore()


def run_while_signals_are_heard(fit: Callable[[], object], look: Callable[[], None] = lambda: None) -> None:
    """Runs `fit` to its end in a thread of its own and calls `look` a few times a second; raises what either raises.

    In the main thread Ray's `fit` would put its own handler of Ctrl-C in the place of `stop_signals`'; when `look`
    raises, `fit` is left to itself. Called from another thread, where no signal arrives, it just calls `fit`.
    """
    if threading.current_thread() is not threading.main_thread():
        fit()
        return
    failed: list[BaseException] = []

    def in_thread() -> None:
        try:
            fit()
        except BaseException as error:  # raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=in_thread, name="fit", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        look()
    if failed:
        raise failed[0]
