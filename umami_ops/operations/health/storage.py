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
    some,
    span,
)
from umami_ops.operations.health.ingest import events_per_day
from umami_ops.operations.partition import way_to_end
from umami_ops.umami.tables import facts_of

#: pgstattuple reads indexes whole: as much as a slow disk gives in the time of a check.
_MEASURED_BYTES = 30_000_000
#: Of tables it reads little where VACUUM has been; where it hasn't, this is half of the time of a check.
_MEASURED_SECONDS = 0.5


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
    title="Autovacuum",
    why="Where it is off nothing clears dead rows away, renews statistics or freezes old rows: a table gets "
    "slower every day, and at last the server stops.",
    rule="warning for each visitor table, or for the whole server, where it is off; PostgreSQL only",
    cure="ALTER TABLE … RESET (autovacuum_enabled), or autovacuum = on in postgresql.conf",
)
def autovacuum(examination: Examination) -> Iterator[Outcome]:
    """Look for tables that were excepted, and for the server's own switch."""
    for row in examination.rows("autovacuum"):
        table = row["name"]
        if table is None:
            sentence, cure = "Autovacuum is off on the whole server.", "ALTER SYSTEM SET autovacuum = on;"
        elif facts_of(row["root"]).role.is_visitor_data:
            sentence = f"Autovacuum is off for {table}."
            cure = f"ALTER TABLE {examination.quote(table)} RESET (autovacuum_enabled);"
        else:
            continue
        yield Finding(Severity.WARNING, sentence, cure, table or "", {"table": table})


@check(
    title="Pace of autovacuum",
    why="By default autovacuum waits until a fifth of a table is new: with years of events that is months, "
    "in which charts of the last days read the table besides its index.",
    rule="info when website_event has `paced_rows` rows and autovacuum comes less often than every "
    "`vacuum_days` at the inserts of the last `growth_days`; PostgreSQL only, an estimate",
    cure="ALTER TABLE website_event SET (autovacuum_vacuum_insert_scale_factor = 0.01, "
    "autovacuum_analyze_scale_factor = 0.01), or a nightly umami-ops vacuum --if-needed.",
    thresholds=("paced_rows", "vacuum_days", "growth_days"),
    measures={
        "autovacuum_interval_seconds": "How often autovacuum comes to the table of events, by estimate."
    },
)
def autovacuum_pace(examination: Examination) -> Iterator[Outcome]:
    """Compare the inserts for which autovacuum waits with those of a day."""
    limits = examination.limits
    row, per_day = examination.row("autovacuum_pace"), events_per_day(examination)
    if row is None or not per_day:
        return
    if row["waits_for"] is None:
        yield Finding(
            Severity.INFO,
            "Autovacuum doesn't come to website_event for inserts: autovacuum_vacuum_insert_threshold is -1.",
            "ALTER TABLE website_event SET (autovacuum_vacuum_insert_threshold = 1000);",
            "website_event",
            {"rows": int(row["live"])},
        )
        return
    rows, waits_for = int(row["live"]), float(row["waits_for"])
    days = waits_for / per_day
    yield Measure("autovacuum_interval_seconds", round(days * 86_400))
    if rows >= limits.paced_rows and days > limits.vacuum_days:
        yield Finding(
            Severity.INFO,
            f"At its present inserts autovacuum comes to website_event every {span(days * 86_400)}.",
            "ALTER TABLE website_event SET (autovacuum_vacuum_insert_scale_factor = 0.01, "
            "autovacuum_analyze_scale_factor = 0.01);",
            "website_event",
            {"rows": rows, "waits_for_rows": round(waits_for), "days": round(days, 1)},
        )


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
    limits, sums = examination.limits, dict[str, int]()
    for row in _vacuum_rows(examination):
        dead, rows = int(row["dead"]), int(row["live"]) + int(row["dead"])
        sums[row["root"]] = sums.get(row["root"], 0) + dead
        percent = 100 * dead / max(rows, 1)
        if dead and dead >= limits.dead_rows and percent >= limits.dead_percent:
            yield Finding(
                Severity.WARNING,
                f"{percent:.0f} % of {row['name']} are dead rows ({dead:,}); "
                f"{_last('vacuumed', row['vacuumed_at'])}.",
                f"umami-ops vacuum --table {row['root']}",
                row["name"],
                {"dead_rows": dead, "dead_percent": round(percent, 1), "vacuumed_at": row["vacuumed_at"]},
            )
    yield from (Measure("dead_rows", dead, table) for table, dead in sums.items())


