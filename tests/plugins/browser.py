"""A real headless Chromium as a pytest fixture: the machine's own, else unpacked from Debian's packages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.servers.packages import unpack

_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Playwright's handle on Chromium. Without its own sandbox, which containers and root don't allow."""
    from playwright.sync_api import sync_playwright

    found = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    program = found or str(unpack("chromium") / "bin" / "chromium-headless-shell")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()
