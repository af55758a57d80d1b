"""Every dashboard number inside the kept period is the same before and after a prune."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from testbed.bulk import Loader, connect
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from tests import dashboards, pruning
from umami_ops.operations.prune import Retention
from umami_ops.umami.migrations import latest_released_level

_END = datetime(2026, 1, 1, tzinfo=UTC)
_HORIZON = _END - timedelta(days=198, seconds=-17)
#: How long after its event `Traffic` dates some event_data and revenue.
_SKEW = timedelta(days=40)
_TRAFFIC = Traffic(start=_END - timedelta(days=396), end=_END, seed=5, events=5_000)
_RANGES = (
    (_HORIZON, _END + timedelta(days=1)),
    (_HORIZON, _HORIZON + timedelta(hours=24)),
    (_HORIZON + timedelta(days=3), _HORIZON + timedelta(days=33)),
    (_HORIZON + _SKEW, _END),
    (_END - timedelta(days=7), _END),
)


Shown = dict[tuple[str, int, str], list[tuple[Any, ...]]]


def _shown(loader: Loader, *, replays: bool, own_clock: bool) -> Shown:
    """Return all dashboards of every website, link and pixel, by website, range and dashboard."""
    shown: Shown = {}
    for (website,) in loader.execute("SELECT DISTINCT website_id FROM website_event ORDER BY 1"):
        for number, (since, until) in enumerate(_RANGES):
            fits = own_clock and since >= _HORIZON + _SKEW
            found = dashboards.numbers(loader, website, since, until, replays=replays, own_clock=fits)
            shown |= {(str(website), number, name): rows for name, rows in found.items()}
    loader.commit()
    return shown


@pytest.mark.parametrize("delete_orphans", [False, True])
def test_every_number_of_the_kept_period_stays(
    server: Server, umami_database: str, delete_orphans: bool
) -> None:
    level = latest_released_level(server.dialect)
    populate(umami_database, _TRAFFIC, level)
    replays = "session_replay" in pruning.schema_of(umami_database, level)
    with connect(umami_database) as loader:
        # `--orphans` takes away what has no event, and what asks for no event does count that.
        before = _shown(loader, replays=replays, own_clock=not delete_orphans)
        retention = Retention(horizon=_HORIZON, delete_orphans=delete_orphans)
        done = pruning.prune(umami_database, retention, batch_rows=300)
        after = _shown(loader, replays=replays, own_clock=not delete_orphans)
    assert done.report.deleted["website_event"] > 1_000
    assert done.report.deleted["session"] > 300
    telling = {name for (_, _, name), rows in before.items() if rows}
    assert telling == {name for (_, _, name) in before}
    assert {key: after.get(key) for key in before if after.get(key) != before[key]} == {}
