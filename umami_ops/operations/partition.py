"""Partitions of website_event: decides what `partition` does. The DDL is the databases' own.

Only website_event is partitioned, by created_at, in UTC. The old table stays whole as the partition of all
history; periods ahead get partitions of their own, and a catch-all takes what no other one takes, since
/api/send accepts any time. Source of what Umami and Prisma do with it: docs/partitioning.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from umami_ops.databases.base import Connection
from umami_ops.databases.partitioning import TABLE, Layout, Partition, Partitioning, Slot
from umami_ops.errors import Refused
from umami_ops.operations.inspect import Installation
from umami_ops.operations.periods import PERIODS, end_of, period_of, slots, start_of
from umami_ops.operations.prune import Retention, plan_prune
from umami_ops.plan import Batches, Note, Plan, Size, Step

#: So much must be left until the boundary when history is bounded, for clocks that are ahead.
_MARGIN = timedelta(days=1)
#: What lies before a gap of this length (imports, wrong clocks) stays in one partition.
_GAP = timedelta(days=92)
_MOST_PARTITIONS = 150
_NEVER = {
    "session": "Umami writes sessions by ON CONFLICT (session_id), which a partitioned table can't answer",
    "revenue": "Umami's migration 17 would fail on it, and the next upgrade with it",
}
_FOREIGN = Note(f"{TABLE} was partitioned by somebody else, in another way: it is left alone.")


@dataclass(frozen=True)
class Enabling:
    """What a person asked of `enable`. `undated` says what becomes of events without a time."""

    period: str = "month"
    ahead: int = 3
    undated: str = "refuse"
    online: bool = True


@dataclass(frozen=True)
class Upkeep:
    """What a person asked of `maintain`: partitions `ahead`, and the `horizon` past which they go."""

    ahead: int = 3
    horizon: datetime | None = None
    detach: bool = False


def check_table(table: str) -> None:
    """Raise Refused for a table that must not be partitioned, with the reason."""
    if table == TABLE:
        return
    reason = _NEVER.get(
        table, "only website_event grows so that it pays, and has a time that queries ask for"
    )
    raise Refused(f"{table} is not partitioned: {reason}.", done="Nothing was changed.")


def layout_of(connection: Connection, installation: Installation) -> Layout:
    """Return how website_event lies there. Raises Refused where this isn't Umami's database."""
    if not installation.is_umami:
        installation.require_safe()
    return connection.partitioning().layout()


def plan_enable(connection: Connection, installation: Installation, wish: Enabling, now: datetime) -> Plan:
    """Plan the way to partitions: a rerun goes on where a run was interrupted.

    Raises Refused when the database isn't fit, or events have no time and nobody said what becomes of them.
    """
    installation.require_safe()
    partitioning = connection.partitioning()
    layout = _ours(partitioning.layout())
    if layout.is_partitioned:
        steps = _cleared(partitioning, "enable") if layout.unfinished in (None, "enable") else []
        notes = () if steps else (Note(f"{TABLE} is partitioned already.", "umami-ops partition status"),)
        return _plan(connection, "enable", steps, layout, notes=notes)
    _refuse_obstacles(partitioning.obstacles())
    _refuse_without_rights(connection)
    boundary = end_of(wish.period, now + _MARGIN)
    ahead = list(_following(wish.period, boundary, wish.ahead))
    undated = _decided(connection, wish.undated)
    steps = [
        *_cleared(partitioning, "enable"),
        *_dating(connection, undated),
        *partitioning.enable(boundary, ahead, online=wish.online),
    ]
    table = installation.relations[TABLE]
    needed = partitioning.bytes_for_enable(table.rows_estimate, Size(table.table_bytes, table.index_bytes))
    _refuse_without_space(connection, layout, "enable", needed)
    return _plan(
        connection, "enable", steps, layout, boundary=boundary, slots=ahead, period=wish.period,
        needed_bytes=needed,
        undated_events={"dated": undated.dated, "deleted": undated.deleted},
    )  # fmt: skip


def plan_maintain(connection: Connection, installation: Installation, wish: Upkeep, now: datetime) -> Plan:
    """Plan what a scheduler calls: partitions ahead, the catch-all emptied into them, old ones dropped.

    Where there are no partitions of ours, there is nothing to do: schedules are the same everywhere. Raises
    Refused when partitions were to be dropped there.
    """
    installation.require_safe()
    partitioning = connection.partitioning()
    layout = partitioning.layout()
    if not layout.is_partitioned or layout.is_foreign:
        return _nothing_to_maintain(connection, layout, wish)
    period = _period_in_use(layout)
    current = start_of(period, now)
    end = layout.end or start_of(period, _oldest_of_late(connection, now))
    wanted = end_of(period, now)
    for _ in range(wish.ahead):
        wanted = end_of(period, wanted)
    missing = list(slots(period, end, wanted)) if end < wanted else []
    crowd = sum(_spread(connection, end, missing[-1].until).values()) if missing else 0
    needed = partitioning.bytes_for_extend(layout, crowd) if missing else 0
    _refuse_without_space(connection, layout, "split", needed)
    past = [part for part in layout.dated if wish.horizon and part.until and part.until <= wish.horizon]
    is_pruned = bool(past) and not wish.detach
    # A prune brings interrupted drops to their end by itself.
    steps = partitioning.clear("split") if is_pruned else _cleared(partitioning, "split")
    if missing:
        steps += partitioning.extend(missing, crowd)
    if is_pruned:
        steps += _retention_steps(connection, installation, past)
    else:
        steps += [step for part in past for step in partitioning.detach(part)]
    notes = list(_about_unfinished(layout))
    return _plan(
        connection, "maintain", steps, layout, slots=missing, period=period, current=current,
        moved=crowd, past=[part.name for part in past], past_events=sum(part.rows_estimate for part in past),
        detach=wish.detach, needed_bytes=needed, notes=tuple(notes),
    )  # fmt: skip


def _cleared(partitioning: Partitioning, verb: str) -> list[Step]:
    """Return the steps in front of a verb: what was interrupted is undone, or brought to its end."""
    return [*partitioning.clear(verb), *partitioning.dropping()]


def _nothing_to_maintain(connection: Connection, layout: Layout, wish: Upkeep) -> Plan:
    if wish.horizon is not None:
        _partitioned(layout)
    note = _FOREIGN if layout.is_foreign else Note(f"{TABLE} is not partitioned, nothing to maintain.")
    return _plan(connection, "maintain", [], layout, notes=(note, *_about_unfinished(layout)))


def _retention_steps(
    connection: Connection, installation: Installation, past: Sequence[Partition]
) -> tuple[Step, ...]:
    """Return the steps of a prune whose horizon is the end of the last partition that goes."""
    horizon = max(part.until for part in past if part.until)
    retention = Retention(horizon=None, tables={TABLE: horizon})
    return plan_prune(connection, installation, retention, counted=False, noted=False).steps


def plan_split(connection: Connection, installation: Installation, period: str) -> Plan:
    """Plan the partition of all history, and others longer than the period, into partitions of the period.

    Raises Refused where nothing is partitioned, and when there would be too many.
    """
    installation.require_safe()
    partitioning = connection.partitioning()
    layout = _partitioned(partitioning.layout())
    parts: list[tuple[Partition, Sequence[Slot]]] = []
    for source in layout.dated:
        if source.until is None:
            continue  # without an end it is not ours
        slots_in = list(_slots_in(connection, layout, source, period)) if _is_longer(source, period) else []
        if len(slots_in) > 1 or (slots_in and source.since is None):
            parts.append((source, slots_in))
    made = [slot for _, slots_in in parts for slot in slots_in]
    steps = [*_cleared(partitioning, "split"), *partitioning.split(parts)]
    if len(made) + len(layout.partitions) > _MOST_PARTITIONS:
        raise Refused(
            f"{len(made)} partitions by the {period} are too many: a look by event_id asks all of them.",
            hint="Choose a longer period: --by quarter or --by year.",
            done="Nothing was changed.",
        )
    if steps:
        _refuse_without_rights(connection)
    needed = partitioning.bytes_for_split(layout, [source for source, _ in parts])
    _refuse_without_space(connection, layout, "split", needed)
    return _plan(connection, "split", steps, layout, slots=made, period=period, needed_bytes=needed)


def plan_disable(connection: Connection, installation: Installation, *, online: bool = True) -> Plan:
    """Plan the way back to the plain table; what an interrupted enable left goes, too."""
    installation.require_safe()
    partitioning = connection.partitioning()
    layout = _ours(partitioning.layout())
    steps = _cleared(partitioning, "disable")
    notes: tuple[Note, ...] = ()
    copied: Sequence[Partition] = ()
    needed = 0
    if layout.is_partitioned:
        _refuse_obstacles(partitioning.obstacles())
        _refuse_without_rights(connection)
        needed = partitioning.bytes_for_disable(layout)
        _refuse_without_space(connection, layout, "disable", needed)
        steps += partitioning.disable(online=online)
        copied = partitioning.copied_by_disable(layout.partitions)
    elif not steps:
        notes = (Note(f"{TABLE} is a plain table already."),)
    return _plan(
        connection, "disable", steps, layout, notes=notes,
        copied_events=sum(part.rows_estimate for part in copied), needed_bytes=needed,
    )  # fmt: skip


def notes_on(layout: Layout, now: datetime) -> Iterator[Note]:
    """Say what the owner of these partitions should know: what is missing, and what they cost."""
    yield from _about_unfinished(layout)
    if layout.is_foreign:
        yield _FOREIGN
    if not layout.partitions:
        return
    end, catch_all = layout.end, layout.catch_all
    if end is not None and end <= now + timedelta(days=7):
        yield Note(
            f"The last partition ends on {end:%Y-%m-%d}: what comes later goes into the catch-all.",
            "umami-ops partition maintain",
        )
    if catch_all is not None and catch_all.rows_estimate > 0:
        yield Note(
            f"About {catch_all.rows_estimate:,} events lie in the catch-all {catch_all.name}: of another"
            " time, or of one that has no partition yet.",
            "umami-ops partition maintain moves those whose time has come",
        )
    filled = [part for part in layout.partitions if part.rows_estimate > 0]
    yield Note(
        f"A look by event_id alone (Umami's reports on event data) asks {len(layout.partitions)} partitions,"
        f" {len(filled)} of them with events. Few large ones for history cost least: split into months, a"
        " year asks twelve times as often.",
    )


def _plan(
    connection: Connection, verb: str, steps: Sequence[Step], layout: Layout, *, notes: tuple[Note, ...] = (),
    slots: Sequence[Slot] = (), **facts: Any,
) -> Plan:  # fmt: skip
    server = connection.server()
    return Plan(
        operation=f"partition {verb}",
        facts={
            "database": server.database,
            "server": server.title,
            "partitions": list(layout.partitions),
            "new_partitions": list(slots),
            **facts,
        },
        steps=tuple(steps),
        notes=notes,
    )


# --- what is refused ---------------------------------------------------------------------------------------


def _ours(layout: Layout) -> Layout:
    if layout.is_foreign:
        raise Refused(
            f"{TABLE} is partitioned already, in a way that isn't umami-ops's.",
            hint="It is left alone: whoever partitioned it must undo that first.",
            done="Nothing was changed.",
        )
    return layout


def _partitioned(layout: Layout) -> Layout:
    if not _ours(layout).is_partitioned:
        raise Refused(f"{TABLE} is not partitioned.", hint="umami-ops partition enable does that.")
    return layout


def _refuse_obstacles(obstacles: Sequence[str]) -> None:
    if obstacles:
        raise Refused(
            f"{TABLE} has {', '.join(obstacles)}, which would be lost or left behind.",
            hint="Drop it first, and make it anew afterwards.",
            done="Nothing was changed.",
        )


def _refuse_without_rights(connection: Connection) -> None:
    """Raise Refused for a user who may not change the table, before events without a time are deleted."""
    missing = connection.rows(connection.dialect.queries["upgrade.missing_rights"], tables=[TABLE])
    if missing:
        lacks = ", ".join(f"{row['right']} of {row['name']}" for row in missing)
        raise Refused(
            f"User {connection.server().user} may not change {TABLE}: it lacks {lacks}.",
            hint="Connect as the table's owner, the user that Umami itself has.",
            done="Nothing was changed.",
        )


def _refuse_without_space(connection: Connection, layout: Layout, verb: str, needed_bytes: int) -> None:
    """Raise Refused where the disk is too small; what is gone on with has taken its share already."""
    if not needed_bytes or layout.unfinished == verb:
        return
    free_bytes = connection.free_bytes()
    if free_bytes is not None and free_bytes < needed_bytes:
        raise Refused(
            f"It takes about {needed_bytes / 1e6:,.0f} MB of the server's disk until it is done, and"
            f" {free_bytes / 1e6:,.0f} MB are free.",
            done="Nothing was changed.",
        )


def way_to_end(layout: Layout) -> str:
    """Return what brings an unfinished run to its end, as it is typed, and what undoes it."""
    verb, begun = layout.unfinished, layout.begun
    if verb not in ("enable", "split"):
        return f"umami-ops partition {verb} brings it to its end"
    period = _period_of_all(begun)
    if verb == "split" and begun and layout.end and begun[0].since >= layout.end:
        command = "umami-ops partition maintain"  # it empties a full catch-all the way that split has
    elif period:
        command = f"umami-ops partition {verb} --by {period}"
    else:
        command = f"umami-ops partition {verb}, with the --by that it was given,"
    return f"{command} brings it to its end, umami-ops partition disable undoes it"


def _period_of_all(begun: Sequence[Slot]) -> str | None:
    """Return the period that these partitions were made by, or None: the first and the last may be cut."""
    for period in PERIODS if begun else ():
        if tuple(slots(period, begun[0].since, begun[-1].until)) == tuple(begun):
            return period
    return None


def _about_unfinished(layout: Layout) -> Iterator[Note]:
    if layout.unfinished:
        yield Note(
            f"A `partition {layout.unfinished}` is at work, or was interrupted.",
            f"If none is at work: {way_to_end(layout)}",
        )
    yield from about_bounds(layout)


def about_bounds(layout: Layout) -> Iterator[Note]:
    """Say what an enable that isn't at its end does to new events, where that can be noticed."""
    if layout.bounded_at is not None:
        yield Note(
            f"Until it is at its end, or undone, events of {layout.bounded_at:%Y-%m-%d} and later are dated"
            " just before that day (UTC): no dashboard shows them in their time.",
            way_to_end(layout),
        )


