"""Checks of how tables lie on the disk: dead rows, statistics, unused space, old versions, the binary log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from umami_ops.databases.base import Row
from umami_ops.operations.health.check import (
    Examination,
    Finding,
    Measure,
    Outcome,
    Severity,
    bytes_in_words,
    check,
    graded,
)
from umami_ops.umami.tables import TABLES, facts_of


@check(
    title="Sizes",
    why="A database that nobody prunes grows with every page view; monitoring shows how fast.",
    rule="never a finding: numbers for monitoring alone",
    cure="See umami-ops info.",
    measures={
        "table_bytes": "Bytes of a table without its indexes.",
        "index_bytes": "Bytes of a table's indexes.",
        "table_rows_estimate": "Rows of a table as the server estimates them.",
    },
)
def sizes(examination: Examination) -> Iterator[Outcome]:
    """Measure Umami's visitor tables, as `inspect` has read them."""
    for facts in examination.installation.tables():
        if facts.role.is_visitor_data:
            relation = examination.installation.relations[facts.name]
            yield Measure("table_bytes", relation.table_bytes, facts.name)
            yield Measure("index_bytes", relation.index_bytes, facts.name)
            yield Measure("table_rows_estimate", relation.rows_estimate, facts.name)


@check(
    title="Dead rows",
    why="Deleted and rewritten rows stay in the table until VACUUM has passed; charts read past each of "
    "them.",
    rule="warning when at least `dead_rows` and `dead_percent` of a table's rows are dead; PostgreSQL only",
    cure="umami-ops vacuum, and look why autovacuum doesn't come: long transactions, or autovacuum = off.",
    thresholds=("dead_rows", "dead_percent"),
    measures={"dead_rows": "Dead rows of a table, as the server counts them."},
)
def dead_rows(examination: Examination) -> Iterator[Outcome]:
    """Compare dead with living rows, as the statistics count them."""
    limits = examination.limits
    for row in _vacuum_rows(examination):
        dead, rows = int(row["dead"]), int(row["live"]) + int(row["dead"])
        yield Measure("dead_rows", dead, row["name"])
        percent = 100 * dead / max(rows, 1)
        if dead and dead >= limits.dead_rows and percent >= limits.dead_percent:
            yield Finding(
                Severity.WARNING,
                f"{percent:.0f} % of {row['name']} are dead rows ({dead:,}); "
                f"{_last('vacuumed', row['vacuumed_at'])}.",
                f"umami-ops vacuum --table {row['name']}",
                row["name"],
                {"dead_rows": dead, "dead_percent": round(percent, 1), "vacuumed_at": row["vacuumed_at"]},
            )


@check(
    title="Statistics of the planner",
    why="With old statistics PostgreSQL takes the wrong index, and a dashboard of seconds takes minutes.",
    rule="warning when at least `changed_rows` rows and `changed_percent` of a table changed since ANALYZE; "
    "PostgreSQL only, as InnoDB renews its own",
    cure="umami-ops vacuum --analyze-only",
    thresholds=("changed_rows", "changed_percent"),
)
def statistics(examination: Examination) -> Iterator[Outcome]:
    """Compare the rows that changed since ANALYZE with all."""
    limits = examination.limits
    for row in _vacuum_rows(examination):
        changed, rows = int(row["changed"]), max(int(row["live"]), 1)
        percent = min(100 * changed / rows, 100)
        if changed and changed >= limits.changed_rows and percent >= limits.changed_percent:
            yield Finding(
                Severity.WARNING,
                f"{percent:.0f} % of {row['name']} changed since its statistics were made "
                f"({_last('analysed', row['analyzed_at'])}).",
                f"umami-ops vacuum --analyze-only --table {row['name']}",
                row["name"],
                {
                    "changed_rows": changed,
                    "changed_percent": round(percent, 1),
                    "analyzed_at": row["analyzed_at"],
                },
            )


