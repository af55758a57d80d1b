"""`umami-ops daemon`: the sidecar that does it all on a schedule and tells somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from umami_ops.cli import options
from umami_ops.errors import OpsError, UsageFault

if TYPE_CHECKING:
    from umami_ops.daemon.service import Loaded

_PROBE_SECONDS = 5.0


def _address(
    _context: click.Context, _parameter: click.Parameter, written: str | None
) -> tuple[str, int] | None:
    """Take HOST:PORT apart; `[::1]:8080` and `:8080` are fine. Raises UsageFault."""
    if not written:
        return None
    host, colon, port = written.rpartition(":")
    if not colon or not port.isdecimal() or not 0 <= int(port) <= 65_535:
        raise UsageFault(
            f"--http {written!r} is no address.", hint="Write 127.0.0.1:8080, or 0.0.0.0:8080 for all."
        )
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 -- that is what `:8080` says


@click.command()
@click.option(
    "--http",
    metavar="HOST:PORT",
    callback=_address,
    help="Answer by HTTP: /healthz, /metrics, /status.json and a page for people at /. Off unless given.",
)
@click.option(
    "--probe", is_flag=True, help="Ask the daemon that runs here whether all is well, and end: 0 or 1."
)
@options.url
def daemon(http: tuple[str, int] | None, probe: bool) -> None:
    """Run jobs on a schedule, keep their history, and tell somebody.

    Jobs stand in umami-ops.toml or in the environment; without any, the usual ones run. SIGHUP reads the
    configuration anew, SIGTERM ends it within ten seconds. docs/daemon.md has it all.
    """
    if probe:
        raise SystemExit(_probe(http))
    # Everything that is wrong is to be said now, not at three in the morning.
    loaded = _loaded()
    from umami_ops.daemon.log import Log
    from umami_ops.daemon.service import Daemon

    context = click.get_current_context()

    def load() -> Loaded:
        with context:
            return _loaded()

    Daemon(loaded, load, Log(), http=http).serve()


def _loaded() -> Loaded:
    from umami_ops.cli import sidecar

    places = options.places_from_options()
    configuration = sidecar.read_configuration(places)
    accepted = sidecar.Accepted(places)
    from umami_ops.daemon.service import Loaded

    return Loaded(configuration, sidecar.program(accepted), sidecar.database_opener(accepted))


def _probe(address: tuple[str, int] | None) -> int:
    """Print what /healthz says; return 0 where it is green."""
    import http.client

    from umami_ops.cli import render

    if address is None:
        raise UsageFault(
            "--probe needs to know where the daemon answers.", hint="Give --http, or UMAMI_OPS_DAEMON_HTTP."
        )
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104 -- no address to go to
    connection = http.client.HTTPConnection(host, address[1], timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/healthz", headers=_authorization())
        answer = connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as fault:
        why = (fault.strerror if isinstance(fault, OSError) else "") or str(fault) or type(fault).__name__
        raise OpsError(
            f"The daemon does not answer on {host}:{address[1]}: {why}.",
            hint="Does `umami-ops daemon --http` run there? --probe needs the same address.",
        ) from None
    finally:
        connection.close()
    for line in body.splitlines():
        render.print_line(line)
    return 0 if answer.status == http.client.OK else 1


def _authorization() -> dict[str, str]:
    """Return the header with the pages' token, without which /healthz says only whether, not why.

    A configuration that turned bad is no reason to say that the daemon, which keeps the old one, isn't well.
    """
    from umami_ops.daemon.settings import SETTINGS, found_in

    (setting,) = (setting for setting in SETTINGS if setting.key == "daemon.http_token")
    try:
        token = found_in(setting, options.places_from_options()).value
    except OpsError:
        return {}
    # As bytes of UTF-8, in which the daemon reads it.
    return {"Authorization": f"Bearer {token}".encode().decode("latin-1")} if token else {}
