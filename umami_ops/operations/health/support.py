"""How long each release of a database server is supported, as its makers said in November 2026.

Sources: postgresql.org/support/versioning, mariadb.org/about/#maintenance-policy, Oracle's lifetime support
policy (for MySQL the end of extended support). MySQL's and MariaDB's releases between two long-term ones
ended when the next came. Data alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

_ENDS: Mapping[str, Mapping[str, date]] = {
    "postgresql": {
        "12": date(2024, 11, 21), "13": date(2025, 11, 13), "14": date(2026, 11, 12),
        "15": date(2027, 11, 11), "16": date(2028, 11, 9), "17": date(2029, 11, 8),
        "18": date(2030, 11, 14),
    },
    "mysql": {
        "5.7": date(2023, 10, 31), "8.0": date(2026, 4, 30), "8.1": date(2023, 10, 25),
        "8.2": date(2023, 12, 14), "8.3": date(2024, 4, 10), "8.4": date(2032, 4, 30),
        "9.0": date(2024, 10, 15), "9.1": date(2025, 1, 21), "9.2": date(2025, 4, 15),
        "9.3": date(2025, 7, 22), "9.4": date(2025, 10, 21), "9.5": date(2026, 1, 20),
        "9.6": date(2026, 4, 21), "9.7": date(2034, 4, 21),
    },
    "mariadb": {
        "10.5": date(2025, 6, 24), "10.6": date(2026, 7, 6), "10.11": date(2028, 2, 16),
        "11.0": date(2024, 6, 6), "11.1": date(2024, 8, 21), "11.2": date(2024, 11, 21),
        "11.3": date(2024, 5, 29), "11.4": date(2029, 5, 29), "11.5": date(2024, 11, 21),
        "11.6": date(2025, 2, 13), "11.7": date(2025, 5, 12), "11.8": date(2028, 6, 4),
        "12.0": date(2025, 11, 18), "12.1": date(2026, 2, 13), "12.2": date(2026, 5, 13),
        "12.3": date(2029, 6, 30),
    },
}  # fmt: skip


def support_ends(flavour: str, version: str) -> date | None:
    """Return the day on which a release's support ends or ended; None for a release that isn't known here."""
    parts = version.split(".")
    ends = _ENDS.get(flavour, {})
    # PostgreSQL counts its releases by one number, the others by two.
    return ends.get(parts[0]) or ends.get(".".join(parts[:2]))
