"""Which websites, links and pixels an operation is about, from what a person types."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from umami_ops.databases.base import Connection
from umami_ops.errors import UsageFault
from umami_ops.operations.inspect import Installation


@dataclass(frozen=True)
class Scope:
    """The websites it is about: `only` these ids, all `except_` these, or all when both are empty."""

    only: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def words(self) -> frozenset[str]:
        """The words that choose the scope's lines in the SQL of counts."""
        return frozenset({"only"} if self.only else {"except"} if self.except_ else ())

    def restrict(self, website_ids: Iterable[str]) -> list[str]:
        """Return those of the ids that are in scope."""
        return [id_ for id_ in website_ids if (not self.only or id_ in self.only) and id_ not in self.except_]


def matching_websites(
    connection: Connection, installation: Installation, typed: Sequence[str]
) -> tuple[str, ...]:
    """Return the ids of websites, links and pixels named by id, domain or name. Raises UsageFault."""
    return scope_of(connection, installation, typed).only


def known_websites(connection: Connection, installation: Installation) -> list[dict[str, Any]]:
    """Return the websites, links and pixels that there are, for `matching`."""
    words = {f"has_{table}" for table in ("link", "pixel") if installation.has(table)}
    return connection.rows(connection.dialect.queries["prune.websites"].when(words))


def scope_of(
    connection: Connection, installation: Installation, named: Sequence[str], excluded: Sequence[str] = ()
) -> Scope:
    """Return the scope of websites `named`, or of all but those `excluded`, as typed. Raises UsageFault."""
    if not named and not excluded:
        return Scope()
    known = known_websites(connection, installation)
    only = [matching(known, typed, "--website") for typed in named]
    without = [matching(known, typed, "--exclude-website") for typed in excluded]
    out = {row["id"] for row in without}
    if only and not [row for row in only if row["id"] not in out]:
        raise UsageFault("Every website named by --website is excluded again by --exclude-website.")
    kept = [row for row in only if row["id"] not in out]
    return Scope(
        only=tuple(dict.fromkeys(row["id"] for row in kept)),
        except_=() if only else tuple(sorted(out)),
        names=tuple(dict.fromkeys(row["name"] for row in (kept or without))),
    )


def matching(known: Sequence[dict[str, Any]], typed: str, option: str) -> dict[str, Any]:
    """Return the one website, link or pixel that has the typed id, or else the typed domain, slug or name.

    Raises UsageFault for none, and for several: one's domain may be another's name.
    """
    text = typed.strip().lower()
    for columns in (("id",), ("domain", "name")):
        found = [row for row in known if text in [row[column].lower() for column in columns if row[column]]]
        if len(found) > 1:
            listed = ", ".join(f"{row['id']} ({row['name']!r})" for row in found)
            raise UsageFault(
                f"{option} {typed!r} matches {len(found)}: {listed}.", hint="Name one by its id."
            )
        if found:
            return found[0]
    names = [name for row in known for name in (row["name"], row["domain"]) if name]
    containing = [name for name in names if text and text in name.lower()]
    near = containing or difflib.get_close_matches(typed, names, n=1, cutoff=0.75)
    raise UsageFault(
        f"{option} {typed!r}: there is no such website, link or pixel."
        + (f" Did you mean {shlex.quote(near[0])}?" if near else ""),
        hint="`umami-ops info --json` lists them with their ids.",
    )
