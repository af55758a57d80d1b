"""What examples/ schedule, run on real servers by a user with the rights that the examples give."""

from __future__ import annotations

import tomllib
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from testbed.servers import Server, database_name
from tests.command import run
from tests.examining import execute

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_settings_of_the_compose_file_for_mysql(
    mysql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    """As MYSQL_USER has it, the right of mysql-rights.sql beside; no dump program of MySQL's is there."""
    if mysql_server.flavour != "mysql":
        pytest.skip("the example is one for MySQL")
    settings = (EXAMPLES / "umami-ops.toml").read_text()
    (tmp_path / "apprise").write_text("json://127.0.0.1:1/")
    (tmp_path / "umami-ops.toml").write_text(
        settings.replace("/run/secrets/apprise", str(tmp_path / "apprise"))
    )
    admin = mysql_server.as_admin(umami_database)
    user = f"umami_{uuid.uuid4().hex[:8]}"
    rights = (EXAMPLES / "mysql-rights.sql").read_text().replace("TO umami", f"TO {user}")
    parts = urlsplit(umami_database)
    url = parts._replace(netloc=f"{user}:pw@{parts.hostname}:{parts.port}").geturl()
    environment = {
        "UMAMI_OPS_PROGRAMS": str(tmp_path),
        "UMAMI_OPS_STORE": str(tmp_path / "backups"),
        "UMAMI_OPS_STATE_DIR": str(tmp_path / "state"),
    }
    execute(
        admin,
        f"CREATE USER {user} IDENTIFIED BY 'pw'",
        f"GRANT ALL ON `{database_name(url)}`.* TO {user}",
        "".join(line for line in rights.splitlines() if not line.startswith("--")).rstrip(";"),
    )
    try:
        for job in tomllib.loads(settings)["jobs"]:
            done = run("run", job, url=url, folder=tmp_path, env=environment)
            assert done.code == 0, done.said
        assert list((tmp_path / "backups").rglob("manifest.json"))
    finally:
        execute(admin, f"DROP USER {user}")
