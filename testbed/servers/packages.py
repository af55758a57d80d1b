"""Programs of the distribution's packages, unpacked into a cache: unpack.sh does it, without root rights."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Literal

from testbed.servers.server import ServerError

Package = Literal["mysql", "mariadb", "pg-repack", "pt-archiver", "tini", "chromium"]


def unpack(what: Package, *, cache: Path | None = None) -> Path:
    """Unpack the distribution's packages into a cache, the user's own by default; return its `usr` folder.

    Errors: ServerError.
    """
    script = Path(__file__).with_name("unpack.sh")
    chosen = {"XDG_CACHE_HOME": str(cache)} if cache else {}
    done = subprocess.run(
        ["bash", script, what], env=os.environ | chosen, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServerError(f"{what} could not be unpacked:\n{done.stderr.strip()}")
    return Path(done.stdout.strip().splitlines()[-1])
