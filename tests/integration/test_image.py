"""The image as it is run, without an engine: tests/image.py says what stands in for one."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest

from testbed import servers
from testbed.servers import Server, database_name
from tests.image import Container, can_contain
from tests.sidecar import free_port


@pytest.fixture(autouse=True, scope="module")
def _namespaces() -> None:
    if not can_contain():
        pytest.skip("namespaces and mounts need root, and a machine that allows them")


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
        _assert_it_tells_of_the_database(env["UMAMI_OPS_DAEMON_HTTP"], database_name(umami_database))
        code, seconds = container.stop()
        assert (code, seconds < 10) == (0, True), container.log
    assert "umami-ops daemon has ended" in container.log
    assert "Traceback" not in container.log


def _assert_it_tells_of_the_database(address: str, name: str) -> None:
    """What `health` and `info` found, and the job that was run by hand, on the page and for programs."""
    ends = time.monotonic() + 30
    while not (status := json.loads(_page(address, "status.json")))["health"]:
        assert time.monotonic() < ends, status
        time.sleep(0.2)
    assert status["database"]["size_bytes"] > 0
    assert status["backups"]
    metrics = _page(address, "metrics")
    for metric in ("umami_ops_database_size_bytes ", 'umami_ops_check_severity{check="indexes"} 0'):
        assert f"\n{metric}" in metrics, metric
    page = _page(address, "")
    for part in (name, "checks are fine", "nightly", "by hand"):
        assert part in page, part


def _page(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}/{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


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
