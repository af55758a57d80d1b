"""When jobs are due: cron's rules against an oracle that looks at every minute, over changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umami_ops.daemon.schedule import Schedule, jitter, zone_named
from umami_ops.errors import UsageFault

BERLIN, NEW_YORK, LORD_HOWE = (
    ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
)
_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIRST = (0, 0, 1, 1, 0)
_LAST = (59, 23, 31, 12, 6)


def _values(field: str, place: int) -> set[int]:
    """The values that a field of a cron expression stands for, read off crontab(5)."""
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        if span == "*":
            first, last = _FIRST[place], _LAST[place]
        else:
            ends = [_NAMES.index(end) if end in _NAMES else int(end) for end in span.split("-")]
            first, last = ends[0], ends[-1]
        found |= {number % 7 if place == 4 else number for number in range(first, last + 1, int(step or 1))}
    return found


def _oracle(text: str, zone: ZoneInfo, since: datetime, until: datetime) -> list[datetime]:
    """Every minute of a time at which cron would begin, by looking at each of them."""
    fields = text.split()
    minutes, hours, days, months, weekdays = (_values(field, place) for place, field in enumerate(fields))
    is_day_free, is_weekday_free = fields[2].startswith("*"), fields[4].startswith("*")
    found = []
    moment = since.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment <= until:
        local = moment.astimezone(zone)
        by_day, by_weekday = local.day in days, (local.weekday() + 1) % 7 in weekdays
        fits = by_day and by_weekday if is_day_free or is_weekday_free else by_day or by_weekday
        fits = fits and local.minute in minutes and local.hour in hours and local.month in months
        if fits and not (local.fold and not fields[1].startswith("*")):
            found.append(moment)
        moment += timedelta(minutes=1)
    return found


_minutes = st.one_of(st.integers(0, 59).map(str), st.sampled_from(["*/15", "0,30", "5-20/5"]))
_hours = st.one_of(st.integers(0, 23).map(str), st.sampled_from(["*", "*/6", "1-3", "2,14"]))
_days = st.sampled_from(["*", "*", "1", "29", "13,27", "1-7"])
_months = st.sampled_from(["*", "*", "2", "3,10"])
_weekdays = st.sampled_from(["*", "*", "0", "7", "sun", "mon-fri", "1-5/2", "5-7", "sat,sun", "*/2", "*/3"])
_expressions = st.tuples(_minutes, _hours, _days, _months, _weekdays).map(" ".join)
#: A week around each of: spring and autumn in Berlin, New York and on an island that moves by half an hour; a
#: leap day.
_WEEKS = (
    (BERLIN, datetime(2026, 3, 26, tzinfo=UTC)),
    (BERLIN, datetime(2026, 10, 22, tzinfo=UTC)),
    (NEW_YORK, datetime(2026, 3, 5, tzinfo=UTC)),
    (NEW_YORK, datetime(2026, 10, 29, tzinfo=UTC)),
    (LORD_HOWE, datetime(2026, 4, 2, tzinfo=UTC)),
    (LORD_HOWE, datetime(2026, 10, 1, tzinfo=UTC)),
    (ZoneInfo("UTC"), datetime(2028, 2, 26, tzinfo=UTC)),
)
_weeks = st.sampled_from(_WEEKS)


def _forward(zone: ZoneInfo, since: datetime, until: datetime) -> set[datetime]:
    """The hour after each time that clocks were set forward: what doesn't exist that day is taken then."""
    hours = int((until - since).total_seconds() // 3_600)
    moments = [since + timedelta(hours=n) for n in range(hours)]
    return {
        moment + timedelta(minutes=minute)
        for moment in moments
        for minute in range(-60, 120)
        if (moment + timedelta(hours=1)).astimezone(zone).utcoffset() > moment.astimezone(zone).utcoffset()  # type: ignore[operator]
    }


@settings(max_examples=25, deadline=None)
@given(text=_expressions, week=_weeks)
def test_slots_are_those_of_cron(text: str, week: tuple[ZoneInfo, datetime]) -> None:
    zone, since = week
    until = since + timedelta(days=7)
    around = _forward(zone, since, until)
    expected = [slot for slot in _oracle(text, zone, since, until) if slot not in around]
    found = []
    try:
        for slot in Schedule.parse(text, zone).slots(since):
            if slot > until:
                break
            found.append(slot)
    except UsageFault as fault:
        assert "never comes" in fault.message
    assert [slot for slot in found if slot not in around] == expected
    assert found == sorted(set(found))


def _local(text: str, zone: ZoneInfo, since: datetime, count: int) -> list[str]:
    slots = islice(Schedule.parse(text, zone).slots(since), count)
    return [f"{slot.astimezone(zone):%d %H:%M}" for slot in slots]


def test_where_clocks_are_set_back_a_fixed_hour_runs_once_and_every_hour_each() -> None:
    night = datetime(2026, 10, 24, 20, tzinfo=UTC)
    assert _local("30 2 * * *", BERLIN, night, 2) == ["25 02:30", "26 02:30"]
    assert _local("30 * * * *", BERLIN, night, 6)[2:] == ["25 00:30", "25 01:30", "25 02:30", "25 02:30"]


def test_where_clocks_are_set_forward_a_time_that_is_not_there_is_taken_an_hour_later() -> None:
    assert _local("30 2 * * *", BERLIN, datetime(2026, 3, 28, 12, tzinfo=UTC), 2) == ["29 03:30", "30 02:30"]


def test_leap_days() -> None:
    slots = islice(Schedule.parse("0 3 29 2 *", BERLIN).slots(datetime(2026, 1, 1, tzinfo=UTC)), 2)
    assert [slot.year for slot in slots] == [2028, 2032]


@pytest.mark.parametrize(
    ("nickname", "expression"),
    [("@daily", "0 0 * * *"), ("@weekly", "0 0 * * sun"), ("@yearly", "0 0 1 1 *")],
)
def test_nicknames(nickname: str, expression: str) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    assert _local(nickname, BERLIN, since, 3) == _local(expression, BERLIN, since, 3)


def test_spans_have_the_same_slots_whenever_one_begins_to_count() -> None:
    schedule = Schedule.parse("@every 7s", BERLIN)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    once = set(islice(schedule.slots(begin), 100))
    assert set(islice(schedule.slots(begin + timedelta(seconds=3)), 99)) <= once
    assert schedule.missed(begin, begin + timedelta(minutes=7)) == 60


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "61 * * * *",
        "0 25 * * *",
        "0 0 31 2 *",
        "0 0 * * 8",
        "@often",
        "@every 0s",
        "a b c d e",
        "0 0 L * *",
    ],
)
def test_what_is_no_schedule_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageFault, match="can't be understood") as caught:
        Schedule.parse(text, BERLIN)
    assert "0 3 * * *" in (caught.value.hint or "")


def test_zones() -> None:
    assert zone_named(":Europe/Berlin") == BERLIN
    for wrong in ("Europe/Bärlin", "../../etc/passwd", "", "Europe"):
        with pytest.raises(UsageFault, match="no time zone"):
            zone_named(wrong)


@given(slot=st.datetimes(timezones=st.just(UTC)), limit=st.floats(0, 10_000))
def test_jitter_is_the_same_for_the_same_slot_and_within_its_limit(slot: datetime, limit: float) -> None:
    first = jitter("nightly", slot, limit)
    assert first == jitter("nightly", slot, limit)
    assert 0 <= first.total_seconds() <= limit + 0.001


def test_jitter_spreads() -> None:
    slots = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(200)]
    found = [jitter("nightly", slot, 600).total_seconds() for slot in slots]
    assert min(found) < 60
    assert max(found) > 540


def test_a_step_without_an_end_goes_on_to_saturday() -> None:
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    slots = islice(Schedule.parse("0 3 * * 2/2", ZoneInfo("UTC")).slots(monday), 4)
    assert [f"{slot:%a}" for slot in slots] == ["Tue", "Thu", "Sat", "Tue"]