# --- events without a time ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Undated:
    """How many events without a time get their session's, and how many are deleted."""

    dated: int = 0
    deleted: int = 0


def _decided(connection: Connection, choice: str) -> _Undated:
    """Return what becomes of events without a time. Raises Refused when that takes another decision."""
    row = connection.row(connection.dialect.queries["partition.undated"])
    undated, undatable = int(row["undated"]), int(row["undatable"])
    if choice == "delete":
        return _Undated(deleted=undated)
    if choice == "session-time-or-delete" or (choice == "session-time" and not undatable):
        return _Undated(dated=undated - undatable, deleted=undatable)
    if not undated:
        return _Undated()
    of_these = f", and {undatable:,} of them have no session with a time" if undatable else ""
    raise Refused(
        f"{undated:,} events have no time (created_at is NULL){of_these}: no partition could take them.",
        hint=_ways_out(undated, undatable),
        done="Nothing was changed.",
    )


def _ways_out(undated: int, undatable: int) -> str:
    """Return what may be chosen for these events, and what it comes to."""
    delete = f"--null-created-at delete deletes all {undated:,}"
    if undatable == undated:
        return f"{delete}; none has a session with a time."
    if not undatable:
        return f"--null-created-at session-time gives them their session's; {delete}."
    return (
        f"--null-created-at session-time-or-delete gives {undated - undatable:,} their session's and deletes"
        f" the other {undatable:,}; {delete}."
    )


