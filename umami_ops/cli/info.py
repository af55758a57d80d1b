"""`umami-ops info`: what this database is, what it holds and how it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from umami_ops.cli import options

if TYPE_CHECKING:
    from umami_ops.operations.info import Amount, Contents, SourceInfo, TableInfo
    from umami_ops.operations.inspect import Installation


_UNREADABLE = {"no_select", "column_missing"}


@click.command()
@options.url
@options.json_output
@click.option(
    "--exact",
    is_flag=True,
    help="Count every row, however long that takes, instead of estimating big tables.",
)
def info(as_json: bool, exact: bool) -> None:
    """Show what this database is, what it holds and how it grows.

    Server and Umami release, problems with their cures, rows and bytes by table, traffic by website, and what
    is older than 365 days. Changes nothing. Numbers with a ~ are estimates; the others were counted.
    """
    from umami_ops.cli import render
    from umami_ops.operations.info import read_contents
    from umami_ops.operations.inspect import inspect

    with options.open_from_options().connect("umami-ops info") as connection:
        installation = inspect(connection)
        is_readable = installation.is_umami and not _is_kept_from(installation)
        contents = read_contents(connection, installation, exact=exact) if is_readable else None
    if as_json:
        render.print_json(_document(installation, contents))
        return
    _print_server(installation, contents)
    _print_problems(installation)
    if contents is not None:
        _print_tables(contents)
        _print_sources(contents)
        _print_outlook(contents)


def _is_kept_from(installation: Installation) -> bool:
    """Say whether a problem keeps the data from being read: all that is left is to show the problem."""
    return any(problem.blocks and problem.code in _UNREADABLE for problem in installation.problems)


def _print_server(installation: Installation, contents: Contents | None) -> None:
    from umami_ops.cli import render

    server = installation.server
    where = f"database {server.database}"
    if server.schema not in ("", server.database):
        where += f", schema {server.schema}"
    facts = {"Server": f"{server.title}, {where}, as {server.user}"}
    if contents is not None:
        level = f"migration level {installation.level}"
        release = f"{installation.release} ({level})" if installation.level else "of a level unknown here"
        total = contents.table_bytes + contents.index_bytes
        facts["Umami"] = release
        facts["Size"] = (
            f"{render.size(total)}, {render.percentage(contents.index_bytes, total)} of it indexes"
        )
    render.print_facts(facts)


def _print_problems(installation: Installation) -> None:
    from umami_ops.cli import render

    if installation.problems:
        render.print_line()
    for problem in installation.problems:
        sign, style = ("✗", "bold red") if problem.blocks else ("•", "yellow")
        render.print_remark(sign, problem.sentence, problem.cure, style=style)


def _print_tables(contents: Contents) -> None:
    """Print visitor data and unknown tables one a line, configuration all in one."""
    from umami_ops.cli import render
    from umami_ops.umami.tables import Role

    folded = {Role.CONFIGURATION, Role.MIGRATIONS}
    day = contents.horizon.strftime("%Y-%m-%d")
    columns = (
        render.text("table"),
        render.number("rows"),
        render.number("data"),
        render.number("indexes"),
        render.number(f"before {day}", optional=True),
        render.number("share", optional=True),
    )
    shown = [table for table in contents.tables if table.role not in folded]
    rest = [table for table in contents.tables if table.role in folded]
    rows = [_table_row(table) for table in shown]
    rows.append(
        (
            f"{len(rest)} of configuration",
            _amount(sum((table.amount for table in rest[1:]), rest[0].amount)),
            render.size(sum(table.table_bytes for table in rest)),
            render.size(sum(table.index_bytes for table in rest)),
            "",
            "",
        )
    )
    dim = [place for place, table in enumerate(shown) if table.role is Role.UNKNOWN]
    footer = ("total", "", render.size(contents.table_bytes), render.size(contents.index_bytes), "", "")
    render.print_table(columns, rows, title="Tables", footer=footer, dim=[*dim, len(shown)])


def _table_row(table: TableInfo) -> tuple[str, ...]:
    from umami_ops.cli import render
    from umami_ops.umami.tables import Role

    note = " (not Umami's)" if table.role is Role.UNKNOWN else ""
    note += f" ({table.kind})" if table.kind != "table" else ""
    older = ("", "") if table.older is None else (_amount(table.older), _share(table.older, table.amount))
    return (
        f"{table.name}{note}",
        _amount(table.amount),
        render.size(table.table_bytes),
        render.size(table.index_bytes),
        *older,
    )


def _print_sources(contents: Contents) -> None:
    from umami_ops.cli import render

    if not contents.sources:
        return
    columns = (
        render.text("website"),
        render.number("events"),
        render.number("sessions"),
        render.number("a day"),
        render.number("first event", optional=True),
        render.number("last event", optional=True),
        render.text("address", optional=True, style="dim"),
        render.identifier("id", optional=True),
    )
    sources = sorted(contents.sources, key=lambda source: source.events.rows, reverse=True)
    rows = [_source_row(source) for source in sources]
    dim = [place for place, source in enumerate(sources) if source.deleted or source.kind == "gone"]
    render.print_table(columns, rows, title="Traffic", dim=dim)


def _source_row(source: SourceInfo) -> tuple[str, ...]:
    from umami_ops.cli import render

    notes = [] if source.kind == "website" else ["no longer there" if source.kind == "gone" else source.kind]
    notes += ["deleted"] if source.deleted else []
    name = source.name or source.id
    per_day = render.rate(source.events_per_day)
    return (
        f"{name} ({', '.join(notes)})" if notes else name,
        _amount(source.events),
        _amount(source.sessions),
        f"~{per_day}" if source.growth_estimated else per_day,
        render.moment(source.first_event)[:10],
        render.moment(source.last_event),
        source.address,
        source.id,
    )


def _print_outlook(contents: Contents) -> None:
    """Say what a year's retention would mean, what the numbers are worth, and what to type next."""
    from umami_ops.cli import render
    from umami_ops.umami.tables import Role

    events = next(table for table in contents.tables if table.name == "website_event")
    older = events.older or events.amount
    growth = render.rate(sum(source.events_per_day for source in contents.sources))
    if any(source.growth_estimated for source in contents.sources):
        growth = f"~{growth}"
    render.print_line()
    share = f" ({_share(older, events.amount)})" if events.amount.rows else ""
    render.print_remark(
        "→",
        f"{_amount(older)} events{share} are older than 365 days; {growth} a day are added.",
        "What exactly would go: umami-ops prune --days 365 --dry-run" if older.rows else "",
    )
    if any(table.amount.estimated for table in contents.tables if table.role is not Role.UNKNOWN):
        render.print_remark("~", "Estimated by the server; `umami-ops info --exact` counts.")


