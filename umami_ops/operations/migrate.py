"""Plans a move of the whole database to another server, of the same dialect or the other.

Everything that could forbid it is asked first, of both sides, and nothing is written. What is done stands in
`execute/move.py`; the text of the schema and of rows in `transfer/` and `databases/*/transit.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from umami_ops.databases.base import Connection, Introspector
from umami_ops.errors import ConnectionLost, DatabaseFault, PermissionFault, Refused, TransientFault
from umami_ops.operations.conclusion import conclusion, require_ended
from umami_ops.operations.crossing import Crossing, Finding, Policies, cross
from umami_ops.operations.downgrade import homeless
from umami_ops.operations.inspect import (
    Installation,
    inspect,
    require_detached,
    require_events_in_place,
    require_schema,
    require_session,
)
from umami_ops.operations.problems import some
from umami_ops.operations.sides import require_two, side_of
from umami_ops.plan import Move, Note, Plan, TableMove
from umami_ops.rows import Field, Kind, Pair
from umami_ops.sql import Query
from umami_ops.transfer import ledger
from umami_ops.transfer.schema import Translation, is_ours, pair, translate
from umami_ops.transfer.snapshot import state_of
from umami_ops.umami import prisma
from umami_ops.umami.migrations import likely_release
from umami_ops.umami.schema import Table, latest_level, schema_at
from umami_ops.umami.tables import TABLES

#: What Umami's first migration inserts.
_DEFAULT_USER = "admin"
#: Rows a second, copied, indexed and proven; half of what two cores did.
_ROWS_A_SECOND = 25_000
#: What stands around a row in a statement, or is told with it.
_AROUND_BYTES = 10_000
_BLOCKED_NEVER = ("no_delete", "read_only", "pooled")


@dataclass(frozen=True)
class Wish:
    """What a person asked for: the target's dialect, policies, and what is allowed to happen there."""

    to: str | None = None
    policies: Policies = field(default_factory=Policies)
    replace: bool = False
    catch_up: bool = False
    delete_extra: bool = False
    downgrade: bool = False


def plan_migrate(
    source: Connection, target: Connection, wish: Wish, beside: Sequence[Connection] = ()
) -> Plan:
    """Plan the move; reads both sides in read-only transactions and writes nothing.

    `beside` are further sessions of the source, which share the long looks at its values.

    Raises Refused where it must not happen; values that can't cross are in the plan's facts, and
    `require_possible` raises for them, so that a dry run can show them all.
    """
    for connection in (source, target):
        require_session(connection.server())
    _require_dialect(target, wish)
    require_two(source, target)
    installation = inspect(source)
    installation.require_safe(despite=_BLOCKED_NEVER)
    require_events_in_place(source, installation)
    with source.transaction(read_only=True):
        return _Planner(source, target, installation, wish, beside).plan()


def require_possible(plan: Plan) -> None:
    """Raise Refused when values were found that can't cross and have no policy."""
    blocking = [item for item in plan.facts["findings"] if item["becomes"] is None]
    if blocking:
        options = sorted({item["option"] for item in blocking if item["option"]})
        cure = (
            f"Choose by {', '.join(options)} what becomes of them" if options else "Mend them at the source"
        )
        one = len(blocking) == 1
        raise Refused(
            f"Values of {'one column' if one else f'{len(blocking)} columns'} can't cross; "
            f"the list above names {'it' if one else 'them'}.",
            hint=f"{cure}, then run this again (docs/migrate.md).",
            done="Nothing was changed.",
        )


