"""What the documents say of the house is so: paths and links lead somewhere, the map has every module."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\((?!\w+:)([^)#]+)")
_PATH = re.compile(r"`((?:umami_ops|sql|testbed|docs|tests)/[\w./-]*)`")
_TARGET = re.compile(r"(?:`|^ {4})make ([a-z-]+)", re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(CHECKOUT)))
def test_what_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    missing = [link for link in _LINK.findall(text) if not (document.parent / link).exists()]
    missing += [path for path in _PATH.findall(text) if not (CHECKOUT / path).exists()]
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    missing += [f"make {target}" for target in _TARGET.findall(text) if target not in targets]
    assert not missing


def test_map_has_every_module() -> None:
    named = set(_PATH.findall((CHECKOUT / "docs/architecture.md").read_text()))
    package = CHECKOUT / "umami_ops"
    modules = [*package.iterdir(), *package.joinpath("operations").glob("*.py")]
    expected = {
        f"{module.relative_to(CHECKOUT)}{'/' if module.is_dir() else ''}"
        for module in modules
        if (module.suffix == ".py" or (module / "__init__.py").exists())
        and module != package / "operations/__init__.py"
    }
    assert expected <= named


def test_make_alone_lists_its_targets() -> None:
    shown = subprocess.run(["make"], cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    assert all(f"  make {target} " in shown for target in ("demo", "demo-stop", "test", "test-all", "lint"))
    assert all(len(line) <= 80 for line in shown.splitlines())
