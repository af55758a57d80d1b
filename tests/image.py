"""The Dockerfile's own words, and a container of them without an engine.

What an engine would do is done by hand, with Linux's namespaces: a root file system (this machine's, with
changes that go nowhere), the steps of the Dockerfile carried out in it, and then, read only and without any
right, its ENTRYPOINT as process 1. What needs another archive than this machine's, the client programs, is
left out. Needs root.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from testbed.servers.packages import unpack

CHECKOUT = Path(__file__).parents[1]
VOLUME = "/var/lib/umami-ops"
_ANSWERS_SECONDS = 60


@cache
def instructions() -> tuple[tuple[str, str], ...]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (CHECKOUT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    pairs = [line.split(None, 1) for line in lines if line.strip()]
    return tuple((name, " ".join(rest.split())) for name, rest in pairs)


def last(name: str) -> str:
    """What the last instruction of a name says."""
    return next(value for each, value in reversed(instructions()) if each == name)


def environment() -> dict[str, str]:
    """The variables that ENV sets."""
    words = (word.partition("=") for word in shlex.split(last("ENV")))
    return {name: value.replace("$PATH", os.defpath) for name, _, value in words}


def step_with(word: str) -> str:
    """The one RUN that contains a word."""
    (step,) = [value for name, value in instructions() if name == "RUN" and word in value]
    return step


def healthcheck() -> list[str]:
    """The command of HEALTHCHECK."""
    command: list[str] = json.loads(last("HEALTHCHECK").partition("CMD")[2])
    return command


def can_contain() -> bool:
    """Whether this user may have namespaces and mounts of his own here."""
    mount = ["unshare", "--mount", "--pid", "--fork", "mount", "--make-rprivate", "/"]
    return os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0


class Container:
    """A run of the image: `command` stands where `docker run IMAGE` has it, the volume is a folder.

    Use it as a context manager; leaving it ends whatever is left.
    """

    def __init__(self, folder: Path, *command: str, env: Mapping[str, str], installs: bool = False) -> None:
        self.volume = folder / "volume"
        (folder / "root").mkdir(parents=True, exist_ok=True)
        self.volume.mkdir(exist_ok=True)
        self._environment = [f"{name}={value}" for name, value in {**environment(), **env}.items()]
        script = folder / "container.sh"
        script.write_text(_script(folder / "root", self.volume, self._command(command), installs=installs))
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _command(self, command: tuple[str, ...]) -> list[str]:
        entry, default = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
        return [*_as_user(), *self._environment, *entry, *(command or default)]

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    @property
    def first_process(self) -> int:
        """The number that its process 1 has outside."""
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as `docker exec` does."""
        enter = ["nsenter", f"--target={self.first_process}", "--mount", "--pid", "--root", "--wd"]
        return subprocess.run(
            [*enter, *_as_user(), *self._environment, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def wait_until_healthy(self) -> None:
        """Ask as HEALTHCHECK asks, until it says yes."""
        ends = time.monotonic() + _ANSWERS_SECONDS
        while True:
            assert self.process.poll() is None, self.log
            if "/entered" in self.log:
                asked = self.execute(*healthcheck())
                if asked.returncode == 0:
                    return
            assert time.monotonic() < ends, self.log
            time.sleep(0.2)

    def stop(self) -> tuple[int, float]:
        """End it as `docker stop` does; returns the exit code and the seconds that it took."""
        began = time.monotonic()
        os.kill(self.first_process, signal.SIGTERM)
        return self.process.wait(timeout=30), time.monotonic() - began

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def _as_user() -> list[str]:
    """Become the user of USER with no right at all, and forget this machine's variables."""
    user, group = last("USER").split(":")
    rights = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *rights, "env", "-i"]


def _script(root: Path, volume: Path, command: list[str], *, installs: bool) -> str:
    inside = shlex.quote(str(root / "root"))
    tini = shutil.which("tini") or str(unpack("tini") / "bin" / "tini")
    needed = {str(Path(sys.prefix).resolve()), str(Path(sys.base_prefix).resolve()), str(CHECKOUT)}
    lines = [
        "set -euo pipefail",
        "mount --make-rprivate /",
        f"mount -t tmpfs none {root}",
        f"mkdir {root}/changes {root}/work {root}/root",
        f"mount -t overlay overlay -o lowerdir=/,upperdir={root}/changes,workdir={root}/work {inside}",
        f"mount -t proc proc {inside}/proc",
        f"mount --rbind /dev {inside}/dev",
        f"install -m 0755 {tini} {inside}/usr/bin/tini",
        *(_installed(inside) if installs else [f"ln -sfn {sys.prefix} {inside}/opt/umami-ops"]),
        f"rm -rf {inside}{VOLUME}",  # of this machine's own umami-ops, in the overlay alone
        f"chroot {inside} sh -c {shlex.quote(step_with('useradd'))}",
        # The image has Python where everybody may read it; here it may be in somebody's home.
        *(f"chmod o+x {inside}{parent}" for path in needed for parent in Path(path).parents if parent.name),
        # A new volume gets the owner and the mode that its place has in the image.
        f"chown --reference={inside}{VOLUME} {volume}",
        f"chmod --reference={inside}{VOLUME} {volume}",
        f"cp --archive --no-clobber {inside}{VOLUME}/. {volume}/",
        f"mount -o remount,ro {inside}",
        f"mount -t tmpfs -o mode=1777 none {inside}/tmp",
        *(line for path in needed if path.startswith("/tmp/") for line in _shown(path, inside)),
        f"mount --bind {volume} {inside}{VOLUME}",
        "echo /entered",
        f"exec chroot {inside} bash -c {shlex.quote(_entered(command))}",
    ]
    return "\n".join(lines)


def _entered(command: list[str]) -> str:
    return f"cd {last('WORKDIR')} && exec {shlex.join(command)}"


def _installed(inside: str) -> list[str]:
    """Carry out the stage `build`: what it copies, and its RUN."""
    copies = [value.split() for name, value in instructions() if name == "COPY" and "--from" not in value]
    sources = [source for words in copies for source in words[:-1]]
    step = f"cd /src && export PATH={Path(sys.base_prefix) / 'bin'}:$PATH && {step_with('pip install')}"
    return [
        f"mkdir {inside}/src",
        *(f"cp --recursive {CHECKOUT / source} {inside}/src/{source}" for source in sources),
        f"chroot {inside} bash -c {shlex.quote(step)}",
    ]


def _shown(path: str, inside: str) -> list[str]:
    """Show a folder of this machine that the new /tmp hides."""
    return [f"mkdir --parents {inside}{path}", f"mount --bind -o ro {path} {inside}{path}"]
