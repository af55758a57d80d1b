"""The image as it is run, without an engine: tests/image.py says what stands in for one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed import servers
from testbed.servers import Server
from tests.image import Container
from tests.sidecar import free_port

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")


def _told(server: Server, url: str) -> dict[str, str]:
    """What examples/docker-compose.yml sets, where Umami's user is the server's first one."""
    return {
        "DATABASE_URL": server.as_admin(url),
        "UMAMI_OPS_PROGRAMS": str(servers.programs(server.name)),
    }


def test_the_sidecar_is_what_the_dockerfile_says(
    postgresql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    env = {
        **_told(postgresql_server, umami_database),
        "UMAMI_OPS_DAEMON_HTTP": f"127.0.0.1:{free_port()}",
        "UMAMI_OPS_PRUNE_DAYS": "365",
        "TZ": "Europe/Berlin",
    }
    with Container(tmp_path, env=env) as container:
        container.wait_until_healthy()
        status = Path(f"/proc/{container.first_process}/status").read_text()
        assert "Name:\ttini" in status
        assert "Uid:\t10001\t10001\t10001\t10001" in status
        assert "CapBnd:\t0000000000000000" in status
        assert container.execute("touch", "/etc/umami-ops/mine").returncode == 1
        assert container.execute("touch", "/tmp/mine").returncode == 0
        nightly = container.execute("umami-ops", "run", "nightly")
        assert nightly.returncode == 0, nightly.stdout + nightly.stderr
        assert (container.volume / "state" / "history.sqlite").stat().st_uid == 10001
        assert list((container.volume / "backups").rglob("manifest.json"))
        code, seconds = container.stop()
        assert (code, seconds < 10) == (0, True), container.log
    assert "umami-ops daemon has ended" in container.log
    assert "Traceback" not in container.log


def test_a_single_command(postgresql_server: Server, umami_database: str, tmp_path: Path) -> None:
    with Container(tmp_path, "backup", env=_told(postgresql_server, umami_database)) as container:
        assert container.process.wait(timeout=120) == 0, container.log
    assert len(list((container.volume / "backups").rglob("manifest.json"))) == 1


@pytest.mark.slow
def test_the_build_stage_installs_all_that_the_sidecar_needs(
    postgresql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    env = {
        **_told(postgresql_server, umami_database),
        "UMAMI_OPS_DAEMON_HTTP": f"127.0.0.1:{free_port()}",
    }
    with Container(tmp_path, env=env, installs=True) as container:
        container.wait_until_healthy()
        where = container.execute("python", "-c", "import umami_ops; print(umami_ops.__file__)")
        assert where.stdout.startswith("/opt/umami-ops/lib/"), where
        extras = container.execute("python", "-c", "import apprise, apscheduler, pyrage, obstore")
        assert extras.returncode == 0, extras.stderr
        assert container.stop()[0] == 0