def _dating(connection: Connection, undated: _Undated) -> Iterator[Step]:
    """Yield the steps that leave no event without a time: what can be dated isn't there any more to go."""
    queries = connection.dialect.queries
    words = {"undated", *_details(connection)}
    for events, title, work in (
        (undated.dated, "giving events without a time their session's", "partition.date_events"),
        (undated.deleted, "deleting events without a time", "prune.delete_events"),
    ):
        if events:
            yield Batches(
                title=title,
                next_slice=queries["prune.next_events"].when(words),
                work=queries[work].when(words),
                values={"after": None, "since": None, "horizon": None, "websites": []},
                prepare=(queries["prune.prepare_events"].when(words),),
            )


def _details(connection: Connection) -> Iterator[str]:
    from umami_ops.databases.base import Introspector

    there = {relation.name for relation in Introspector(connection).relations()}
    yield from (f"has_{table}" for table in ("event_data", "revenue") if table in there)


# --- periods -----------------------------------------------------------------------------------------------


def _following(period: str, since: datetime, count: int) -> Iterator[Slot]:
    until = since
    for _ in range(count):
        until = end_of(period, until)
    return slots(period, since, until)


def _period_in_use(layout: Layout) -> str:
    """Return the period of the last partition that is one; a month where there is none yet."""
    for part in reversed(layout.dated):
        if part.since and part.until and (found := period_of(part.since, part.until)):
            return found
    return "month"


