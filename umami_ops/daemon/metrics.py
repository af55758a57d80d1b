"""The snapshot as metrics for Prometheus. Labels are jobs, results, tables and checks: few, and they stay
few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from umami_ops.daemon.status import parsed
from umami_ops.operations.health import CHECKS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Not `job`: that is Prometheus' own label of what it scrapes, and would become `exported_job`.
_JOB = "job_name"
_SEVERITIES = {"ok": 0, "info": 1, "warning": 2, "critical": 3}


def exposition(snapshot: Mapping[str, Any]) -> bytes:
    """Return the metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot))
    return generate_latest(registry)


class _Snapshot:
    """A collector over one snapshot."""

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        yield from self._daemon()
        yield from self._jobs()
        yield from self._totals()
        yield from self._database()
        yield from self._health()

    def _daemon(self) -> Iterable[Metric]:
        shown = self._snapshot
        build = GaugeMetricFamily("umami_ops_build_info", "The version that runs.", labels=["version"])
        build.add_metric([shown["version"]], 1)
        yield build
        yield _plain("umami_ops_ok", "Whether /healthz is green.", shown["ok"])
        yield _plain("umami_ops_up", "Whether the database can be reached.", shown["role"] != "away")
        yield _plain("umami_ops_leader", "Whether this daemon runs the jobs.", shown["role"] == "leader")
        yield _plain(
            "umami_ops_start_timestamp_seconds", "When the daemon began.", _seconds(shown["started_at"])
        )

    def _jobs(self) -> Iterable[Metric]:
        wanted = {
            "last_success_timestamp_seconds": "When a run of the job last succeeded.",
            "last_run_timestamp_seconds": "When the last run of the job began.",
            "last_duration_seconds": "How long the last run took.",
            "last_failed": "Whether the last run failed.",
            "last_rows": "Rows that the last run deleted or wrote.",
            "last_size_bytes": "Bytes that the last run wrote or, below zero, gave back.",
            "running": "Whether the job runs now.",
            "overdue": "Whether the job is overdue.",
            "next_run_timestamp_seconds": "When the job runs next.",
        }
        families = {
            name: GaugeMetricFamily(f"umami_ops_job_{name}", about, labels=[_JOB])
            for name, about in wanted.items()
        }
        # What a standby's history has is old: how its jobs stand, the leader tells.
        for job in () if self._snapshot["role"] == "standby" else self._snapshot["jobs"]:
            last = job["last_run"] or {}
            values = {
                "last_success_timestamp_seconds": _seconds(job["last_success"]),
                "last_run_timestamp_seconds": _seconds(last.get("started_at")),
                "last_duration_seconds": last.get("seconds"),
                "last_failed": last["result"] == "failure" if last else None,
                "last_rows": last.get("rows"),
                "last_size_bytes": last.get("size_bytes"),
                "running": job["state"] == "running",
                "overdue": job["overdue_since"] is not None,
                "next_run_timestamp_seconds": _seconds(job["next_run"]),
            }
            for name, value in values.items():
                if value is not None:
                    families[name].add_metric([job["name"]], float(value))
        yield from families.values()

    def _totals(self) -> Iterable[Metric]:
        runs = CounterMetricFamily("umami_ops_job_runs", "Runs of a job by result.", labels=[_JOB, "result"])
        seconds = CounterMetricFamily(
            "umami_ops_job_seconds", "Time that runs took.", labels=[_JOB, "result"]
        )
        rows = CounterMetricFamily("umami_ops_job_rows", "Rows deleted or written.", labels=[_JOB, "result"])
        for total in self._snapshot["totals"]:
            labels = [total["job"], total["result"]]
            runs.add_metric(labels, total["runs"])
            seconds.add_metric(labels, total["seconds"])
            rows.add_metric(labels, total["rows"])
        yield from (runs, seconds, rows)

    def _database(self) -> Iterable[Metric]:
        database = self._snapshot["database"]
        if database is None:
            return
        yield _plain("umami_ops_database_size_bytes", "Tables and indexes together.", database["size_bytes"])
        yield _plain("umami_ops_events_per_day", "Events that are added a day.", database["events_per_day"])
        if database["events"] is not None:
            yield _plain(
                "umami_ops_events", "Rows of website_event, of a big one an estimate.", database["events"]
            )
        if database["forecast"]:
            growth = database["forecast"]["bytes_per_day"]
            yield _plain("umami_ops_database_growth_bytes_per_day", "Expected growth a day.", growth)

    def _health(self) -> Iterable[Metric]:
        health = self._snapshot["health"]
        if health is None:
            return
        yield _plain(
            "umami_ops_examined_timestamp_seconds", "When health was read.", _seconds(health["examined_at"])
        )
        severity = GaugeMetricFamily(
            "umami_ops_check_severity",
            "Worst finding of a check: 0 ok, 1 info, 2 warning, 3 critical. Absent where it could not look.",
            labels=["check"],
        )
        abouts = {name: about for check in CHECKS for name, about in check.measures.items()}
        measures: dict[str, GaugeMetricFamily] = {}
        for check in health["checks"]:
            if check["severity"] is not None:
                severity.add_metric([check["name"]], _SEVERITIES[check["severity"]])
            for measure in check["measures"]:
                name, table = measure["name"], measure["table"]
                family = measures.setdefault(
                    name,
                    GaugeMetricFamily(
                        f"umami_ops_{name}", abouts.get(name, name), labels=["table"] if table else []
                    ),
                )
                family.add_metric([table] if table else [], float(measure["value"]))
        yield severity
        yield from measures.values()


def _plain(name: str, about: str, value: float | bool | None) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=None if value is None else float(value))


def _seconds(text: str | None) -> float | None:
    return None if text is None else parsed(text).timestamp()
