"""What a dialect is, by its name, where there is no connection to ask: of rows in a file, say."""

from __future__ import annotations

from umami_ops.databases.base import Dialect
from umami_ops.databases.mysql.dialect import MYSQL
from umami_ops.databases.postgresql.dialect import POSTGRESQL

_DIALECTS = {dialect.name: dialect for dialect in (POSTGRESQL, MYSQL)}


def dialect_named(name: str) -> Dialect:
    """Return the dialect of that name. Raises KeyError when there is none."""
    return _DIALECTS[name]
