"""What takes long and says as much on one server of a dialect as on two is left to --all on the second."""

from __future__ import annotations

import pytest

_BACKUPS = (
    "test_backup.py", "test_backup_partitioned.py", "test_export.py", "test_portable.py",
    "test_prune_archive.py", "test_restore_website.py",
)  # fmt: skip
_PARTITIONS = ("test_partition_dashboards.py", "test_partition_migrations.py", "test_partition_wishes.py")
#: Files, and folders of them.
_ON_THE_FIRST = {
    "postgresql-17": (
        *_BACKUPS,
        *_PARTITIONS,
        "test_daemon.py",
        "test_image.py",
        "health",
        "test_partition.py",
        "test_partition_dropping.py",
        "test_restore_files.py",
        "test_upgrade.py",
        "test_upgrade_changes.py",
        "test_vacuum.py",
    ),
    # What the daemon asks of a server is a lock, the same on MySQL and MariaDB.
    "mysql": (*_BACKUPS, *_PARTITIONS, "test_daemon.py", "test_upgrade.py"),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests as slow on the second PostgreSQL and on the second of MariaDB and MySQL."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            server = item.callspec.params.get("server")
            names = {item.path.name, item.path.parent.name}
            if isinstance(server, str) and names & {*_ON_THE_FIRST.get(server, ())}:
                item.add_marker(pytest.mark.slow)