def _vacuum_rows(examination: Examination) -> list[Row]:
    return [row for row in examination.rows("vacuum") if facts_of(row["name"]).role.is_visitor_data]


def _last(what: str, when: datetime | None) -> str:
    return f"last {what} {when:%Y-%m-%d %H:%M} UTC" if when else f"never {what}"


@check(
    title="Unused space in tables' files",
    why="After a big delete InnoDB keeps the space for itself: backups don't shrink, and neither does the "
    "disk's use.",
    rule="info when at least `fragmented_bytes` and `fragmented_percent` of a table are unused; MySQL and "
    "MariaDB only",
    cure="OPTIMIZE TABLE, when Umami is quiet; it needs room for a copy.",
    thresholds=("fragmented_bytes", "fragmented_percent"),
    measures={"table_unused_bytes": "Unused bytes in a table's file."},
)
def fragmentation(examination: Examination) -> Iterator[Outcome]:
    """Compare what InnoDB calls free with all of the table."""
    limits = examination.limits
    for row in examination.rows("fragmentation"):
        if row["name"] not in TABLES:
            continue
        free, total = int(row["free_bytes"]), int(row["total_bytes"])
        yield Measure("table_unused_bytes", free, row["name"])
        percent = 100 * free / total
        if free >= limits.fragmented_bytes and percent >= limits.fragmented_percent:
            yield Finding(
                Severity.INFO,
                f"{bytes_in_words(free)} of {row['name']} are unused ({percent:.0f} %).",
                f"umami-ops vacuum --full --table {row['name']}",
                row["name"],
                {"unused_bytes": free, "unused_percent": round(percent, 1), "total_bytes": total},
            )


@check(
    title="Age of transaction ids",
    why="PostgreSQL's transaction ids run out at 2.1 billion; before that it refuses every write, and Umami "
    "counts "
    "nothing.",
    rule="warning from `transaction_id_age`, critical from `transaction_id_critical_age`; PostgreSQL only",
    cure="VACUUM (FREEZE), having ended long transactions, prepared ones and replication slots that hold it "
    "back.",
    thresholds=("transaction_id_age", "transaction_id_critical_age"),
    measures={"transaction_id_age": "Transactions since the database's oldest rows were frozen."},
)
def transaction_ids(examination: Examination) -> Iterator[Outcome]:
    """Look at the age of the database's oldest unfrozen rows."""
    row = examination.row("transaction_ids")
    if row is None:
        return
    age = int(row["age"])
    yield Measure("transaction_id_age", age)
    limits = examination.limits
    severity = graded(age, limits.transaction_id_age, limits.transaction_id_critical_age)
    if severity:
        yield Finding(
            severity,
            f"The oldest rows are {age:,} transactions old; at 2.1 billion the server stops writing.",
            "VACUUM (FREEZE); as the tables' owner",
            evidence={"age": age},
        )


@check(
    title="Purge lag",
    why="Old versions of rows that InnoDB can't clear away slow every read; a long transaction is the usual "
    "cause.",
    rule="warning from `history_length` old versions; MySQL and MariaDB only, and only with the right "
    "PROCESS",
    cure="End the oldest transaction (check transactions names it).",
    thresholds=("history_length",),
    measures={"history_length": "Old versions of rows that wait for InnoDB's purge."},
    needs_umami=False,
)
def purge_lag(examination: Examination) -> Iterator[Outcome]:
    """Look at InnoDB's history list."""
    row = examination.row("history")
    if row is None:
        return
    length = int(row["length"])
    yield Measure("history_length", length)
    if length >= examination.limits.history_length:
        yield Finding(
            Severity.WARNING,
            f"{length:,} old versions of rows wait to be purged.",
            "End the oldest open transaction: umami-ops health --only long_transactions",
            evidence={"history_length": length},
        )


