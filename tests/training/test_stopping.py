"""Ray's `fit` beside a main thread that hears signals."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rejoinder.training.stopping import Stopped, run_while_signals_are_heard, stop_signals


def test_it_runs_beside_the_main_thread_and_its_error_is_raised_there() -> None:
    ran_in = list[threading.Thread]()
    run_while_signals_are_heard(lambda: ran_in.append(threading.current_thread()))
    assert ran_in[0] is not threading.main_thread()

    def fails() -> None:
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        run_while_signals_are_heard(fails)


def test_it_is_left_to_itself_when_the_main_thread_has_heard_enough() -> None:
    is_heard, ended = threading.Event(), threading.Event()

    def fit() -> None:
        is_heard.wait(60)
        ended.set()

    def look() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_while_signals_are_heard(fit, look)
    assert not ended.is_set()
    is_heard.set()
    assert ended.wait(60)


def test_in_another_thread_where_no_signal_arrives_it_is_just_called() -> None:
    def look() -> None:
        raise AssertionError

    with ThreadPoolExecutor(1) as pool:
        ran_in = list[threading.Thread]()
        asked = pool.submit(
            lambda: run_while_signals_are_heard(lambda: ran_in.append(threading.current_thread()), look)
        )
        asked.result()
        assert ran_in == list(pool._threads)


def test_the_first_ctrl_c_is_noted_with_what_comes_of_it_and_the_second_ends_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_signals("tidying up") as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.received == "Ctrl-C"
        assert "Ctrl-C: tidying up; once more ends at once" in capsys.readouterr().out
        with pytest.raises(Stopped, match="stopped at once by the second Ctrl-C"):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
