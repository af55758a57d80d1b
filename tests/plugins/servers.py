"""Servers as pytest fixtures, and the options that choose servers and tests.

`server` runs a test once on each server. A test or fixture that asks for `postgresql_server` or
`mysql_server` instead runs on the servers of that dialect; `server` and what stands on it, such as
`database_url`, is then the same server.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from testbed import servers
from testbed.servers import Server, ServerError

# Left out unless asked for.
ON_REQUEST = {"slow": "takes more than a few seconds", "fault": "kills or cuts off servers and processes"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --servers and --all."""
    group = parser.getgroup("umami-ops")
    group.addoption(
        "--servers",
        metavar="NAME,…",
        help=f"run server tests on these alone (default: {','.join(servers.NAMES)})",
    )
    group.addoption(
        "--all",
        action="store_true",
        help="run slow and fault tests too; so does UMAMI_OPS_ALL_TESTS=1",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register markers, and make SIGTERM end the run as Ctrl-C does: with the servers stopped."""
    for name, meaning in ON_REQUEST.items():
        config.addinivalue_line("markers", f"{name}: {meaning}; runs with --all")
    unknown = set(_chosen(config)) - set(servers.NAMES)
    if unknown:
        raise pytest.UsageError(
            f"--servers knows {', '.join(servers.NAMES)}, not {', '.join(sorted(unknown))}"
        )
    signal.signal(signal.SIGTERM, _end_run)
    # Started in the background it ignores Ctrl-C, and so would the commands that the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _end_run(number: int, frame: FrameType | None) -> None:
    # The second one, sent by an impatient supervisor, must not cut the cleaning up short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pytest.exit("SIGTERM", returncode=128 + number)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop all servers."""
    servers.stop_all()


def _chosen(config: pytest.Config) -> list[str]:
    chosen = config.getoption("--servers")
    return chosen.split(",") if chosen else list(servers.NAMES)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that stands on `server` one run on each server of the dialect that it asks for."""
    if "server" not in metafunc.fixturenames:
        return
    dialects = {kind.dialect for kind in servers.KINDS.values()}
    for dialect in ("postgresql", "mysql"):
        if f"{dialect}_server" in metafunc.fixturenames:
            dialects &= {dialect}
    names = [name for name, kind in servers.KINDS.items() if kind.dialect in dialects]
    metafunc.parametrize("server", names, indirect=True, scope="session")


def _server_name(item: pytest.Item) -> str | None:
    parameters = (
        item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    )
    name = parameters.get("server")
    return name if name in servers.NAMES else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what was not asked for, and keep the tests of one server together, in one process."""
    chosen = _chosen(config)
    everything = config.getoption("--all") or os.environ.get("UMAMI_OPS_ALL_TESTS") == "1"

    def wanted(item: pytest.Item) -> bool:
        if _server_name(item) not in (None, *chosen):
            return False
        return everything or not any(item.get_closest_marker(marker) for marker in ON_REQUEST)

    deselected = [item for item in items if not wanted(item)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if wanted(item)]
    for item in items:
        if name := _server_name(item):
            item.add_marker(pytest.mark.xdist_group(name))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name each server with its version and where it comes from."""
    return [_describe(name) for name in servers.NAMES if name in _chosen(config)]


def _describe(name: str) -> str:
    try:
        return f"server {servers.find(name)}"
    except ServerError as error:
        return f"server {name}: MISSING, tests that need it will fail. {error}"


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the servers, shared by all tests: make databases on it, but don't stop it."""
    return servers.get(request.param)


@pytest.fixture(scope="session")
def postgresql_server(server: Server) -> Server:
    """`server`, with the test run on the PostgreSQL ones only."""
    return server


@pytest.fixture(scope="session")
def mysql_server(server: Server) -> Server:
    """`server`, with the test run on MySQL and MariaDB only."""
    return server


@pytest.fixture
def database_url(server: Server) -> Iterator[str]:
    """A fresh, empty database on `server`, dropped after the test."""
    url = server.create_database()
    yield url
    server.drop_database(url)
