"""What `umami-ops health` finds about Umami and its migrations."""

from __future__ import annotations

import pytest

from tests.command import run
from tests.examining import examined, finding_of, findings_of, undone
from umami_ops.operations.health import Severity


def test_a_database_that_is_not_umami_s(database_url: str) -> None:
    found = examined(database_url)
    assert [(c.name, f.severity) for c, f in found.worst_first() if c.name != "server_version"] == [
        ("umami", Severity.CRITICAL)
    ]
    assert all(v.unseen for v in found.verdicts if v.check.needs_umami)
    assert run("health", url=database_url).code == 2


def test_a_table_that_is_missing(healthy: str) -> None:
    with undone(healthy, "ALTER TABLE report RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO report"):
        missing, strange = sorted(findings_of(healthy, "umami"), key=lambda finding: -finding.severity)
    assert missing.severity is Severity.WARNING
    assert "Table report is missing" in missing.sentence
    assert strange.severity is Severity.INFO
    assert "elsewhere" in strange.sentence


@pytest.mark.parametrize(
    ("logs", "sentence", "cure"),
    [
        ('ERROR: relation "revenue" already exists', "already exists", "umami-ops upgrade repair"),
        ("Error: cannot alter type of a column used by a view or rule", "used by a view", "drop it first"),
        ("Database error: FUNCTION umami.BIN_TO_UUID does not exist", "BIN_TO_UUID", "MariaDB has no"),
        ('ERROR: index "x" does not exist', "does not exist", "another name"),
        ("something new", "something new", "upgrade repair --dry-run"),
        (None, "it failed, or still runs", "wait"),
    ],
)
def test_a_migration_that_failed(logs: str | None, sentence: str, cure: str, healthy: str) -> None:
    text = "NULL" if logs is None else f"'{logs}'"
    where = "WHERE migration_name = '13_add_revenue'"
    with undone(
        healthy,
        f"UPDATE _prisma_migrations SET finished_at = NULL, logs = {text} {where}",
        f"UPDATE _prisma_migrations SET finished_at = started_at, logs = NULL {where}",
    ):
        finding = finding_of(healthy, "migrations")
    assert finding.severity is Severity.CRITICAL
    assert sentence in finding.sentence
    assert cure in finding.cure
    assert finding.evidence["level"] == 13


def test_a_migration_that_was_rolled_back(healthy: str) -> None:
    where = "WHERE migration_name = '13_add_revenue'"
    with undone(
        healthy,
        f"UPDATE _prisma_migrations SET rolled_back_at = started_at {where}",
        f"UPDATE _prisma_migrations SET rolled_back_at = NULL {where}",
    ):
        assert finding_of(healthy, "migrations").severity is Severity.WARNING