@check(
    title="Statistics of the planner",
    why="With old statistics PostgreSQL takes the wrong index, and a dashboard of seconds takes minutes.",
    rule="warning when at least `changed_rows` rows and `changed_percent` of a table changed since ANALYZE, "
    "or it never had any, as after pg_upgrade; PostgreSQL only (14 and later for the latter), as InnoDB "
    "renews its own",
    cure="umami-ops vacuum --analyze-only",
    thresholds=("changed_rows", "changed_percent"),
)
def statistics(examination: Examination) -> Iterator[Outcome]:
    """Compare the rows that changed since ANALYZE with all."""
    limits = examination.limits
    for row in _vacuum_rows(examination):
        changed, rows = int(row["changed"]), max(int(row["live"]), 1)
        percent = min(100 * changed / rows, 100)
        cure = f"umami-ops vacuum --analyze-only --table {row['root']}"
        if row["is_unknown"]:
            yield Finding(
                Severity.WARNING,
                f"{row['name']} has no statistics: PostgreSQL plans by guess.",
                cure,
                row["name"],
                {"changed_rows": changed, "analyzed_at": row["analyzed_at"]},
            )
        elif changed and changed >= limits.changed_rows and percent >= limits.changed_percent:
            yield Finding(
                Severity.WARNING,
                f"{percent:.0f} % of {row['name']} changed since its statistics were made "
                f"({_last('analysed', row['analyzed_at'])}).",
                cure,
                row["name"],
                {
                    "changed_rows": changed,
                    "changed_percent": round(percent, 1),
                    "analyzed_at": row["analyzed_at"],
                },
            )


def _vacuum_rows(examination: Examination) -> list[Row]:
    return [row for row in examination.rows("vacuum") if facts_of(row["root"]).role.is_visitor_data]


def _last(what: str, when: datetime | None) -> str:
    return f"last {what} {when:%Y-%m-%d %H:%M} UTC" if when else f"never {what}"


@check(
    title="Unused space in tables",
    why="After a big delete the server keeps the space for new rows: the disk stays as full as it was, and "
    "who reads the whole table reads the holes too.",
    rule="info when at least `unused_bytes` and `unused_percent` of a table are unused; on PostgreSQL "
    "measured by pgstattuple if it is installed and done in half a second, else an estimate from statistics",
    cure="umami-ops vacuum --full, when it is worth the lock (PostgreSQL) or the room for a copy",
    thresholds=("unused_bytes", "unused_percent"),
    measures={
        "table_unused_bytes": "Unused bytes of a table; on PostgreSQL without pgstattuple an estimate.",
    },
)
def unused_space(examination: Examination) -> Iterator[Outcome]:
    """Compare what a rewrite would give back with the table."""
    limits = examination.limits
    for table in examination.connection.upkeep().tables(measured_seconds=_MEASURED_SECONDS):
        if table.free_bytes is None or not facts_of(table.root).role.is_visitor_data:
            continue
        unused, name = table.free_bytes, table.place.name
        if name == table.root:
            yield Measure("table_unused_bytes", unused, name)
        percent = 100 * unused / max(table.size.table_bytes, 1)
        if unused and unused >= limits.unused_bytes and percent >= limits.unused_percent:
            how = "by estimate" if table.is_estimate else "as measured"
            yield Finding(
                Severity.INFO,
                f"About {bytes_in_words(unused)} of {name} are unused, {how} ({percent:.0f} %).",
                f"umami-ops vacuum --full --table {table.root}",
                name,
                {
                    "unused_bytes": unused,
                    "unused_percent": round(percent, 1),
                    "rows": table.rows,
                    "estimated": table.is_estimate,
                },
            )