def _amount(amount: Amount) -> str:
    from umami_ops.cli import render

    return render.count(amount.rows, estimated=amount.estimated)


def _share(part: Amount, whole: Amount) -> str:
    from umami_ops.cli import render

    return render.percentage(part.rows, whole.rows)


def _document(installation: Installation, contents: Contents | None) -> dict[str, Any]:
    """Return what --json prints."""
    document: dict[str, Any] = {
        "server": installation.server,
        "umami": {
            "level": installation.level,
            "release": installation.release,
            "is_umami": installation.is_umami,
            "migrations": installation.migrations,
        },
        "problems": installation.problems,
        "unknown_tables": installation.unknown_tables,
    }
    if contents is None:
        return document
    return document | {
        "read_at": contents.read_at,
        "horizon": contents.horizon,
        "tables": [_table_document(table) for table in contents.tables],
        "totals": {"table_bytes": contents.table_bytes, "index_bytes": contents.index_bytes},
        "websites": [_source_document(source) for source in contents.sources],
    }


def _table_document(table: TableInfo) -> dict[str, Any]:
    return {
        "name": table.name,
        "role": table.role,
        "kind": table.kind,
        **_amount_document("rows", table.amount),
        "table_bytes": table.table_bytes,
        "index_bytes": table.index_bytes,
        "past_horizon": _amount_document("rows", table.older) if table.older else None,
    }


def _source_document(source: SourceInfo) -> dict[str, Any]:
    return {
        "id": source.id,
        "kind": source.kind,
        "name": source.name,
        "address": source.address,
        "deleted": source.deleted,
        "events": _amount_document("rows", source.events),
        "sessions": _amount_document("rows", source.sessions),
        "first_event": source.first_event,
        "last_event": source.last_event,
        "events_per_day": {"value": round(source.events_per_day, 2), "estimated": source.growth_estimated},
    }


def _amount_document(name: str, amount: Amount) -> dict[str, Any]:
    return {name: amount.rows, "estimated": amount.estimated}
