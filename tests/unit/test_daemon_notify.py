"""Who is told what, and which word about a job is the last."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from umami_ops.daemon import notify
from umami_ops.daemon.history import History
from umami_ops.daemon.log import Log
from umami_ops.daemon.notify import Channels, Messenger
from umami_ops.daemon.records import Cause, Message, Result, Run

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
RUN = Run("0" * 32, "nightly", Cause.SCHEDULE, NOW, 0, NOW, NOW, Result.SUCCESS)
FAILED = replace(RUN, result=Result.FAILURE, reason="It broke.")


def _messenger(folder: Path, channels: Channels) -> tuple[Messenger, History]:
    history = History(folder)
    return Messenger(history, Log(), lambda: channels, "here"), history


def _told(history: History) -> list[Message]:
    """What would go out, which then is delivered."""
    messages = history.messages()
    for message in messages:
        history.delivered(message)
    return messages


def test_a_failure_after_a_success_is_news_though_nobody_wants_to_hear_of_successes(tmp_path: Path) -> None:
    messenger, history = _messenger(tmp_path, Channels(("json://a",), occasions=frozenset({"failure"})))
    told = []
    before = None
    for hours, run in enumerate([FAILED, FAILED, RUN, FAILED]):
        run = replace(run, started_at=NOW + timedelta(hours=hours))
        messenger.ended(run, before, {})
        told.append(len(_told(history)))
        before = run
    assert told == [1, 0, 0, 1]


def test_a_failure_whose_numbers_move_is_the_same_failure(tmp_path: Path) -> None:
    """The job `health` runs every hour, and what it finds has other numbers each time."""
    messenger, history = _messenger(tmp_path, Channels(("json://a",)))
    told = []
    reasons = ["disk: 1.1 GB are free.", "disk: 999 MB are free.", "disk: 998.5 MB are free.", "It broke."]
    for hours, reason in enumerate(reasons):
        run = replace(FAILED, reason=reason, started_at=NOW + timedelta(hours=hours))
        messenger.ended(run, FAILED, {})
        told.append(len(_told(history)))
    assert told == [1, 0, 0, 1]


def test_a_webhook_is_json_whatever_a_program_has_said(tmp_path: Path) -> None:
    messenger, history = _messenger(tmp_path, Channels(webhook="https://hook.example"))
    said = '"postgresql://here/umami?password=hidden" is wrong'
    messenger.ended(FAILED, None, {"reason": said})
    (message,) = _told(history)
    assert json.loads(message.content["body"]) == {"reason": said.replace("hidden", "***")}


def test_a_clock_that_was_ahead_silences_nobody(tmp_path: Path) -> None:
    messenger, history = _messenger(tmp_path, Channels(("json://a",), occasions=frozenset({"failure"})))
    messenger.ended(replace(FAILED, started_at=NOW + timedelta(days=365)), None, {})
    assert len(_told(history)) == 1
    messenger.ended(FAILED, FAILED, {})
    (message,) = _told(history)
    far = replace(message, next_at=NOW + timedelta(days=365))
    assert notify.is_due(far, NOW)
    assert notify.is_due(replace(message, next_at=NOW), NOW)
    assert not notify.is_due(replace(message, next_at=NOW + timedelta(minutes=59)), NOW)


def test_an_older_word_about_a_job_never_comes_after_a_newer_one(tmp_path: Path) -> None:
    channels = Channels(("json://a", "json://b"), "https://hc.example/{job}", "https://hook.example")
    messenger, history = _messenger(tmp_path, channels)
    messenger.began(RUN)
    (start,) = history.messages()
    assert history.claim(start, NOW + timedelta(days=1))
    messenger.ended(FAILED, None, {"run": 1})
    history.put_off(start, NOW)  # it was on its way, and did not arrive
    messenger.ended(replace(RUN, started_at=NOW + timedelta(hours=1)), FAILED, {"run": 2})
    messenger.ended(replace(FAILED, job="other"), None, {"run": 3})
    told = [
        (m.channel, m.content["job"], m.content.get("path") or m.content.get("kind")) for m in _told(history)
    ]
    assert sorted(told, key=str) == sorted(
        [
            ("webhook", "nightly", None), ("webhook", "nightly", None), ("webhook", "other", None),
            ("ping", "nightly", f"/0?rid={'0' * 8}-0000-0000-0000-{'0' * 12}"),
            ("ping", "other", f"/1?rid={'0' * 8}-0000-0000-0000-{'0' * 12}"),
            ("apprise", "nightly", "recovery"), ("apprise", "nightly", "recovery"),
            ("apprise", "other", "failure"), ("apprise", "other", "failure"),
        ],
        key=str,
    )  # fmt: skip


def test_each_address_is_told_by_itself_and_stands_nowhere(tmp_path: Path) -> None:
    channels = Channels(("json://u:geheim@a", "json://u:geheim@b"))
    messenger, history = _messenger(tmp_path, channels)
    messenger.ended(FAILED, None, {})
    messages = history.messages()
    assert [channels.address("apprise", m.content) for m in messages] == [
        {"url": "json://u:geheim@a"}, {"url": "json://u:geheim@b"},
    ]  # fmt: skip
    assert Channels(("json://c",)).address("apprise", messages[0].content) is None
    assert "geheim" not in str(messages)


def test_a_success_is_told_where_that_is_wanted_and_nowhere_else(tmp_path: Path) -> None:
    for occasions, kinds in ((frozenset({"success"}), ["success"]), (frozenset({"failure", "recovery"}), [])):
        messenger, history = _messenger(
            tmp_path / str(len(kinds)), Channels(("json://a",), occasions=occasions)
        )
        messenger.ended(RUN, None, {})
        assert [message.content["kind"] for message in history.messages()] == kinds
