"""How servers are found and tests chosen, as far as no server is needed to see it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbed import servers
from testbed.servers import containers, postgresql
from testbed.servers.databases import administer
from testbed.servers.postgresql import PostgresqlProcess
from testbed.servers.process import Account

REPOSITORY = Path(__file__).parents[2]


def run_pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_missing_server_is_an_error_that_names_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UMAMI_OPS_TEST_POSTGRESQL_18_URL", raising=False)
    monkeypatch.setattr(containers, "why_no_docker", lambda: "no Docker engine answers")
    monkeypatch.setitem(postgresql.WHEELS, "18", ("no-such-wheel", "no_such_wheel"))
    with pytest.raises(servers.ServerError) as caught:
        servers.find.__wrapped__("postgresql-18")
    assert "UMAMI_OPS_TEST_POSTGRESQL_18_URL is not set" in str(caught.value)
    assert "no Docker engine answers" in str(caught.value)
    assert "pip install no-such-wheel" in str(caught.value)


def test_directory_closed_to_nobody_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    process = PostgresqlProcess(closed / "server")
    monkeypatch.setattr(process, "account", Account.nobody())
    with pytest.raises(servers.ServerError, match="cannot enter"):
        process.start()


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="sqlite"):
        administer("sqlite:///x")


def test_servers_option_narrows_the_run() -> None:
    collected = run_pytest("--servers", "mariadb", "tests/integration/test_servers.py").stdout
    assert "test_version_is_of_the_kind_asked_for[mariadb]" in collected
    assert "test_version_is_of_the_kind_asked_for[mysql]" not in collected
    assert "test_template_is_copied" not in collected


def test_servers_option_refuses_an_unknown_name() -> None:
    done = run_pytest("--servers", "oracle", "tests/integration/test_servers.py")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "not oracle" in done.stderr
