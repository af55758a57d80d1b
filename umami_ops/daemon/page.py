"""The page for people: one document without a request to anywhere, for phones, the dark, and without
JavaScript.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from umami_ops.daemon import chart, words
from umami_ops.daemon.status import parsed
from umami_ops.daemon.style import STYLE

_SIGNS = {"success": "✓", "unfinished": "◐", "failure": "✗", "interrupted": "◌", "running": "●"}
_RESULTS = {
    "success": "done",
    "unfinished": "ended early, goes on next time",
    "failure": "failed",
    "interrupted": "interrupted",
    "running": "running",
}
_SEVERITIES = {"critical": "✗", "warning": "!", "info": "i"}
_MOST_ROWS, _MOST_BACKUPS = 12, 5


def html(status: Mapping[str, Any]) -> str:
    """Return the page for a snapshot."""
    now = parsed(status["now"])
    view = _View(now, ZoneInfo(status["timezone"]))
    parts = [
        _head(status, view),
        _jobs(status["jobs"], view),
        _database(status["database"], now),
        _findings(status["health"], view),
        _backups(status["backups"], view),
        _runs(status["runs"], view),
        _foot(status, view),
    ]
    title = "All is well" if status["ok"] else "Needs a look"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        '<meta http-equiv="refresh" content="60">'
        f'<link rel="icon" href="{_icon(status["ok"])}"><title>{title} – umami-ops</title>'
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


class _View:
    """When it is, and where: for times in words."""

    def __init__(self, now: datetime, zone: ZoneInfo) -> None:
        self.now = now
        self._zone = zone

    def time(self, text: str | None, *, far: bool = True) -> str:
        """Return a time as people say it, with the distance behind it unless `far` is false."""
        if text is None:
            return '<span class="faint">–</span>'
        when = parsed(text)
        shown = escape(words.clock(when, self.now, self._zone))
        behind = f' <span class="faint">{words.distance(when, self.now)}</span>' if far else ""
        whole = f"{when.astimezone(self._zone):%Y-%m-%d %H:%M:%S %Z}"
        return f'<time datetime="{text}" title="{whole}">{shown}</time>{behind}'

    @property
    def zone(self) -> str:
        """Return the name of the zone."""
        return self._zone.key


def _icon(is_ok: bool) -> str:
    colour = "%233b8f64" if is_ok else "%23c2504a"
    return (
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
        f"%3Ccircle cx='8' cy='8' r='6' fill='{colour}'/%3E%3C/svg%3E"
    )


def _head(status: Mapping[str, Any], view: _View) -> str:
    problems = status["problems"]
    running = next((job for job in status["jobs"] if job["state"] == "running"), None)
    coming = [job for job in status["jobs"] if job["next_run"]]
    following = min(coming, key=lambda job: str(job["next_run"]), default=None)
    mood, headline = ("bad", "Something needs a look") if problems else ("good", "All is well")
    if status["role"] == "away" and not problems:
        mood, headline = "waits", "Waiting for the database"
    if status["role"] == "standby":
        line = "This one stands by; another daemon runs the jobs of this database."
    elif status["role"] == "away":
        line = "The database is away, and jobs wait until it is back."
    elif running:
        line = f"<b>{escape(running['name'])}</b> is running, since {view.time(running['running_since'])}"
    elif following:
        line = f"Next is <b>{escape(following['name'])}</b>, {view.time(following['next_run'])}"
    else:
        line = "No job is scheduled."
    listed = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    database = status["database"]
    where = (
        f"{database['name']} · {database['server']} · Umami {database['umami']}" if database else "umami-ops"
    )
    return (
        f'<header class="{mood}"><p class="where">{escape(where)}</p>'
        f"<h1><i></i>{headline}</h1><p>{line}</p>{f'<ul>{listed}</ul>' if listed else ''}</header>"
    )


def _jobs(jobs: Sequence[Mapping[str, Any]], view: _View) -> str:
    return _section("Jobs", '<div class="jobs">' + "".join(_job(job, view) for job in jobs) + "</div>")


def _job(job: Mapping[str, Any], view: _View) -> str:
    last = job["last_run"]
    state = "overdue" if job["overdue_since"] else job["state"] if job["state"] != "idle" else ""
    badge = f' <span class="badge {state}">{state}</span>' if state else ""
    when = words.schedule(job["schedule"]) if job["schedule"] else "only by hand"
    steps = "".join(f"<li>{_command(step)}</li>" for step in job["steps"])
    rows = [("next", view.time(job["next_run"])), ("last", _last(last, view))]
    if last and last["result"] == "failure":
        rows.append(("success", view.time(job["last_success"])))
    facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    bars = "".join(_bar(run) for run in job["recent"])
    reason = f'<p class="reason">{escape(last["reason"])}</p>' if last and last["reason"] else ""
    return (
        f'<article class="card"><h3>{escape(job["name"])}{badge}</h3>'
        f'<p class="when" title="{escape(job["schedule"] or "", quote=True)}">{escape(when)}</p>'
        f'<dl>{facts}</dl>{reason}<div class="bars" aria-hidden="true">{bars}</div>'
        f'<ol class="steps">{steps}</ol></article>'
    )


def _command(text: str) -> str:
    """Return a command line that breaks between its words alone, not at the dashes of an option."""
    return "<code>" + " ".join(f"<span>{escape(word)}</span>" for word in text.split(" ")) + "</code>"


def _last(run: Mapping[str, Any] | None, view: _View) -> str:
    if run is None:
        return '<span class="faint">not yet</span>'
    return f"{_sign(run['result'])} {view.time(run['started_at'])}"


def _sign(result: str) -> str:
    return f'<span class="sign {result}" title="{_RESULTS[result]}">{_SIGNS[result]}</span>'


def _bar(run: Mapping[str, Any]) -> str:
    took = f", {words.duration(run['seconds'])}" if run["seconds"] is not None else ""
    return f'<i class="{run["result"]}" title="{run["started_at"]}: {_RESULTS[run["result"]]}{took}"></i>'


def _database(database: Mapping[str, Any] | None, now: datetime) -> str:
    if database is None:
        return _section("Database", '<p class="faint">Not looked at yet.</p>')
    to_come = database["forecast"]
    numbers = [
        (words.size(database["size_bytes"]), "in all"),
        (f"{'~' if database['events_estimated'] else ''}{_short(database['events'] or 0)}", "events"),
        (f"{database['events_per_day']:,.0f}", "events a day"),
    ]
    if to_come:
        month = to_come["bytes_per_day"] * 30
        numbers.append((f"+{words.size(month)}" if month else "steady", "a month, expected"))
    tiles = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for value, name in numbers)
    largest = sorted(database["tables"], key=lambda table: -(table["table_bytes"] + table["index_bytes"]))[:5]
    return _section(
        "Database",
        f'<div class="card"><div class="tiles">{tiles}</div>{chart.growth(database, now)}'
        f"{_outlook(database, now)}{_tables(largest)}</div>",
    )


def _outlook(database: Mapping[str, Any], now: datetime) -> str:
    """Return in a sentence what the lines mean."""
    to_come = database["forecast"]
    if not to_come:
        return '<p class="faint">The expected growth is drawn once there is some history.</p>'
    if to_come["level_bytes"] is None:
        return (
            '<p class="faint">Nothing is pruned, so it grows for ever. '
            "A job with <code>prune --days 365</code> would level it off.</p>"
        )
    at = parsed(to_come["level_at"])
    if at <= now:
        return f'<p class="faint">Retention of {database["keeps_days"]:g} days holds it where it is.</p>'
    return (
        f'<p class="faint">Retention of {database["keeps_days"]:g} days takes effect from {at:%-d %B %Y} on, '
        f"and holds it at about {words.size(to_come['level_bytes'])}.</p>"
    )


def _tables(tables: Sequence[Mapping[str, Any]]) -> str:
    """Return bars of the largest tables: data and indexes."""
    whole = max((table["table_bytes"] + table["index_bytes"] for table in tables), default=0) or 1
    rows = "".join(
        f'<div class="table"><span class="name">{escape(table["name"])}</span><span class="track">'
        f'<i style="width:{100 * table["table_bytes"] / whole:.1f}%"></i>'
        f'<i class="index" style="width:{100 * table["index_bytes"] / whole:.1f}%"></i></span>'
        f'<span class="number">{words.size(table["table_bytes"] + table["index_bytes"])}</span></div>'
        for table in tables
    )
    legend = '<p class="faint"><i class="dot"></i> rows <i class="dot index"></i> indexes</p>'
    return f'<div class="tables">{rows}{legend}</div>'


def _short(number: int) -> str:
    for size, unit in ((1_000_000_000, "bn"), (1_000_000, "M"), (10_000, "k")):
        if number >= size:
            divided = number / (1_000 if unit == "k" else size)
            return f"{divided:.0f} {unit}" if divided >= 100 else f"{divided:.1f} {unit}"
    return f"{number:,}"


def _findings(health: Mapping[str, Any] | None, view: _View) -> str:
    if health is None:
        return _section("Health", '<p class="faint">Not looked at yet.</p>')
    findings = health["findings"]
    listed = "".join(_finding(finding) for finding in findings[:_MOST_ROWS])
    more = len(findings) - _MOST_ROWS
    rest = f'<p class="faint">And {more} more: <code>umami-ops health</code></p>' if more > 0 else ""
    fine = (
        f'<p class="faint">{health["fine"]} checks are fine; looked at {view.time(health["examined_at"])}</p>'
    )
    return _section("Health", f'<div class="card findings">{listed}{rest}{fine}</div>')


def _finding(finding: Mapping[str, Any]) -> str:
    severity = finding["severity"]
    cure = f'<p class="cure">{_command(finding["cure"])}</p>' if finding["cure"] else ""
    return (
        f'<details class="{severity}"><summary><i>{_SEVERITIES[severity]}</i>'
        f"{escape(finding['sentence'])}</summary>"
        f'<p class="faint">{escape(finding["why"])}</p>{cure}</details>'
    )


def _backups(backups: Sequence[Mapping[str, Any]], view: _View) -> str:
    if not backups:
        return ""
    rows = [
        (
            _sign("success" if backup["ok"] else "failure"),
            view.time(backup["at"]),
            escape(backup["name"] or backup["command"]),
            words.size(backup["size_bytes"]) if backup["size_bytes"] else "",
            "verified" if backup["verified"] or "--verify" in backup["command"] and backup["ok"] else "",
        )
        for backup in backups[:_MOST_BACKUPS]
    ]
    return _section("Backups", _table(("", "when", "", "size", ""), rows, numbers={3}, kind="backups"))


def _runs(runs: Sequence[Mapping[str, Any]], view: _View) -> str:
    if not runs:
        return _section("Lately", '<p class="faint">Nothing has run yet.</p>')
    rows = [_run(run, times, view) for run, times in _folded(runs)[:_MOST_ROWS]]
    return _section("Lately", _table(("", "when", "job", "took", "rows", "space"), rows, numbers={3, 4, 5}))


def _folded(runs: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], int]]:
    """Return runs with how often each stands for: a job that is done again and again is one line."""
    found: list[tuple[Mapping[str, Any], int]] = []
    for run in runs:
        last, times = found[-1] if found else (run, 0)
        is_same = all(run[name] == last[name] for name in ("job", "result", "cause", "rows", "size_bytes"))
        if times and is_same and run["result"] == "success":
            found[-1] = (last, times + 1)
        else:
            found.append((run, 1))
    return found


def _run(run: Mapping[str, Any], times: int, view: _View) -> tuple[str, ...]:
    cause = {"catch-up": "caught up", "hand": "by hand"}.get(run["cause"], "")
    cause = f"{times} times" if times > 1 else cause
    note = f' <span class="faint">{cause}</span>' if cause else ""
    reason = f'<div class="reason">{escape(run["reason"])}</div>' if run["reason"] else ""
    return (
        _sign(run["result"]),
        view.time(run["started_at"]),
        f"{escape(run['job'])}{note}{reason}",
        words.duration(run["seconds"]) if run["seconds"] is not None else "",
        f"{run['rows']:,}" if run["rows"] is not None else "",
        words.size(run["size_bytes"]) if run["size_bytes"] else "",
    )


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: set[int], kind: str = "runs"
) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if place in numbers else ''}>{cell}</{tag}>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    top = f"<thead><tr>{cells(head, 'th')}</tr></thead>"
    return f'<div class="card scroll"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def _foot(status: Mapping[str, Any], view: _View) -> str:
    fault = status["history_fault"]
    note = f'<p class="reason">The history can’t be written: {escape(fault)}</p>' if fault else ""
    return (
        f"<footer>{note}<p>umami-ops {escape(status['version'])}, "
        f"up since {view.time(status['started_at'])}. "
        f"Times in {escape(view.zone)}. Renewed every minute. "
        '<a href="status.json">JSON</a> <a href="metrics">metrics</a></p></footer>'
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"