@check(
    title="Bloated indexes",
    why="Rows that were deleted leave holes in an index; website_event has fourteen of them, and together "
    "they push what charts need out of the memory.",
    rule="warning when indexes of which `bloat_percent` are holes waste `bloat_bytes` together; PostgreSQL "
    "only, an estimate from its statistics, or by pgstattuple for as much as is read in a moment",
    cure="umami-ops vacuum --reindex",
    thresholds=("bloat_percent", "bloat_bytes"),
    measures={"index_wasted_bytes": "What a rebuild of bloated indexes would give back."},
)
def bloated_indexes(examination: Examination) -> Iterator[Outcome]:
    """Compare each index with the size that it would have if it were built now (docs/decisions/0007-*)."""
    limits = examination.limits
    bloated = {
        index.name: (index.wasted_bytes, index.size_bytes, index.is_estimate)
        for index in examination.connection.upkeep().indexes(measured_bytes=_MEASURED_BYTES)
        if index.wasted_bytes and 100 * index.wasted_bytes >= limits.bloat_percent * index.size_bytes
    }
    wasted = sum(waste for waste, _, _ in bloated.values())
    yield Measure("index_wasted_bytes", wasted)
    if bloated and wasted >= limits.bloat_bytes:
        worst = sorted(bloated, key=lambda name: -bloated[name][0])
        number = "1 index wastes" if len(bloated) == 1 else f"{len(bloated)} indexes waste"
        # What is too small to be worth reading makes no estimate of the whole.
        is_estimate = 10 * sum(waste for waste, _, guessed in bloated.values() if guessed) > wasted
        how = "by estimate" if is_estimate else "measured by pgstattuple"
        yield Finding(
            Severity.WARNING,
            f"{number} about {bytes_in_words(wasted)}, {how}: {some(worst)}.",
            "umami-ops vacuum --reindex",
            worst[0],
            {
                "wasted_bytes": wasted,
                "size_bytes": sum(size for _, size, _ in bloated.values()),
                "indexes": worst[:20],
                "estimated": is_estimate,
            },
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
    cure="End the oldest transaction; the check long_transactions names it.",
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


@check(
    title="Partitions of website_event",
    why="Events for which no partition was made land in the catch-all, which every query has to look "
    "through, and "
    "which makes new partitions dear.",
    rule="warning when events lie in the catch-all or the last partition ends within `partition_days`; "
    "critical when it has ended; warning of a change of partitions that was interrupted",
    cure="umami-ops partition maintain, by a schedule.",
    thresholds=("partition_days",),
    measures={
        "partitions": "Partitions of website_event.",
        "partition_end_timestamp_seconds": "Where the last partition ends.",
        "partition_catch_all_rows": "Events in the catch-all, by estimate.",
    },
)
def partitions(examination: Examination) -> Iterator[Outcome]:
    """Look at the last partition's end, and into the catch-all."""
    layout = examination.connection.partitioning().layout()
    if layout.unfinished:
        # Of an enable, too, which leaves no partitions: until its end PostgreSQL writes false times.
        yield Finding(
            Severity.WARNING,
            f"A `partition {layout.unfinished}` is at work, or was interrupted.",
            f"If none is at work: {way_to_end(layout)}",
            "website_event",
            {"unfinished": layout.unfinished},
        )
    if not layout.partitions:
        return
    yield Measure("partitions", len(layout.partitions))
    maintain = "umami-ops partition maintain"
    if layout.catch_all is not None:
        rows = layout.catch_all.rows_estimate
        yield Measure("partition_catch_all_rows", rows)
        if rows > 0:
            yield Finding(
                Severity.WARNING,
                f"About {rows:,} events lie in {layout.catch_all.name}, which is for what no partition "
                f"takes.",
                maintain,
                layout.catch_all.name,
                {"rows": rows},
            )
    if layout.end is not None:
        yield Measure("partition_end_timestamp_seconds", layout.end.timestamp())
        left = (layout.end - examination.now).total_seconds() / 86_400
        if left < examination.limits.partition_days:
            ended = left < 0
            verb = "ended" if ended else "ends"
            yield Finding(
                Severity.CRITICAL if ended else Severity.WARNING,
                f"The last partition of website_event {verb} on {layout.end:%Y-%m-%d}.",
                maintain,
                "website_event",
                {"end": layout.end, "days_left": round(left, 1)},
            )
