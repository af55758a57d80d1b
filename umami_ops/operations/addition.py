"""Rows of a backup that join those of a database: a website's, or what a prune has archived.

Carrying it out is `umami_ops/execute/restore.py`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from umami_ops.archive.manifest import DUMP, PRUNED, Manifest
from umami_ops.archive.source import Source
from umami_ops.databases.base import Connection
from umami_ops.databases.dumps import Wanted
from umami_ops.databases.transit import NULL
from umami_ops.errors import Refused, UsageFault
from umami_ops.operations.inspect import Installation, inspect
from umami_ops.operations.restore import RestorePlan
from umami_ops.operations.websites import known_websites, matching
from umami_ops.sql import Query
from umami_ops.transfer.portable import Archive
from umami_ops.transfer.schema import rows_of
from umami_ops.umami import prisma
from umami_ops.umami.tables import belonging_column

_NOTHING = "Nothing was changed."
#: Whom a website, link or pixel belongs to, and without whom nobody finds it among theirs.
_OWNERS = {"user_id": "user", "team_id": "team"}
_NOBODY = NULL.decode()
#: Tables whose rows are what a website's name can mean, with the columns that `matching` looks at.
_NAMED = {
    "website": ("website_id", "domain"),
    "link": ("link_id", "slug"),
    "pixel": ("pixel_id", "slug"),
}


def is_addition(manifest: Manifest | None, websites: Sequence[str]) -> bool:
    """Say whether what comes joins what is there, instead of taking its place."""
    return bool(websites) or (manifest is not None and manifest.kind == PRUNED)


def plan_addition(
    connection: Connection,
    source: Source,
    *,
    websites: Sequence[str],
    replace: bool,
    only: Sequence[str] = (),
) -> RestorePlan:
    """Decide which rows of a portable backup join those of a database.

    Raises Refused where a table isn't there, or where a website is and `replace` wasn't asked for; UsageFault
    for a website or a table that the backup lacks, for a table of which no website has rows, and for backups
    that can't be taken apart.
    """
    manifest = source.manifest
    if manifest is None or manifest.kind == DUMP:
        raise UsageFault(
            "--website takes a portable backup apart; this is a dump.",
            hint="Restore it into an empty database, and make a portable backup of that: --format portable.",
        )
    is_pruned = manifest.kind == PRUNED
    if is_pruned and replace:
        raise UsageFault("--replace has no meaning for what a prune archived: its rows join those there are.")
    installation = inspect(connection)
    if not installation.is_umami:
        installation.require_safe()
    in_backup = [table.name for table in manifest.tables if table.name != prisma.NAME]
    if missing := [table for table in only if table not in in_backup]:
        raise UsageFault(f"--only {missing[0]}: the backup has no such table.")
    coming = [table for table in in_backup if not only or table in only]
    if websites:
        if nobodys := [table for table in only if not belonging_column(table)]:
            raise UsageFault(
                f"--only {nobodys[0]}: its rows belong to no website.", hint="Leave --website or --only away."
            )
        coming = [table for table in coming if belonging_column(table)]
    if homeless := [table for table in coming if not installation.has(table)]:
        raise Refused(
            f"Database {installation.server.database} has no table {homeless[0]}.",
            hint="These rows join what is there: name a database that Umami has made, at the backup's level.",
            done=_NOTHING,
        )
    if is_pruned:
        known = known_websites(connection, installation) if websites else []
    else:
        known = list(_named(Archive(source.chunks())))
    chosen = {found["id"]: found for found in (matching(known, typed, "--website") for typed in websites)}
    ids = tuple(chosen)
    there = [] if is_pruned else [table for table in coming if _has(connection, table, ids)]
    if there and not replace:
        raise Refused(
            f"Database {installation.server.database} has {_are(websites)} already: in {', '.join(there)}.",
            hint="--replace lets them give way once the backup's are loaded and compared.",
            done=_NOTHING,
        )
    return RestorePlan(
        wanted=Wanted(tuple(coming), tuple(there), adds=True, websites=ids),
        server_title=installation.server.title,
        database=installation.server.database,
        kept=(),
        websites=tuple(_title(found) for found in chosen.values()),
        notes=tuple(_about_owners(connection, installation, chosen.values(), coming)),
    )


def _about_owners(
    connection: Connection,
    installation: Installation,
    chosen: Iterable[Mapping[str, Any]],
    coming: Sequence[str],
) -> Iterator[str]:
    """Yield what to do about those that belong to nobody here: Umami would show them to nobody."""
    for found in chosen:
        table = found.get("table")
        if table not in coming:
            continue
        for column, owners in _OWNERS.items():
            owner = found.get(column, _NOBODY)
            if owner != _NOBODY and not _is_there(connection, installation, owners, column, owner):
                yield (
                    f"{_title(found)} belongs to {owners} {owner}, which this database hasn't: nobody finds "
                    f"it in Umami until its {column} in table {table} is another's."
                )


def _is_there(
    connection: Connection, installation: Installation, table: str, column: str, value: str
) -> bool:
    """Say whether there is such a user or team; one that was deleted in Umami is none."""
    quote = connection.dialect.quote
    alive = " AND deleted_at IS NULL" if "deleted_at" in installation.columns.get(table, ()) else ""
    text = (
        f"SELECT 1 AS found FROM {quote(table)}"  # noqa: S608
        f" WHERE {quote(column)} = {connection.literal(value)}{alive}"
    )
    return bool(connection.rows(Query("restore.has_owner", "", text)))


def _title(website: Mapping[str, Any]) -> str:
    name, domain = website["name"], website["domain"]
    return f"{name} ({domain})" if domain and domain != name else str(name)


def _are(websites: Sequence[str]) -> str:
    return f"website {websites[0]!r}" if len(websites) == 1 else "these websites"


def _has(connection: Connection, table: str, ids: Sequence[str]) -> bool:
    """Say whether a table has a row of these websites."""
    quote = connection.dialect.quote
    column = belonging_column(table)
    assert column is not None, "asked of tables with such a column alone"
    listed = ", ".join(connection.literal(id_) for id_ in ids)
    text = f"SELECT 1 AS found FROM {quote(table)} WHERE {quote(column)} IN ({listed}) LIMIT 1"  # noqa: S608
    return bool(connection.rows(Query("restore.has_website", "", text)))


def _named(archive: Archive) -> Iterator[dict[str, Any]]:
    """Yield the websites, links and pixels in an archive by their ids and names."""
    for table, pieces in archive.tables():
        if table.name not in _NAMED:
            continue
        id_column, domain = _NAMED[table.name]
        places = {name: place for place, name in enumerate(rows_of(table, archive.head.side).names)}
        for row in csv.reader(io.StringIO(b"".join(pieces).decode(), newline="")):
            owners = {column: row[place] for column in _OWNERS if (place := places.get(column)) is not None}
            yield {
                "id": row[places[id_column]], "name": row[places["name"]], "domain": row[places[domain]],
                "table": table.name, **owners,
            }  # fmt: skip
