"""Every command line and every variable in examples/ and docs/ is one that umami-ops takes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import image
from umami_ops import __version__
from umami_ops.cli import COMMANDS, variables
from umami_ops.cli.sidecar import all_commands, commands, prepared, read_configuration
from umami_ops.daemon import metrics
from umami_ops.daemon.jobs import Step
from umami_ops.daemon.settings import SETTINGS
from umami_ops.errors import UsageFault
from umami_ops.operations.health import CHECKS
from umami_ops.places import Places, SettingsFile

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples"
DOCUMENTS = sorted(
    [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), CHECKOUT / "Dockerfile"]
    + [file for file in EXAMPLES.rglob("*") if file.is_file()]
)
COMPOSE = sorted(EXAMPLES.glob("docker-compose*.yml"))
NOWHERE = Places({}, {}, SettingsFile())
#: What a container of ours knows besides: Umami's address, the time zone, and what its image sets.
_OTHERS = {
    "DATABASE_URL",
    "DIRECT_DATABASE_URL",
    "DATABASE_URL_FILE",
    "TARGET_DATABASE_URL",
    "TZ",
    "NO_COLOR",
}
_THEN = "2026-01-01T00:00:00Z"
_SHELL = re.compile(
    r"^\$? *(?:docker run .*? )?(?:\w+=\S+ )*(?:/opt/umami-ops/bin/)?umami-ops (?P<words>.+)$"
)


def known_variables() -> set[str]:
    known = {*commands(NOWHERE).variables, *_OTHERS}
    for setting in SETTINGS:
        known |= {setting.variable, f"{setting.variable}_FILE"}
    return known


def check_variable(name: str) -> None:
    if name.startswith(("UMAMI_OPS_SCHEDULE_", "UMAMI_OPS_STEPS_")) and name not in known_variables():
        return
    assert name in known_variables(), f"{name} is no variable of umami-ops"


def check_line(words: list[str]) -> None:
    """Hold a command line to the command that it names."""
    rest = list(words)
    while rest and rest[0] in ("--config", "--url"):
        rest = rest[2:]
    assert rest, words
    if rest[0] in variables.ABOUT_JOBS:
        _check_about_jobs(rest)
    elif rest[0] not in ("--version", "--help"):
        prepared(Step(shlex.join(rest), tuple(rest)), NOWHERE)


def _check_about_jobs(words: list[str]) -> None:
    found = dict(all_commands())
    path = tuple(words[:2]) if tuple(words[:2]) in found else (words[0],)
    given = words[len(path) :]
    known = {name for option in found[path].params for name in option.opts}
    assert {word for word in given if word.startswith("-")} <= known, words


def lines_in(document: Path) -> Iterator[str]:
    """The commands in a document: in its blocks, and set in backticks with `umami-ops` in front."""
    text = re.sub(r"\\\n\s*", "", document.read_text())
    for found in re.finditer(r"^(?: {4}|\$ )(.*)$", text, re.MULTILINE):
        line = found[1].strip()
        for part in re.split(r"\s*&&\s*", line):
            if match := _SHELL.match(part.partition(" #")[0].strip()):
                words = match["words"]
                yield words.rstrip('"') if words.count('"') == 1 else words  # the end of sh -c "…"
    for found in re.finditer(r"`umami-ops ([^`\n]+)`", document.read_text()):
        yield found[1]


def mentions_in(document: Path) -> Iterator[str]:
    """Whatever a document shows of a command beyond whole lines: its name, a pattern, a line in backticks."""
    yield from lines_in(document)
    for found in re.finditer(r"`([a-z]+)((?: [^`\n]*)?)`", document.read_text()):
        if found[1] in COMMANDS and "--" in found[2]:
            yield found[1] + found[2]
    for found in re.finditer(r"umami-ops ((?:--config \S+ )?[a-z]+(?: [^`#&\n]*)?)", document.read_text()):
        if found[1].split()[0] in COMMANDS and " --" in found[1]:
            yield found[1]


def _is_pattern(words: str) -> bool:
    """Whether this is a way of writing, with [options] or a COMMAND, and no line to type."""
    return bool(re.search(r"\[|…|\||\bCOMMAND\b|^\W|>", words))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(CHECKOUT)))
def test_what_a_document_mentions_exists(document: Path) -> None:
    """Every command that is named, those below groups too, and every option beside it."""
    found = dict(all_commands())
    for words in mentions_in(document):
        given = re.sub(r"^--config \S+ ", "", words)
        name, _, rest = given.partition(" ")
        if name.startswith(("[", "-", "…")):
            continue
        assert name in COMMANDS, words
        below = [path[1] for path in found if len(path) == 2 and path[0] == name]
        second = re.match(r"[a-z]+\b", rest)
        if below and second and name != "backup":
            assert second[0] in below, words
        path = (name, second[0]) if second and second[0] in below else (name,)
        options = [option for each, command in found.items() if each[: len(path)] == path
                   for option in command.params]  # fmt: skip
        known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
        assert set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest)) <= known | {"--help", "--config"}, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(CHECKOUT)))
def test_the_command_lines_of_a_document_are_understood(document: Path) -> None:
    for words in lines_in(document):
        if _is_pattern(words):
            continue
        split = shlex.split(words)
        if len(split) == 1 or (len(split) == 2 and not split[1].startswith("-")):
            continue  # the name of a command in a sentence
        try:
            check_line(split)
        except UsageFault as fault:
            if not re.search("needs one of its commands|Missing|How much", str(fault)):
                raise


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(CHECKOUT)))
def test_the_variables_of_a_document_are_known(document: Path) -> None:
    for name in re.findall(r"\bUMAMI_OPS_[A-Z_]+[A-Z]\b", document.read_text()):
        if not name.startswith("UMAMI_OPS_TEST_") and not name.endswith(("_NAME", "_TESTS", "_REPORT")):
            check_variable(name)


def _services(file: Path) -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(file.read_text())["services"]
    return services


def _check_service(service: dict[str, Any]) -> None:
    """Hold a service of ours to what the image takes."""
    command = service.get("command", ["daemon"])
    check_line(command if isinstance(command, list) else shlex.split(command))
    for name in service["environment"]:
        check_variable(name)
    environment = {name: str(value) for name, value in service["environment"].items()}
    environment["DATABASE_URL"] = environment["DATABASE_URL"].replace("${", "").replace("}", "")
    read_configuration(Places(environment, {}, SettingsFile()))


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_compose_files(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    ours = {
        name: service
        for name, service in document["services"].items()
        if "umami-ops" in service.get("image", "")
    }
    assert ours
    for service in ours.values():
        _check_service(service)
        assert service["read_only"]
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            base = _services(EXAMPLES / "docker-compose.yml")["umami-ops"]["volumes"]
            is_named = source in document.get("volumes", {}) or volume in base
            assert is_named or (EXAMPLES / source).exists(), volume
    for service in document["services"].values():
        for other in service.get("depends_on", {}):
            names = {*document["services"], *_services(EXAMPLES / "docker-compose.yml")}
            assert other in names


def test_umami_starts_only_after_the_pre_upgrade_step_succeeded() -> None:
    services = _services(EXAMPLES / "docker-compose.pre-upgrade.yml")
    assert services["umami"]["depends_on"] == {"pre-upgrade": {"condition": "service_completed_successfully"}}
    assert services["pre-upgrade"]["depends_on"] == {
        "upgrade-check": {"condition": "service_completed_successfully"}
    }
    for name, command in (("upgrade-check", "upgrade check"), ("pre-upgrade", "backup --verify")):
        assert " ".join(services[name]["command"]) == command
        assert services[name]["restart"] == "no"


def test_the_settings_file() -> None:
    text = (EXAMPLES / "umami-ops.toml").read_text().replace("apprise_file", "apprise")
    _check_settings(text)


def _blocks(kind: str) -> list[str]:
    """What stands between ```kind and ``` in any document."""
    return [block for document in DOCUMENTS
            for block in re.findall(rf"```{kind}\n(.*?)```", document.read_text(), re.DOTALL)]  # fmt: skip


@pytest.mark.parametrize("block", _blocks("toml"))
def test_settings_in_documents(block: str) -> None:
    _check_settings(block)


@pytest.mark.parametrize("block", _blocks("yaml"))
def test_services_in_documents(block: str) -> None:
    for service in yaml.safe_load(block).values():
        if service["image"].startswith("umami-ops:"):
            _check_service(service)


def _check_settings(text: str) -> None:
    import tomllib

    places = Places({}, {}, SettingsFile("umami-ops.toml", text, tomllib.loads(text)))
    configuration = read_configuration(places)
    assert configuration.jobs
    for path in COMMANDS:
        command = next(command for name, command in all_commands() if name == (path,))
        variables.defaults(places, path, command)


def test_the_cron_job() -> None:
    spec = yaml.safe_load((EXAMPLES / "kubernetes/cronjob.yaml").read_text())["spec"]["jobTemplate"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    check_line(container["args"])
    assert "--yes" in container["args"]
    for variable in container["env"]:
        check_variable(variable["name"])
    assert pod["securityContext"]["runAsUser"] == _uid()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("systemd/*.service")), ids=lambda file: file.name)
def test_units(file: Path) -> None:
    unit = RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(file)
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/umami-ops")
    check_line(words)
    for name, _, value in (
        word.partition("=") for word in shlex.split(unit["Service"].get("Environment", ""))
    ):
        check_variable(name)
        if unit["Service"].get("ProtectSystem") == "strict":
            assert Path(value).is_relative_to(Path("/var/lib") / unit["Service"]["StateDirectory"])
    timer = file.with_suffix(".timer")
    if unit["Service"].get("Type") == "oneshot":
        assert "OnCalendar" in timer.read_text()


def _metric_names() -> set[str]:
    """Every metric that the daemon has, whatever the database: read off a full snapshot."""
    job = {
        "name": "nightly", "state": "idle", "overdue_since": None, "last_success": _THEN, "next_run": _THEN,
        "last_run": {"result": "success", "started_at": _THEN, "seconds": 1.0, "rows": 1, "size_bytes": 1},
    }  # fmt: skip
    measures = [
        {"name": name, "table": "t" if "table" in name else None, "value": 1}
        for check in CHECKS
        for name in check.measures
    ]
    snapshot = {
        "version": "1", "ok": True, "role": "leader", "started_at": _THEN, "jobs": [job],
        "totals": [{"job": "nightly", "result": "success", "runs": 1, "seconds": 1.0, "rows": 1}],
        "database": {"size_bytes": 1, "events_per_day": 1, "events": 1, "forecast": {"bytes_per_day": 1}},
        "health": {"examined_at": _THEN, "checks": [{"name": "c", "severity": "ok", "measures": measures}]},
    }  # fmt: skip
    return set(re.findall(r"^(umami_ops_\w+)", metrics.exposition(snapshot).decode(), re.MULTILINE))


def test_alerts_and_the_dashboard_ask_for_metrics_that_there_are() -> None:
    alerts = yaml.safe_load((EXAMPLES / "prometheus/alerts.yml").read_text())
    asked = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    dashboard = json.loads((EXAMPLES / "grafana/dashboard.json").read_text())
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for expression in asked for name in re.findall(r"umami_ops_\w+", expression)}
    assert named
    assert named <= _metric_names()
    for rule in (rule for group in alerts["groups"] for rule in group["rules"]):
        for text in rule["annotations"].values():
            for words in re.findall(r": umami-ops (.+)$", text):
                check_line(
                    shlex.split(
                        words.replace("{{ $labels.job }}", "x").replace("{{ $labels.check }}", "disk")
                    )
                )


def _uid() -> int:
    return int(image.last("USER").partition(":")[0])


def test_the_dockerfile_keeps_to_the_rules() -> None:
    """What hadolint, in `make lint`, doesn't look at."""
    steps = image.instructions()
    names = [name for name, _ in steps]
    assert names.count("FROM") == 2
    assert _uid() == 10001
    assert names.index("USER") > max(place for place, name in enumerate(names) if name in ("RUN", "COPY"))
    for name, value in steps:
        if name == "COPY" and "--from" not in value:
            *sources, _ = value.split()
            assert all((CHECKOUT / source).exists() for source in sources)
            ignored = (CHECKOUT / ".dockerignore").read_text()
            assert all(f"!{source}" in ignored for source in sources)


def test_the_image_starts_what_there_is_and_sets_what_is_known() -> None:
    steps = dict(image.instructions())
    entry = json.loads(steps["ENTRYPOINT"])
    assert entry == ["tini", "--", "umami-ops"]
    check_line(json.loads(steps["CMD"]))
    check = image.healthcheck()
    assert check[0] == "umami-ops"
    check_line(check[1:])
    for name in re.findall(r"(UMAMI_OPS_\w+)=", steps["ENV"]):
        check_variable(name)
    labels = (CHECKOUT / "Dockerfile").read_text()
    assert 'org.opencontainers.image.version="${VERSION}"' in labels
    assert steps["ARG"] == f"VERSION={__version__}"
    (extras,) = re.findall(r"pip install --no-cache-dir '\.\[(.*?)\]'", labels)
    assert set(extras.split(",")) <= set(
        re.findall(r"^(\w+) = \[", (CHECKOUT / "pyproject.toml").read_text(), re.MULTILINE)
    )
