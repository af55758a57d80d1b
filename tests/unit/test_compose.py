"""docker-compose.test.yml is well formed and names the servers that the harness names."""

from __future__ import annotations

import pytest
import yaml

from testbed import servers
from testbed.servers.containers import COMPOSE_FILE, services


def test_services_are_the_harness_servers() -> None:
    assert set(services()) == set(servers.NAMES)


@pytest.mark.parametrize("name", servers.NAMES)
def test_image_has_the_preferred_major_version(name: str) -> None:
    assert services()[name].tag.split(".")[0] == servers.KINDS[name].majors[0]


@pytest.mark.parametrize("name", servers.NAMES)
def test_service_is_local_healthy_and_in_memory(name: str) -> None:
    service = yaml.safe_load(COMPOSE_FILE.read_text())["services"][name]
    assert service["ports"][0].startswith("127.0.0.1:")
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["tmpfs"]


@pytest.mark.parametrize("name", servers.NAMES)
def test_admin_url_stands_in_the_instructions(name: str) -> None:
    service = yaml.safe_load(COMPOSE_FILE.read_text())["services"][name]
    port = int(service["ports"][0].split(":")[1])
    export = f"{servers.KINDS[name].variable}={services()[name].admin_url(port)}"
    assert export in COMPOSE_FILE.read_text()


def test_settings_become_the_container_command() -> None:
    assert services()["postgresql-18"].command_with({"fsync": "off"}) == ["-c", "fsync=off"]
    assert services()["mariadb"].command_with({"log_bin": "x"}) == ["--log_bin=x"]
