"""Signals during a run: the first one asks it to end, a later one insists."""

from __future__ import annotations

import signal
import time

import pytest

from umami_ops.execute import StopSignal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [100.0]
    monkeypatch.setattr("umami_ops.execute.stop.time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_key_pressed_twice_is_one_wish_and_a_later_one_insists(
    number: signal.Signals, clock: list[float]
) -> None:
    stop = StopSignal()
    with stop.on_signals():
        for moment in (100.0, 100.3, 101.9):
            clock[0] = moment
            signal.raise_signal(number)
        assert stop.reason == "Ctrl-C was pressed" or stop.reason == f"{number.name} was received"
        clock[0] = 102.1
        with pytest.raises(KeyboardInterrupt, match="What was committed stays"):
            signal.raise_signal(number)


def test_what_was_there_before_is_there_again() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with StopSignal().on_signals():
        pass
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


def test_nohup_means_that_a_hangup_is_no_reason() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopSignal()
        with stop.on_signals():
            signal.raise_signal(signal.SIGHUP)
        assert stop.reason is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_pause_ends_at_the_time_limit() -> None:
    began = time.monotonic()
    stop = StopSignal(0.05)
    stop.wait(60)
    assert time.monotonic() - began < 30
    assert stop.reason == "the time limit was reached"
