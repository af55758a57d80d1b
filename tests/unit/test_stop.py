"""Signals during a run: the first one asks it to end, a later one insists."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from umami_ops.cli.signals import interrupting
from umami_ops.execute import StopSignal

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


#: Is what sends the signals, in pairs, with gaps as long as those at which a run hung.
_HAMMER = """
import itertools, os, signal, time
run = os.getppid()
for gap in itertools.cycle(range(0, 6000, 25)):
    if os.getppid() != run:
        break
    os.kill(run, signal.SIGINT)
    for _ in range(gap): pass
    os.kill(run, signal.SIGINT)
    time.sleep(0.0005)
"""

#: Prints how many runs the hammer ended.
_ANVIL = """
import signal, subprocess, sys, time
from umami_ops.execute import StopSignal

signal.signal(signal.SIGINT, lambda *_: None)
hammer = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
runs, end = 0, time.monotonic() + 1.5
while time.monotonic() < end:
    stop = StopSignal()
    with stop.on_signals():
        while stop.reason is None:
            stop.wait(0.0005)
    runs += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
hammer.kill()
hammer.wait()
print(runs)
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put back what was there before: a run leaves that to the command."""
    with interrupting():
        yield


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [100.0]
    monkeypatch.setattr("umami_ops.execute.stop.time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("number", _NUMBERS)
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


@pytest.mark.parametrize("number", _NUMBERS)
def test_once_it_is_over_the_same_wish_cuts_no_report_short(
    number: signal.Signals, clock: list[float]
) -> None:
    stop = StopSignal()
    with stop.on_signals():
        signal.raise_signal(number)
    clock[0] = 101.9
    signal.raise_signal(number)
    clock[0] = 102.1
    with pytest.raises(KeyboardInterrupt, match="had ended already"):
        signal.raise_signal(number)


def test_a_handler_that_interrupts_a_handler_waits_for_nobody() -> None:
    """Signals some microseconds apart, thousands of times, while a run pauses."""
    ended = subprocess.run(
        [sys.executable, "-c", _ANVIL, _HAMMER],
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) > 100


def test_once_it_is_over_nobody_is_told_that_nothing_was_changed() -> None:
    with StopSignal().on_signals():
        pass
    with pytest.raises(KeyboardInterrupt, match="had ended already"):
        signal.raise_signal(signal.SIGINT)


def test_what_was_there_before_a_command_is_there_again() -> None:
    before = [signal.getsignal(number) for number in _NUMBERS]
    with interrupting(), StopSignal().on_signals():
        pass
    assert before == [signal.getsignal(number) for number in _NUMBERS]


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
