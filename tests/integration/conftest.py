"""What takes long and says as much on one PostgreSQL as on two is left to --all on the second."""

from __future__ import annotations

import pytest

_ON_ONE_POSTGRESQL = (
    "test_daemon.py",
    "test_vacuum.py",
    "test_health.py",
    "test_partition.py",
    "test_partition_dashboards.py",
    "test_partition_migrations.py",
    "test_partition_wishes.py",
    "test_upgrade.py",
    "test_upgrade_changes.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of maintenance on PostgreSQL 17 as slow."""
    for item in items:
        if item.path.name in _ON_ONE_POSTGRESQL and "[postgresql-17" in item.name:
            item.add_marker(pytest.mark.slow)
        # What the daemon asks of a server is a lock, the same on MySQL and MariaDB.
        if item.path.name == "test_daemon.py" and "[mysql" in item.name:
            item.add_marker(pytest.mark.slow)
