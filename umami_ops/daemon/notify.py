"""Who is told what about a run, and the delivery of it: retried for a day, and never in the way of a job."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from umami_ops.daemon.child import Child
from umami_ops.daemon.history import History
from umami_ops.daemon.log import Log
from umami_ops.daemon.records import Cause, Message, Result, Run

#: The same failure of the same job is told again only after so long.
REPEAT = timedelta(hours=24)
_GIVE_UP = timedelta(hours=24)
_ZERO = timedelta()
#: What may be different in a failure that is still the same: sizes, times, counts.
_NUMBERS = re.compile(r"\d[\d.,:]*( [kMGT]?B)?")
_FIRST_RETRY, _LONGEST_RETRY = timedelta(seconds=15), timedelta(hours=1)
_COURIER_SECONDS = 30.0
_TAIL_LINES = 20
#: Where only the last word about a job counts, and an older one that comes late would be wrong.
_NEWS = ("ping", "apprise")
_EXIT_CODES = {Result.SUCCESS: 0, Result.UNFINISHED: 0}


@dataclass(frozen=True)
class Channels:
    """Where messages go. `ping` may hold `{job}`; `occasions` are failure, recovery, success."""

    apprise: tuple[str, ...] = ()
    ping: str = ""
    webhook: str = ""
    occasions: frozenset[str] = frozenset({"failure", "recovery"})

    def address(self, channel: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return where a message of a channel goes now, as the courier wants it; None when nowhere any
        more.
        """
        if channel == "apprise":
            return next(({"url": url} for url in self.apprise if _name_of(url) == content["to"]), None)
        if channel == "webhook":
            return {"url": self.webhook} if self.webhook else None
        if not self.ping:
            return None
        # The address may have a query of its own, ?create=1 say, behind which a path would mean nothing.
        base = urlsplit(self.ping.replace("{job}", str(content["job"])))
        path, _, query = str(content["path"]).partition("?")
        whole = base._replace(
            path=base.path.rstrip("/") + path, query="&".join(filter(None, (base.query, query)))
        )
        return {"url": whole.geturl()}


def occasion(run: Run, before: Run | None) -> str:
    """Return what a run is an occasion of: failure, recovery, success, or nothing."""
    if run.result is Result.FAILURE:
        return "failure"
    if run.result in (Result.SUCCESS, Result.UNFINISHED):
        return "recovery" if before is not None and before.result is Result.FAILURE else "success"
    return ""


def text(run: Run, kind: str, host: str) -> tuple[str, str]:
    """Return title and body of a notification: what failed, why, what to type, and the end of the log."""
    verb = {"failure": "failed", "recovery": "works again", "success": "is done"}[kind]
    title = f"umami-ops: {run.job} {verb}"
    lines = [f"Job {run.job} on {host}, begun {run.started_at:%Y-%m-%d %H:%M:%S} UTC."]
    if run.cause is Cause.CATCH_UP:
        lines.append("This run was caught up: its time had passed.")
    if kind == "failure":
        # None where umami-ops itself was ended: nobody saw how far it was.
        step = run.steps[-1] if run.steps else None
        lines += [f"Step: umami-ops {step.command} (exit code {step.exit_code})"] if step else []
        lines += [f"Reason: {run.reason}"] if run.reason else []
        lines += [f"What to do: {run.hint}"] if run.hint else []
        lines += [f"Try it: umami-ops run {run.job}"]
        tail = step.tail.splitlines()[-_TAIL_LINES:] if step else []
        lines += ["", "The end of its log:", *tail] if tail else []
    else:
        lines += [f"{step.command}: {step.seconds:.1f} s" for step in run.steps]
    return title, "\n".join(lines)


def is_due(message: Message, now: datetime) -> bool:
    """Whether a message is to be tried now; what waits longer than any may, a wrong clock has put off."""
    return not now < message.next_at <= now + _LONGEST_RETRY


