"""`umami-ops health` as a command: formats, exit codes, thresholds, the store of backups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import servers
from testbed.servers import Server
from tests.command import run
from tests.examining import WEBSITE, examined, execute, insert_events
from umami_ops.operations.health import CHECKS

UNDATED = ("health", "--only", "undated_events")


@pytest.fixture
def warned(healthy: str) -> Iterator[str]:
    """The healthy database with one warning."""
    insert_events(healthy, WEBSITE, [None])
    yield healthy
    execute(healthy, "DELETE FROM website_event WHERE created_at IS NULL")


def test_the_exit_code(warned: str) -> None:
    assert run(*UNDATED, url=warned).code == 0
    assert run(*UNDATED, "--fail-on", "warning", url=warned).code == 1
    skip = ("--skip", "undated_events", "--skip", "server_version")
    assert run("health", *skip, "--fail-on", "warning", url=warned).code == 0
    assert run(*UNDATED, "--format", "nagios", url=warned).code == 1


def test_what_a_person_sees(warned: str) -> None:
    outcome = run("health", url=warned)
    lines = [line for line in outcome.out.splitlines() if line.strip()]
    assert lines[1].split()[:3] == ["!", "warning", "undated_events"]
    assert "→ umami-ops prune" in lines[2]
    assert "checks are fine" in outcome.out
    assert outcome.err == ""


def test_what_a_program_sees(server: Server, warned: str) -> None:
    document = run("health", "--format", "json", url=warned).document
    assert document["schema_version"] == 1
    assert document["severity"] == "warning"
    assert document["server"]["flavour"] == server.flavour
    (finding,) = [f for f in document["findings"] if f["check"] == "undated_events"]
    assert set(finding) == {"check", "severity", "subject", "sentence", "why", "cure", "evidence"}
    assert finding["evidence"]["rows"] == 1
    assert {check["name"] for check in document["checks"]} == {check.name for check in CHECKS}
    assert all(
        set(c) == {"name", "title", "severity", "could_not_look", "measures"} for c in document["checks"]
    )


def test_what_prometheus_sees(warned: str) -> None:
    text = run("health", "--format", "prometheus", url=warned).out
    sample = re.compile(r'(umami_ops_\w+)(?:\{(check|table)="\w+"\})? -?\d+(\.\d+)?')
    names = set()
    for line in text.splitlines():
        found = re.fullmatch(r"# (?:HELP (umami_ops_\w+) \S.*|TYPE (umami_ops_\w+) gauge)", line)
        if found is None:
            found = sample.fullmatch(line)
            assert found, line
            names.add(found[1])
    assert len(re.findall("^# TYPE", text, re.MULTILINE)) == len(names)
    assert 'umami_ops_check_severity{check="undated_events"} 2\n' in text
    assert "umami_ops_up 1\n" in text
    assert "Shop" not in text


def test_what_nagios_sees(warned: str) -> None:
    outcome = run("health", "--format", "nagios", "--skip", "server_version", url=warned)
    (line,) = outcome.out.splitlines()
    text, _, data = line.partition(" | ")
    assert text.startswith("UMAMI WARNING - undated_events: 1 event has no created_at")
    assert all(re.fullmatch(r"\w+=-?[\d.]+(s|B)?", part) for part in data.split()), data
    fine = run("health", "--format", "nagios", "--only", "connections", url=warned)
    assert (fine.code, fine.out[:10]) == (0, "UMAMI OK -")


def test_thresholds_come_from_file_and_environment(warned: str, tmp_path: Path) -> None:
    (tmp_path / "umami-ops.toml").write_text("[health]\nretention_days = 1\nretention_slack_days = 0\n")
    only = ("health", "--only", "retention", "--fail-on", "warning")
    assert run(*only, url=warned, folder=tmp_path).code == 1
    assert run(*only, url=warned, folder=tmp_path, env={"UMAMI_OPS_HEALTH_RETENTION_DAYS": "30"}).code == 0


def test_unknown_names_are_refused(healthy: str, tmp_path: Path) -> None:
    outcome = run("health", "--only", "conections", url=healthy)
    assert outcome.code == 2
    assert "Did you mean connections?" in outcome.err
    assert run("health", "--format", "nagios", "--only", "x", url=healthy).code == 3
    outcome = run("health", url=healthy, env={"UMAMI_OPS_HEALTH_RETENTION_DAY": "3"})
    assert outcome.code == 2
    assert "UMAMI_OPS_HEALTH_RETENTION_DAYS" in outcome.err
    for text in ("[health]\nretention = 3\n", "[health]\nretention_days = 'x'\n", "health = 'x'\n"):
        (tmp_path / "umami-ops.toml").write_text(text)
        outcome = run("health", url=healthy, folder=tmp_path)
        assert outcome.code == 2, text
        assert "health" in outcome.err


def test_backups(server: Server, umami_database: str, tmp_path: Path) -> None:
    environment = {
        "UMAMI_OPS_STORE": str(tmp_path / "store"),
        "UMAMI_OPS_PROGRAMS": str(servers.programs(server.name)),
    }

    def found(*more: str) -> list[dict[str, Any]]:
        outcome = run("health", "--only", "backups", "--format", "json", url=umami_database, env=environment)
        return list(outcome.document["findings"])

    (nowhere,) = examined(umami_database, "backups").verdicts
    assert "UMAMI_OPS_STORE" in nowhere.unseen[0].needs
    (tmp_path / "store").mkdir()
    assert ["no backup of this database" in f["sentence"] for f in found()] == [True]
    made = run("backup", url=umami_database, env=environment)
    assert made.code == 0, made.said
    (unproven,) = found()
    assert "ever proven to restore" in unproven["sentence"]
    # Who may make no scratch database proves nothing, and says nothing about the backup.
    refused = run("backup", "verify", unproven["subject"], url=umami_database, env=environment)
    assert refused.code == 5, refused.said
    assert found() == [unproven]
    dump = next((tmp_path / "store").rglob("database.*"))
    content = dump.read_bytes()
    dump.write_bytes(content[:-1])
    run("backup", "verify", unproven["subject"], url=umami_database, env=environment)
    failed = next(f for f in found() if "failed its verification on" in f["sentence"])
    assert "is damaged" in failed["sentence"]
    assert failed["subject"] == unproven["subject"]
    assert "failed" in run("backup", "list", env=environment).out
    dump.write_bytes(content)
    verified = run(
        "backup", "verify", unproven["subject"], url=server.as_admin(umami_database), env=environment
    )
    assert verified.code == 0, verified.said
    assert found() == []
    dump.write_bytes(content[:-1])
    run("backup", "verify", unproven["subject"], url=server.as_admin(umami_database), env=environment)
    assert "and has not failed since" in found()[0]["sentence"]
    dump.write_bytes(content)
    run("backup", "verify", unproven["subject"], url=server.as_admin(umami_database), env=environment)
    environment["UMAMI_OPS_HEALTH_BACKUP_DAYS"] = "0"
    assert ["The newest backup is" in f["sentence"] for f in found()] == [True]
    (next((tmp_path / "store").rglob("manifest.json"))).write_text("{}")
    assert any("can't be read" in f["sentence"] for f in found())


@pytest.mark.parametrize("place", ["environment", "file"])
def test_backups_are_looked_for_where_they_are_made(
    place: str, postgresql_server: Server, healthy: str, tmp_path: Path
) -> None:
    """The image names a store for all commands, and a user another for `backup` alone."""
    mine, images = tmp_path / "mine", tmp_path / "images"
    images.mkdir()
    env = {"UMAMI_OPS_STORE": str(images)}
    if place == "environment":
        env["UMAMI_OPS_BACKUP_CREATE_STORE"] = str(mine)
    else:
        file = tmp_path / "umami-ops.toml"
        file.write_text(f'[backup.create]\nstore = "{mine}"\n')
        env["UMAMI_OPS_CONFIG"] = str(file)
    assert run("backup", "--format", "portable", url=healthy, env=env).code == 0
    assert list(mine.iterdir())
    found = run("health", "--only", "backups", "--format", "json", url=healthy, env=env).document
    assert [finding["sentence"] for finding in found["findings"]] == [
        "No backup of this database was ever proven to restore."
    ]
