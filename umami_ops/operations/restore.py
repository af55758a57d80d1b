"""What a restore would do: which tables come, which give way, and why it may not be done at all.

Carrying it out is `umami_ops/execute/restore.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from umami_ops.archive.manifest import DUMP, Manifest
from umami_ops.databases.base import WORKING_PREFIX, Connection, Introspector
from umami_ops.databases.dumps import Wanted
from umami_ops.errors import Refused, UsageFault
from umami_ops.operations.inspect import require_detached, require_schema
from umami_ops.operations.problems import some
from umami_ops.transfer.contents import recorded_level
from umami_ops.umami import prisma
from umami_ops.umami.tables import Role, facts_of

_NOTHING = "Nothing was changed."


@dataclass(frozen=True)
class RestorePlan:
    """What comes and what gives way. `kept` are tables of the target that the restore leaves alone.

    `attached` says what hangs on what gives way, and goes with it: a trigger, a place in a publication.
    `notes` are sentences about what a person should know before.
    `websites` are the names of those whose rows alone come, none where all do.
    """

    wanted: Wanted
    server_title: str
    database: str
    kept: tuple[str, ...]
    websites: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def replaces(self) -> bool:
        """Whether anything that is there gives way."""
        return bool(self.wanted.replaced)


def plan_restore(
    connection: Connection,
    manifest: Manifest | None,
    *,
    replace: bool,
    only: Sequence[str] = (),
    jobs: int | None = None,
) -> RestorePlan:
    """Compare a backup with the database it goes into.

    With `jobs` several tables are to be loaded at once.

    Raises Refused where tables are there and `replace` wasn't asked for, where views or foreign keys would go
    with them, where the backup is of another kind of server, or where `jobs` can't be; UsageFault for a table
    that the backup lacks.
    """
    server = connection.server()
    require_schema(connection)
    in_backup = [table.name for table in manifest.tables] if manifest else []
    if manifest is not None:
        _check_kind(connection, manifest)
        if missing := [table for table in only if table not in in_backup]:
            raise UsageFault(f"--only {missing[0]}: the backup has no such table.")
    here = [
        relation.name
        for relation in Introspector(connection).relations()
        if relation.kind in ("table", "partitioned table") and not relation.name.startswith(WORKING_PREFIX)
    ]
    giving_way = [table for table in here if _gives_way(table, in_backup, only)]
    if jobs:
        _check_side_by_side(manifest, giving_way)
    if giving_way and not replace:
        raise Refused(
            f"Database {server.database} is not empty: it has {some(giving_way)}.",
            hint="Name an empty one by --target-url, or add --replace: what is there stays until the backup "
            "is loaded, and gives way then.",
            done=_NOTHING,
        )
    if giving_way:
        require_detached(connection, giving_way)
    schema = manifest.schema if manifest and manifest.kind == DUMP else ""
    stays = only and prisma.NAME in here and prisma.NAME not in only
    level = recorded_level(connection) if stays else None
    return RestorePlan(
        wanted=Wanted(tuple(only) or None, tuple(giving_way), schema, level),
        server_title=server.title,
        database=server.database,
        kept=tuple(table for table in here if table not in giving_way),
        attached=_attached(connection, giving_way),
    )


def _attached(connection: Connection, giving_way: Sequence[str]) -> tuple[str, ...]:
    if not giving_way:
        return ()
    rows = connection.rows(connection.dialect.queries["backup.attached"], tables=list(giving_way))
    return tuple(
        f"{row['name']} of {row['relation']}"
        for row in rows
        if WORKING_PREFIX not in row["name"]  # what a killed rebuild has left
    )


def _check_side_by_side(manifest: Manifest | None, giving_way: Sequence[str]) -> None:
    """Raise Refused where tables can't be loaded by several sessions, which no transaction holds together."""
    if manifest is None or not manifest.is_folder:
        raise Refused(
            "The backup is one file, or not one of umami-ops: it is read from its beginning to its end.",
            hint="--jobs is for those that `umami-ops backup --jobs` made; restore it without.",
            done=_NOTHING,
        )
    if giving_way:
        raise Refused(
            "Several sessions can't let tables give way as one: --jobs is for a database without them.",
            hint="Restore without --jobs, or into an empty database by --target-url.",
            done=_NOTHING,
        )


def _check_kind(connection: Connection, manifest: Manifest) -> None:
    if manifest.dialect == connection.dialect.name or manifest.kind != DUMP:
        return
    raise Refused(
        f"A dump of {manifest.flavour} can't be restored into {connection.dialect.title}.",
        hint="A portable backup can (`umami-ops backup --format portable`).",
        done=_NOTHING,
    )


def _gives_way(table: str, in_backup: Sequence[str], only: Sequence[str]) -> bool:
    """Say whether a table of the target is replaced: the backup has it, or it is Umami's of a later level."""
    if only:
        return table in only
    return table in in_backup or facts_of(table).role is not Role.UNKNOWN
