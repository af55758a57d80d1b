"""Which backups go: held to a plain oracle, and to what must never go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from umami_ops.archive.rotation import Aged, Keep, sort_out

_START = datetime(2024, 12, 20, tzinfo=UTC)

_backups = st.lists(
    st.tuples(st.integers(0, 60 * 24 * 400), st.sampled_from("ab"), st.booleans(), st.booleans()),
    unique=True,
    max_size=60,
).map(
    lambda drawn: [
        Aged(f"{origin}{number}", _START + timedelta(minutes=minutes), origin, verified, failed)
        for number, (minutes, origin, verified, failed) in enumerate(drawn)
    ]
)
_keeps = st.builds(Keep, *[st.integers(0, 6)] * 4)


def _expected(backups: list[Aged], keep: Keep) -> set[str]:
    """The same rule said plainly: walk each period's backups from the newest to the oldest."""
    kept = set()
    for origin in {each.origin for each in backups}:
        ours = sorted((b for b in backups if b.origin == origin), key=lambda b: (b.created_at, b.name))[::-1]
        kept |= {each.name for each in ours[: keep.last]} | {ours[0].name}
        kept |= {each.name for each in [b for b in ours if b.was_verified][:1]}
        kept |= {each.name for each in [b for b in ours if b.was_verified and not b.has_failed][:1]}
        for count, form in ((keep.daily, "%Y-%m-%d"), (keep.weekly, "%G-%V"), (keep.monthly, "%Y-%m")):
            periods: list[str] = []
            for each in ours:
                if (period := each.created_at.strftime(form)) not in periods:
                    periods.append(period)
                    if len(periods) <= count:
                        kept.add(each.name)
    return kept


@given(_backups, _keeps)
def test_kept_as_the_rule_says(backups: list[Aged], keep: Keep) -> None:
    reasons = sort_out(backups, keep)
    assert set(reasons) == {each.name for each in backups}
    assert {name for name, reason in reasons.items() if reason} == _expected(backups, keep)


@given(_backups, _keeps)
def test_a_second_look_lets_nothing_more_go(backups: list[Aged], keep: Keep) -> None:
    reasons = sort_out(backups, keep)
    left = [each for each in backups if reasons[each.name]]
    assert all(sort_out(left, keep).values())