@check(
    title="Strictness of the server",
    why="Without a strict mode MySQL cuts values that don't fit and says nothing: page titles, URLs, ids.",
    rule="warning when sql_mode holds no strict mode; MySQL and MariaDB only",
    cure="SET GLOBAL sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES'), and the same in the server's "
    "configuration.",
    needs_umami=False,
)
def sql_mode(examination: Examination) -> Iterator[Outcome]:
    """Look for a strict mode among those that new sessions begin with."""
    row = examination.row("sql_mode")
    if row is not None and "STRICT_" not in row["mode"]:
        yield Finding(
            Severity.WARNING,
            "The server's sql_mode is not strict: what doesn't fit a column is cut without a word.",
            "SET GLOBAL sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES'); and the same in its "
            "configuration",
            evidence={"sql_mode": row["mode"]},
        )


@check(
    title="Binary log",
    why="A binary log that never expires holds every page view a second time and fills the disk.",
    rule="warning when there is a binary log and binlog_expire_logs_seconds is 0; MySQL and MariaDB only",
    cure="SET GLOBAL binlog_expire_logs_seconds = 604800, and the same in the server's configuration.",
    measures={"binary_log_expire_seconds": "For how long the binary log is kept; 0 is for ever."},
    needs_umami=False,
)
def binary_log(examination: Examination) -> Iterator[Outcome]:
    """Look for how long the binary log is kept, where there is one."""
    row = examination.row("binary_log")
    if row is None:
        return
    seconds = int(row["expire_seconds"])
    yield Measure("binary_log_expire_seconds", seconds)
    if seconds == 0:
        yield Finding(
            Severity.WARNING,
            "The binary log is kept for ever.",
            "SET GLOBAL binlog_expire_logs_seconds = 604800; and the same in its configuration",
            evidence={"expire_seconds": seconds},
        )


@check(
    title="Replication slots that hold back the log",
    why="For a slot that nobody reads PostgreSQL keeps its write-ahead log until the disk is full.",
    rule="warning from `held_wal_bytes`, critical from `held_wal_critical_bytes` held by an inactive slot; "
    "PostgreSQL "
    "only",
    cure="SELECT pg_drop_replication_slot('NAME'), if its replica will not come back.",
    thresholds=("held_wal_bytes", "held_wal_critical_bytes"),
    measures={"held_wal_bytes": "Write-ahead log held by the worst inactive replication slot."},
    needs_umami=False,
)
def replication_slots(examination: Examination) -> Iterator[Outcome]:
    """Look at the slots that nobody reads."""
    limits = examination.limits
    rows = examination.rows("replication_slots")
    if rows:
        yield Measure("held_wal_bytes", float(rows[0]["held_bytes"]))
    for row in rows:
        held = int(row["held_bytes"])
        severity = graded(held, limits.held_wal_bytes, limits.held_wal_critical_bytes)
        if severity:
            yield Finding(
                severity,
                f"Nobody reads replication slot {row['name']}, which holds {bytes_in_words(held)} of WAL.",
                f"SELECT pg_drop_replication_slot({examination.connection.literal(row['name'])}); unless its "
                "replica "
                "comes back",
                row["name"],
                {"held_bytes": held},
            )


@check(
    title="Prepared transactions",
    why="A prepared transaction that nobody ends keeps its locks through restarts and holds VACUUM back for "
    "ever.",
    rule="warning from `prepared_seconds`; PostgreSQL only",
    cure="ROLLBACK PREPARED 'NAME' or COMMIT PREPARED 'NAME', as its owner.",
    thresholds=("prepared_seconds",),
    needs_umami=False,
)
def prepared_transactions(examination: Examination) -> Iterator[Outcome]:
    """Look at the transactions of this database that were prepared and not ended."""
    for row in examination.rows("prepared_transactions"):
        seconds = float(row["seconds"])
        if seconds >= examination.limits.prepared_seconds:
            yield Finding(
                Severity.WARNING,
                f"Transaction {row['name']} was prepared and never ended; it still holds its locks.",
                f"ROLLBACK PREPARED {examination.connection.literal(row['name'])};",
                row["name"],
                {"seconds": round(seconds)},
            )