class Messenger:
    """Delivers what is in the history's outbox, in a thread and a process of its own."""

    def __init__(self, history: History, log: Log, channels: Callable[[], Channels], host: str) -> None:
        self._history = history
        self._log = log
        self._channels = channels
        self._host = host
        self._ending = threading.Event()
        self._new = threading.Event()
        self._thread = threading.Thread(target=self._deliver_all, name="messenger", daemon=True)
        self._courier = Child()

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing more; what is left goes out after the next start."""
        self._ending.set()
        self._new.set()
        self._courier.end(signal.SIGKILL)
        self._thread.join(timeout=1)

    def flush(self, seconds: float) -> None:
        """Wait until everything new was tried once, for so long at most."""
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        while datetime.now(UTC) < ends and any(message.attempts == 0 for message in self._history.messages()):
            self._ending.wait(0.1)

    def began(self, run: Run) -> None:
        """Tell healthchecks that a run began."""
        if self._channels().ping:
            self._post("ping", {"job": run.job, "path": f"/start?rid={_uuid(run)}", "body": ""})

    def ended(self, run: Run, before: Run | None, report: Mapping[str, Any]) -> None:
        """Tell everybody what a run came to."""
        channels = self._channels()
        if channels.ping and run.result is not Result.INTERRUPTED:
            code = _EXIT_CODES.get(run.result, run.steps[-1].exit_code if run.steps else 1)
            code = code if 0 <= code <= 255 else 255
            tail = self._log.redact(run.steps[-1].tail if run.steps else run.reason)
            self._post("ping", {"job": run.job, "path": f"/{code}?rid={_uuid(run)}", "body": tail})
        if channels.webhook:
            # Redacted before it is JSON: in there a secret may look otherwise, and a quote could be lost.
            body = json.dumps(self._log.redact.document(dict(report)))
            self._post("webhook", {"job": run.job, "body": body, "content_type": "application/json"})
        kind = occasion(run, before)
        if kind in ("recovery", "success"):
            self._history.keep(f"told {run.job}", "", run.started_at)  # the next failure is news
        if channels.apprise and kind in channels.occasions and not self._was_told(run, kind):
            title, body = map(self._log.redact, text(run, kind, self._host))
            # Each address is tried again by itself, or all would be told again because of one.
            for to in dict.fromkeys(map(_name_of, channels.apprise)):
                self._post("apprise", {"job": run.job, "to": to, "kind": kind, "title": title, "body": body})

    def _was_told(self, run: Run, kind: str) -> bool:
        """Whether the same failure of the same job was told lately; if not, note that it is told now."""
        if kind != "failure":
            return False
        told = self._history.kept(f"told {run.job}")
        failure = _NUMBERS.sub("", run.reason)
        if told is not None and told[1] == failure != "" and _ZERO <= run.started_at - told[0] < REPEAT:
            return True
        self._history.keep(f"told {run.job}", failure, run.started_at)
        return False

    def _post(self, channel: str, content: dict[str, Any]) -> None:
        """Put a message into the outbox; what it says of a job takes the place of older news of that job."""
        now = datetime.now(UTC)
        if channel in _NEWS:
            for message in self._history.messages():
                is_older = all(message.content.get(name) == content.get(name) for name in ("job", "to"))
                if message.channel == channel and is_older:
                    self._history.delivered(message)
        self._history.post(Message(channel, content, now, next_at=now))
        self._new.set()

    def _deliver_all(self) -> None:
        while not self._ending.is_set():
            now = datetime.now(UTC)
            waiting = self._history.messages()
            for message in waiting:
                if is_due(message, now) and not self._ending.is_set():
                    self._deliver(message, now)
            soon = min((message.next_at for message in self._history.messages()), default=None)
            pause = 60.0 if soon is None else min(max((soon - now).total_seconds(), 0.2), 60.0)
            self._new.wait(pause)
            self._new.clear()

    def _deliver(self, message: Message, now: datetime) -> None:
        address = self._channels().address(message.channel, message.content)
        if address is None:
            self._history.delivered(message)
            return
        if not self._history.claim(message, now + timedelta(seconds=2 * _COURIER_SECONDS)):
            return
        fault = self._carry({"channel": message.channel, **message.content, **address})
        if self._ending.is_set() and fault:
            return
        name = {"apprise": "notification", "ping": "ping", "webhook": "webhook"}[message.channel]
        job = message.content["job"]
        if not fault:
            self._history.delivered(message)
            self._log.info("delivered", f"{job}: {name} delivered", job=job, channel=message.channel)
        elif now - message.made_at > _GIVE_UP:
            self._history.delivered(message)
            self._log.error(
                "given_up", f"{job}: {name} given up after a day: {fault}", job=job, channel=message.channel
            )
        else:
            wait = min(_FIRST_RETRY * 2**message.attempts, _LONGEST_RETRY)
            self._history.put_off(message, datetime.now(UTC) + wait)
            self._log.warning(
                "not_delivered",
                f"{job}: {name} not delivered, next try in {wait.total_seconds():.0f} s: {fault}",
                job=job,
                channel=message.channel,
                attempts=message.attempts + 1,
            )

    def _carry(self, content: dict[str, Any]) -> str:
        """Send the courier; return why it failed, or nothing."""
        words = [sys.executable, "-P", "-m", "umami_ops.daemon.courier"]
        try:
            code, said = self._courier.run(words, _COURIER_SECONDS, given=json.dumps(content).encode())
        except subprocess.TimeoutExpired:
            return f"no answer within {_COURIER_SECONDS:.0f} s"
        except OSError as fault:
            return f"it could not be sent: {fault.strerror}"
        return self._log.redact(said.strip() or f"the courier ended with {code}") if code else ""


def _name_of(url: str) -> str:
    """Return what stands for an address where the address, which holds a password, must not stand."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _uuid(run: Run) -> str:
    """Return a run's id as healthchecks wants it."""
    return f"{run.id[:8]}-{run.id[8:12]}-{run.id[12:16]}-{run.id[16:20]}-{run.id[20:32]}"
