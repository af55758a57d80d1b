"""The table of all settings in docs/daemon.md, made from what the code knows of them.

`python -m umami_ops.cli.handbook docs/daemon.md` writes it anew; a test holds the document to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

_BEGIN, _END = "<!-- settings: written by umami_ops/cli/handbook.py -->\n", "<!-- end of settings -->\n"


def table() -> str:
    """Return every setting and the variables of all options as Markdown."""
    from umami_ops.daemon.settings import SETTINGS

    lines = ["| in `umami-ops.toml` | variable | meaning | default |", "|---|---|---|---|"]
    for setting in SETTINGS:
        also = f", else `{setting.also}`" if setting.also else ""
        file = "; or `…_FILE`" if setting.is_secret else ""
        is_plain = setting.default and "`" not in setting.default
        default = f"`{setting.default}`" if is_plain else setting.default
        lines.append(f"| `{setting.key}` | `{setting.variable}`{also}{file} | {setting.about} | {default} |")
    lines += [
        "| `jobs.NAME.schedule` | `UMAMI_OPS_SCHEDULE_NAME` | when the job runs; `off` is never | `off` |",
        "| `jobs.NAME.steps` | `UMAMI_OPS_STEPS_NAME` | command lines; in a variable separated by `;` | |",
        "| `jobs.NAME.timezone` | | the time zone of this job's schedule | `daemon.timezone` |",
        "| `jobs.NAME.jitter` | | a run of this job begins up to so much later | `daemon.jitter` |",
        "",
        "| command | variables of its options |",
        "|---|---|",
        *_options(),
    ]
    return "\n".join(lines) + "\n"


def _options() -> Iterator[str]:
    """Yield a line for each command that has options of its own."""
    from umami_ops.cli.sidecar import all_commands
    from umami_ops.cli.variables import options_of

    for path, command in all_commands():
        names = []
        for option in options_of(command).values():
            own = option.envvar if isinstance(option.envvar, str) else (option.envvar or [""])[0]
            names.append(f"`{own}`")
        if names:
            yield f"| `{' '.join(path)}` | {' '.join(names)} |"


def written_into(document: str) -> str:
    """Return the document with the table in its place."""
    before, _, rest = document.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{table()}{_END}{after}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(written_into(file.read_text(encoding="utf-8")), encoding="utf-8")