def _is_longer(part: Partition, period: str) -> bool:
    if part.since is None or part.until is None:
        return True
    return part.until > end_of(period, part.since)


def _spread(connection: Connection, since: datetime, until: datetime) -> dict[datetime, int]:
    """Return how many events there are on each day of a range."""
    rows = connection.rows(connection.dialect.queries["partition.spread"], since=since, until=until)
    return {row["day"].replace(tzinfo=UTC): int(row["events"]) for row in rows}


def _slots_in(connection: Connection, layout: Layout, source: Partition, period: str) -> Iterator[Slot]:
    """Return the periods in a partition; of all history, from where it goes on without a long gap.

    What a split left as too old to be worth partitions stays so: history goes on behind it.
    """
    assert source.until is not None
    if source.since is not None:
        return slots(period, source.since, source.until)
    days = sorted(_spread(connection, connection.dialect.first_moment, source.until), reverse=True)
    if not days:
        return iter(())
    goes_on = any(part.rows_estimate for part in layout.dated if part.since and part.since >= source.until)
    first = _without_gap(days, source.until if goes_on else days[0])
    return slots(period, start_of(period, first), source.until) if first < source.until else iter(())


def _oldest_of_late(connection: Connection, now: datetime) -> datetime:
    """Return where events begin, without a long gap until now, when all partitions but the last are gone.

    A prune has dropped those that lay past its horizon, and nobody had made any since.
    """
    return _without_gap(sorted(_spread(connection, connection.dialect.first_moment, now), reverse=True), now)


def _without_gap(days: Sequence[datetime], latest: datetime) -> datetime:
    """Return the first of these days, the last one first, from which on no long gap leads to `latest`."""
    for day in days:
        if latest - day > _GAP:
            break
        latest = day
    return latest
