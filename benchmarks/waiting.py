"""What inserts wait for beside a long command: the server is asked every 10 ms, as its administrator."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from testbed.bulk import connect
from testbed.servers import Server

_EVERY_SECONDS = 0.01
#: An insert that has taken so long is slow, and what it waits for is noted.
_SLOW_SECONDS = 0.1

# Who inserts, for how long, and what for. A wait for a lock begins with `Lock`.
_POSTGRESQL = """
SELECT pid, EXTRACT(EPOCH FROM clock_timestamp() - query_start),
       COALESCE(wait_event_type || ' ' || wait_event, 'the processor')
FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'INSERT%'
"""
_MYSQL = """
SELECT t.processlist_id, s.timer_wait / 1e12,
       CONCAT(IF(t.processlist_state LIKE 'Waiting for%lock', 'Lock ', ''), t.processlist_state)
FROM performance_schema.threads AS t
JOIN performance_schema.events_statements_current AS s ON s.thread_id = t.thread_id AND s.end_event_id IS NULL
WHERE t.processlist_info LIKE 'INSERT%'
"""
_MARIADB = """
SELECT id, time_ms / 1000, CONCAT(IF(state LIKE 'Waiting for%lock', 'Lock ', ''), state)
FROM information_schema.processlist WHERE info LIKE 'INSERT%'
"""
_LOOKS = {"postgresql": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MARIADB}


@dataclass
class Waiting:
    """The longest wait for a lock that was seen, and how often slow inserts were seen to wait for what."""

    longest_for_lock: float = 0.0
    slow: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def note(self, seconds: float, what: str) -> None:
        """Take account of one insert that was seen."""
        if what.startswith("Lock"):
            self.longest_for_lock = max(self.longest_for_lock, seconds)
        if seconds >= _SLOW_SECONDS:
            self.slow[what] += 1

    def in_words(self) -> str:
        """Say what slow inserts waited for, the most frequent first."""
        most = sorted(self.slow.items(), key=lambda pair: -pair[1])[:3]
        return ", ".join(f"{what} ({times}x)" for what, times in most) or "none was slow"


@contextmanager
def watched(server: Server, url: str) -> Iterator[Waiting]:
    """Look until the block ends."""
    seen = Waiting()
    over = threading.Event()

    def watch() -> None:
        with connect(server.as_admin(url)) as admin:
            while not over.wait(_EVERY_SECONDS):
                for _, seconds, what in admin.execute(_LOOKS[server.flavour]):
                    seen.note(float(seconds), str(what))
                admin.commit()  # or the view stays as it was, and indexes wait for this transaction

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
