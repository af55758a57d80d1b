"""docs/daemon.md has every setting, and a variable for every option."""

from __future__ import annotations

import re
from pathlib import Path

from umami_ops.cli.handbook import written_into
from umami_ops.cli.sidecar import commands
from umami_ops.places import Places, SettingsFile

CHECKOUT = Path(__file__).parents[2]
DOCUMENT = CHECKOUT / "docs" / "daemon.md"
WRITE = "python -m umami_ops.cli.handbook docs/daemon.md"


def test_the_table_of_settings_is_what_the_code_says() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == written_into(document), f"run: {WRITE}"


def test_no_variable_that_the_code_reads_is_taken_for_a_mistake() -> None:
    from umami_ops.daemon.settings import SETTINGS

    known = set(commands(Places({}, {}, SettingsFile())).variables)
    known |= {setting.variable for setting in SETTINGS}
    sources = "".join(file.read_text() for file in (CHECKOUT / "umami_ops").rglob("*.py"))
    named = set(re.findall(r"\bUMAMI_OPS_[A-Z_]+[A-Z]\b", sources))
    assert {
        name for name in named if not name.startswith(("UMAMI_OPS_SCHEDULE_", "UMAMI_OPS_STEPS_"))
    } <= known