class _Planner:
    """Turns a wish into a Move for two databases, inside the caller's snapshot of the source."""

    def __init__(
        self,
        source: Connection,
        target: Connection,
        here: Installation,
        wish: Wish,
        beside: Sequence[Connection],
    ) -> None:
        self._source = source
        self._beside = beside
        self._target = target
        self._here = here
        self._wish = wish
        self._sides = (side_of(source), side_of(target))
        self._source_schema = source.transit().describe()
        self._target_schema = target.transit().describe()
        assert here.level is not None, "a database without a level is refused before"
        self._source_level = here.level
        self._level = self._agreed_level(here.level)
        self._notes: list[Note] = []

    def plan(self) -> Plan:
        """Return the plan."""
        state = self._state()
        translation = translate(
            self._source_schema, *self._sides, self._level, source_level=self._source_level
        )
        dropped = self._dropped(state, translation)
        stays = {table.name for table in self._target_schema.tables}.difference(dropped)
        self._require_primary_keys(table for table in translation.tables if table.name not in stays)
        self._require_makeable(table for table in translation.tables if table.name not in stays)
        here = {table.name: table for table in self._source_schema.tables}
        empty = [
            (table.name, self._statements(table))
            for table in translation.tables
            if table.name not in here and table.name not in stays
        ]
        crossings = [
            self._crossing(here[table.name], table) for table in translation.tables if table.name in here
        ]
        cross([self._source, *self._beside], crossings, self._wish.policies)
        findings = [finding for crossing in crossings for finding in crossing.findings]
        moves = [self._move(crossing, is_there=crossing.tables[1].name in stays) for crossing in crossings]
        self._add_notes(translation, moves, state)
        rows = {move.pair.target.table: move.rows for move in moves}
        step = Move(
            title="catch up" if state == "filled" else "move",
            source=self._source.url.place,
            source_state=state_of(self._source),
            level=self._level,
            tables=tuple(moves),
            found=self._found(state),
            goes_on=state == "begun",
            empty=tuple(empty),
            clear=tuple(self._clear(state, dropped)),
            conclude=() if state == "filled" else tuple(conclusion(self._source, self._target, self._level)),
            catch_up=state == "filled",
            delete_extra=self._wish.delete_extra,
            target_state=state_of(self._target) if state == "filled" else None,
        )
        facts = self._facts(step, findings, state, dropped)
        return Plan("migrate", facts, (step,), rows, sum(rows.values()), tuple(self._notes))

    # --- levels ---------------------------------------------------------------------------------------

    def _agreed_level(self, level: int) -> int:
        """Return the level that the target will have."""
        most = latest_level(self._sides[1].dialect)
        if self._sides[0].dialect == self._sides[1].dialect or level <= most:
            return min(level, most)
        if not self._wish.downgrade:
            raise Refused(
                f"Umami v3 (level {level}) doesn't run on {self._target.dialect.title}: v2 at level {most} "
                "was the last that did.",
                hint="With --downgrade it goes down to that level; --dry-run lists what has no home there.",
                done="Nothing was changed.",
            )
        return most

    # --- the target -----------------------------------------------------------------------------------

    def _state(self) -> str:
        """Say what the target is: empty, fresh, begun, filled or replaced. Raises Refused otherwise."""
        self._require_rights()
        names = [table.name for table in self._target_schema.tables]
        if self._wish.catch_up:
            require_ended(self._target, self._level, self._source_level)
            return "filled"
        begun = self._begun()
        if begun is not None:
            return "begun"
        theirs = [name for name in names if not is_ours(name)]
        if not theirs:
            return "empty"
        if self._is_fresh():
            return "fresh"
        if not self._wish.replace:
            raise Refused(
                f"The target isn't empty: it holds {some(theirs)}.",
                hint="Name an empty database, or add --replace, which drops what would be in the way. If a "
                "move ended here before, --catch-up brings over what has come since.",
                done="Nothing was changed.",
            )
        return "replaced"

    def _begun(self) -> ledger.Begun | None:
        try:
            begun = ledger.begun(self._target)
        except Refused:
            if self._wish.replace:
                return None
            raise
        if begun is None or (begun.source, begun.level) == (self._source.url.place, self._level):
            return begun
        if self._wish.replace:
            return None
        raise Refused(
            f"Another move has begun here: from {begun.source} at level {begun.level}.",
            hint="Name that source again to go on with it, or start over with --replace.",
            done="Nothing was changed.",
        )

    def _is_fresh(self) -> bool:
        """Whether Umami itself has set the target up, at the same level, and nobody has used it."""
        there = inspect(self._target)
        if there.blocking or there.level != self._level:
            return False
        rows = [self._target.dialect.queries["transfer.fresh_users"]]
        users = [row["username"] for row in self._target.rows(rows[0])]
        if users != [_DEFAULT_USER]:
            return False
        for table in self._target_schema.tables:
            if table.name in ("user", prisma.NAME):
                continue
            any_row = f"SELECT 1 AS found FROM {self._target.dialect.quote(table.name)} LIMIT 1"  # noqa: S608
            if self._target.rows(Query("migrate.any_row", "", any_row)):
                return False
        return True

    def _require_rights(self) -> None:
        server = self._target.server()
        if server.read_only:
            raise Refused("The target is read only.", done="Nothing was changed.")
        require_schema(self._target)
        encoding = self._target.value(self._target.dialect.queries["transfer.encoding"])
        if encoding != "UTF8":
            raise Refused(
                f"The target database keeps text in {encoding}, which can't hold all that Umami's may.",
                hint="Name a database that was created with ENCODING 'UTF8'.",
                done="Nothing was changed.",
            )
        self._require_every_hour()
        missing = self._target.rows(self._target.dialect.queries["transfer.missing_rights"])
        if missing:
            raise Refused(
                f"User {server.user} lacks {', '.join(row['missing'] for row in missing)} at the target.",
                hint="Grant it, or connect as the database's owner.",
                done="Nothing was changed.",
            )

    def _require_every_hour(self) -> None:
        """Raise Refused where the target can't hold times that the source may: those of an hour in spring.

        Two servers in the same zone, by its name, can hold the same.
        """
        zone = self._target.server().time_zone
        if zone == self._source.server().time_zone != "SYSTEM":
            return
        if self._target.value(self._target.dialect.queries["transfer.leaves_hours_out"]):
            raise Refused(
                f"The target's sessions begin in a zone with summer time ({zone}). Umami stores UTC in it,"
                " and its times of an hour in spring, when clocks are put forward, can't be stored there.",
                hint="Start the target's server with default_time_zone = '+00:00', if nothing else minds.",
                done="Nothing was changed.",
            )

    def _require_primary_keys(self, coming: Iterable[Table]) -> None:
        """Raise Refused where the target takes no table without a primary key, and one would come."""
        keyless = [table.name for table in coming if table.primary_key is None]
        setting = self._target.value(self._target.dialect.queries["transfer.wants_primary_keys"])
        if keyless and setting:
            has, it = ("has", "it") if len(keyless) == 1 else ("have", "them")
            raise Refused(
                f"{some(keyless)} {has} no primary key, and the target takes no such table.",
                hint=f"Give {it} one at the source, or have {setting} switched off at the target for the time"
                " of the move.",
                done="Nothing was changed.",
            )

    def _require_makeable(self, coming: Iterable[Table]) -> None:
        """Raise Refused where the target can't make a table, as far as that isn't what Umami makes there."""
        dialect = self._target.dialect
        known = schema_at(dialect.name, self._level)
        for table in coming:
            if table.name in known and table == known.table(table.name):
                continue
            most = dialect.most_name_bytes
            names = (table.name, *table.column_names, *(index.name for index in table.indexes))
            if most and (too_long := [name for name in names if len(name.encode()) > most]):
                raise Refused(
                    f"{dialect.title} takes no name of more than {most} bytes: {some(too_long)}.",
                    hint="Rename it at the source.",
                    done="Nothing was changed.",
                )
            try:
                self._target.transit().try_out(table)
            except PermissionFault:
                return  # whoever may make tables, and no temporary ones, learns it when the table is made
            except (ConnectionLost, TransientFault):
                raise
            except DatabaseFault as fault:
                raise Refused(
                    f"The target can't make table {table.name} as it would be there: {fault.message}",
                    hint="Change the table at the source, or take it out of Umami's database.",
                    done="Nothing was changed.",
                ) from None

    def _found(self, state: str) -> dict[str, int | None]:
        """Return the target's tables, with their rows where these are why nothing is lost there."""
        names = [table.name for table in self._target_schema.tables if not is_ours(table.name)]
        if state != "fresh":
            return dict.fromkeys(names)
        return {**dict.fromkeys(names, 0), "user": 1, prisma.NAME: None}

    def _dropped(self, state: str, translation: Translation) -> list[str]:
        """Return the target's tables that are in the way. Raises Refused where others hang on them."""
        planned = {table.name: table for table in translation.tables}
        pairs = [(table, planned.get(table.name)) for table in self._target_schema.tables]
        dropped: list[str] = []
        match state:
            case "replaced":
                # All that is Umami's goes, of whatever level: a later migration would find its table there.
                dropped = [own.name for own, wanted in pairs if wanted or own.name in TABLES]
            case "fresh":
                dropped = [own.name for own, wanted in pairs if wanted and not _is_complete(own, wanted)]
                dropped.append(prisma.NAME)
            case "begun":
                rows = {table.name for table in self._source_schema.tables}
                dropped = [
                    own.name
                    for own, wanted in pairs
                    # Those that stay empty are made whole at once: a half made one begins anew.
                    if wanted and not (_takes if own.name in rows else _is_complete)(own, wanted)
                ]
        if dropped:
            require_detached(self._target, dropped)
        return dropped

    def _clear(self, state: str, dropped: Sequence[str]) -> Iterator[Query]:
        """Return what empties the target: of the default user, and of the tables that are in the way."""
        quote = self._target.dialect.quote
        if state == "fresh":
            yield _query("clear", f"DELETE FROM {quote('user')}")  # noqa: S608
        if dropped:
            # As one statement: they may have foreign keys to each other, and MySQL drops all of them or none.
            yield _query("clear", f"DROP TABLE IF EXISTS {', '.join(map(quote, dropped))}")

    # --- tables ---------------------------------------------------------------------------------------

    def _statements(self, table: Table) -> tuple[Query, ...]:
        """Return all that makes a table which stays empty."""
        transit = self._target.transit()
        texts = [*transit.create_statements(table), *transit.index_statements(table)]
        texts += transit.finish_statements(table)
        return tuple(_query("create", text) for text in texts)

    def _crossing(self, source: Table, table: Table) -> Crossing:
        both = self._with_shares(pair(source, self._sides[0], table, self._sides[1]))
        relation = self._here.relations.get(table.name)
        rows = relation.rows_estimate if relation else 0
        return Crossing(both, (source, table), self._sides, rows, self._most_row_bytes)

    @cached_property
    def _most_row_bytes(self) -> int:
        """How long a row may be for both servers, with room for the statement around it."""
        ends = (self._source, self._target)
        return (
            min(int(end.value(end.dialect.queries["transfer.longest_text"])) for end in ends) - _AROUND_BYTES
        )

    def _move(self, crossing: Crossing, *, is_there: bool) -> TableMove:
        transit = self._target.transit()
        table = crossing.tables[1]
        return TableMove(
            pair=crossing.pair,
            rows=crossing.rows,
            create=()
            if is_there
            else tuple(_query("create", text) for text in transit.create_statements(table)),
            table=table,
        )

    def _rows_at_target(self, tables: Collection[str]) -> int:
        """Return about how many rows these tables hold: whoever has swapped the sides sees it by that."""
        relations = Introspector(self._target).relations() if tables else ()
        return sum(relation.rows_estimate for relation in relations if relation.name in tables)

    def _ddl(self, step: Move, stays: Collection[str]) -> Iterator[str]:
        """Return all that makes tables, keys and indexes, as far as they aren't there."""
        transit = self._target.transit()
        for move in step.tables if not step.catch_up else ():
            own = self._target_schema.table(move.table.name) if move.table.name in stays else None
            yield from (query.text for query in move.create)
            yield from transit.index_statements(move.table, own)
            yield from transit.finish_statements(move.table, own)
        yield from (query.text for _, queries in step.empty for query in queries)

    def _with_shares(self, both: Pair) -> Pair:
        """Going down to v2, put a website's first share back into its row."""
        if both.source.table != "website" or self._source_level == self._level or not self._here.has("share"):
            return both
        expression = self._source.dialect.queries["transfer.share_of_website"].text
        own = Field("share_id", Kind.TEXT, expression=expression)
        other = Field("share_id", Kind.TEXT)
        return replace(
            both,
            source=replace(both.source, fields=(*both.source.fields, own)),
            target=replace(both.target, fields=(*both.target.fields, other)),
        )

    # --- words ----------------------------------------------------------------------------------------

    def _add_notes(self, translation: Translation, moves: Iterable[TableMove], state: str) -> None:
        for remark in translation.remarks:
            self._notes.append(Note(f"Not translated: {remark}."))
        for name, relation in sorted(self._here.relations.items()):
            if relation.kind == "partitioned table" and state != "filled":
                self._notes.append(
                    Note(
                        f"{name} is partitioned, and arrives as the one table that Umami's migrations make.",
                        "umami-ops partition enable, at the target, if you want it so there",
                    )
                )
        if any(item.digits == 0 for move in moves for item in move.pair.source.fields):
            keeps = f"{self._target.dialect.title} keeps none"
            self._notes.append(Note(f"Fractions of seconds are cut off, not rounded: {keeps}."))
        for server in (self._source.server(), self._target.server()):
            if server.time_zone != "+00:00":
                taken = "its times are what Umami takes them for there"
                self._notes.append(Note(f"On {server.title} sessions begin in {server.time_zone}: {taken}."))
        loading = self._target.transit().loading()
        if not loading.in_bulk:
            self._notes.append(Note(loading.remark))
        if self._level < self._source_level:
            lost = homeless(self._source, self._source_schema, translation.tables)
            self._notes += [Note(sentence) for sentence in lost]
        if state == "begun":
            self._notes.append(Note("A move from this source has begun here and goes on where it stopped."))

    def _facts(
        self, step: Move, findings: Iterable[Finding], state: str, dropped: Collection[str]
    ) -> dict[str, Any]:
        source, target = self._source.server(), self._target.server()
        stays = {table.name for table in self._target_schema.tables}.difference(dropped)
        sizes = {name: relation.table_bytes for name, relation in self._here.relations.items()}
        total = sum(move.rows for move in step.tables)
        size_bytes = sum(sizes.get(move.pair.source.table, 0) for move in step.tables)
        return {
            "source": {"server": source.title, "database": source.database, "url": self._source.url.template},
            "target": {"server": target.title, "database": target.database, "url": self._target.url.template},
            "target_state": state,
            "level": self._level,
            "source_level": self._source_level,
            "release": likely_release(self._sides[1].dialect, self._level),
            "rows_estimate": total,
            "size_bytes": size_bytes,
            "target_free_bytes": self._target.free_bytes(),
            "seconds_estimate": round(total / _ROWS_A_SECOND),
            "findings": [finding.to_dict() for finding in findings],
            "dropped": [query.text for query in step.clear],
            "dropped_rows_estimate": self._rows_at_target(dropped),
            "ddl": list(self._ddl(step, stays)),
            "tables": [
                {
                    "table": move.pair.target.table,
                    "rows_estimate": move.rows,
                    "size_bytes": sizes.get(move.pair.source.table, 0),
                }
                for move in step.tables
            ],
        }


def _takes(own: Table, wanted: Table) -> bool:
    """Whether rows of a table as it is planned can go into the one that is there."""
    more = [column for column in own.columns if column.name not in wanted.column_names]
    return {*wanted.column_names} <= {*own.column_names} and all(c.nullable or c.default for c in more)


def _is_complete(own: Table, wanted: Table) -> bool:
    """Whether it is what is planned, its keys and indexes included."""
    is_keyed = own.primary_key is not None or wanted.primary_key is None
    return _takes(own, wanted) and is_keyed and {*wanted.indexes} <= {*own.indexes}


def _require_dialect(target: Connection, wish: Wish) -> None:
    if wish.to and target.dialect.name != wish.to:
        raise Refused(
            f"--to {wish.to} contradicts the target, which is {target.server().title}.",
            hint="Correct --to or --target-url.",
            done="Nothing was changed.",
        )


def _query(name: str, text: str) -> Query:
    return Query(f"migrate.{name}", "", text)
