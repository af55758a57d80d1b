"""`python -m umami_ops.cli.step …`: the command line as the daemon starts it, which ends when the daemon
does.

Linux tells the step when the daemon is gone, kill -9 included; it then ends after its batch, as upon SIGTERM.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _end_with(parent: int) -> None:
    """Have SIGTERM sent to this process when its parent ends; elsewhere than on Linux nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(3)  # it was gone before it could be asked for


if __name__ == "__main__":
    _end_with(int(os.environ.pop("UMAMI_OPS_DAEMON_PROCESS", os.getppid())))
    from umami_ops.cli import main

    main(prog_name="umami-ops")
