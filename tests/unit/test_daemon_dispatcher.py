"""A month of schedules in a second: what runs, what waits, what is left out, caught up or passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from umami_ops.daemon.agenda import Agenda, Due, Mark
from umami_ops.daemon.dispatcher import Dispatcher
from umami_ops.daemon.guard import Role
from umami_ops.daemon.jobs import Job, Step
from umami_ops.daemon.schedule import Schedule

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 10, 1, tzinfo=UTC)
END = datetime(2026, 11, 1, tzinfo=UTC)
STEP = (Step.written("info"),)


@dataclass
class Memory:
    """Marks as a state folder keeps them."""

    kept: dict[str, Mark] = field(default_factory=dict)

    def marks(self) -> Mapping[str, Mark]:
        return dict(self.kept)

    def mark(self, job: str, mark: Mark) -> None:
        self.kept[job] = mark

    def forget_marks(self, jobs: Collection[str]) -> None:
        self.kept = {name: mark for name, mark in self.kept.items() if name in jobs}


def job(name: str, text: str, jitter_seconds: float = 0.0) -> Job:
    return Job(name, Schedule.parse(text, BERLIN), STEP, jitter_seconds)


NIGHTLY, HOURLY, OFTEN = job("nightly", "0 3 * * *"), job("hourly", "@hourly"), job("often", "*/15 * * * *")


@dataclass
class World:
    """A daemon without threads under a clock of its own: each job takes as long as it is said to."""

    memory: Memory = field(default_factory=Memory)
    now: datetime = START
    began: list[tuple[datetime, Due]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    takes: Mapping[str, timedelta] = field(default_factory=dict)
    role: Role = Role.LEADER
    _ends: datetime | None = None

    def start(self, *jobs: Job) -> None:
        """The daemon begins, or begins anew."""
        self.dispatcher = Dispatcher(Agenda(jobs, self.memory, self.now))
        self._ends = None

    def live(self, until: datetime) -> None:
        """Let time pass: from each event to the next, as the daemon's loop does."""
        while self.now < until:
            if self._ends is not None and self._ends <= self.now:
                self.dispatcher.finished()
                self._ends = None
            if self.role is Role.STANDBY:  # where the leader is done with everything as soon as it comes
                slots = self.dispatcher.open_slots(self.now, Role.STANDBY).items()
                come = {name: [slot for slot in found if slot <= self.now] for name, found in slots}
                self.dispatcher.pass_over({name: found[-1] for name, found in come.items() if found})
            self.left_out.update(due.job.name for due in self.dispatcher.tick(self.now, self.role))
            if self.role is Role.LEADER and (due := self.dispatcher.take()) is not None:
                self.dispatcher.begun(due)
                self.began.append((self.now, due))
                self._ends = self.now + self.takes.get(due.job.name, timedelta(seconds=5))
            wake = [until, self.now + timedelta(minutes=20)]
            wake += [
                at for at in (self.dispatcher.next_wake(), self._ends) if at is not None and at > self.now
            ]
            self.now = min(wake)

    def sleep(self, span: timedelta) -> None:
        """The machine sleeps: nobody looks."""
        self.now += span

    def runs(self, name: str) -> list[tuple[datetime, Due]]:
        return [(at, due) for at, due in self.began if due.job.name == name]


def test_a_month_over_the_end_of_summer_time() -> None:
    world = World()
    world.start(NIGHTLY, HOURLY, OFTEN)
    world.live(END)
    nights = world.runs("nightly")
    assert len(nights) == 31
    assert {f"{due.slot.astimezone(BERLIN):%H:%M}" for _, due in nights} == {"03:00"}
    assert len(world.runs("hourly")) == 31 * 24 - 1  # the month began at two in the morning, in Berlin
    assert len(world.runs("often")) == 31 * 24 * 4 - 1
    assert not world.left_out
    assert not any(due.missed or due.is_catch_up for _, due in world.began)


def test_six_weeks_with_a_leap_day_and_the_beginning_of_summer_time() -> None:
    """With a long run that others wait for, three days of sleep, a restart and a reload in them."""
    world = World(now=datetime(2028, 2, 20, tzinfo=UTC), takes={"leap": timedelta(hours=30)})
    jobs = [job("night", "30 2 * * *"), job("leap", "0 12 29 2 *"), HOURLY]
    world.start(*jobs)
    world.live(datetime(2028, 3, 5, tzinfo=UTC))
    world.sleep(timedelta(days=3))
    world.live(datetime(2028, 3, 12, tzinfo=UTC))
    world.start(*jobs)
    world.live(datetime(2028, 3, 20, tzinfo=UTC))
    world.dispatcher.replace([*jobs, job("new", "@weekly")], world.now)
    world.live(datetime(2028, 4, 2, tzinfo=UTC))
    assert [f"{due.slot:%m-%d %H:%M}" for _, due in world.runs("leap")] == ["02-29 11:00"]
    nights = world.runs("night")
    slots = [f"{due.slot.astimezone(BERLIN):%m-%d %H:%M}" for _, due in nights]
    assert "02-29 02:30" in slots
    assert slots[-8:] == [
        "03-25 02:30", "03-26 03:30", "03-27 02:30", "03-28 02:30", "03-29 02:30", "03-30 02:30",
        "03-31 02:30", "04-01 02:30",
    ]  # fmt: skip
    # Each of the 42 nights was run, or missed in the sleep; one waited for the end of the long run.
    assert len(nights) + sum(due.missed for _, due in nights) == 42
    assert [due.missed for _, due in nights if due.is_catch_up] == [2]
    assert max(at - due.slot for at, due in nights if not due.is_catch_up) > timedelta(hours=15)
    hours = world.runs("hourly")
    counted = len(hours) + sum(due.missed for _, due in hours) + world.left_out["hourly"]
    assert counted == 42 * 24 - 1  # the first of them is when it began
    assert len(world.runs("new")) == 2


def test_one_job_at_a_time_and_the_same_one_never_twice() -> None:
    world = World(takes={"nightly": timedelta(hours=2), "hourly": timedelta(minutes=1)})
    world.start(NIGHTLY, HOURLY, OFTEN)
    world.live(START + timedelta(days=10))
    busy = [(at, at + world.takes.get(due.job.name, timedelta(seconds=5))) for at, due in world.began]
    assert all(end <= begin for (_, end), (begin, _) in zip(busy, busy[1:], strict=False))
    assert len(world.runs("nightly")) == 10
    # While the nightly job runs for two hours one run of the others waits; the rest is left out.
    assert world.left_out["often"] == 10 * 8
    assert len(world.runs("often")) + world.left_out["often"] == 10 * 24 * 4 - 1


def test_what_was_missed_in_a_sleep_is_caught_up_once() -> None:
    world = World()
    world.start(NIGHTLY, HOURLY)
    world.live(START + timedelta(days=1))
    world.began.clear()
    world.sleep(timedelta(days=3))
    world.live(world.now + timedelta(minutes=30))
    ((_, night),) = world.runs("nightly")
    ((_, hour),) = world.runs("hourly")
    assert (night.missed, night.is_catch_up) == (2, True)
    assert (hour.missed, hour.is_catch_up) == (72, True)
    assert hour.slot == START + timedelta(days=4)


def test_what_was_missed_while_the_daemon_was_away_is_caught_up_once() -> None:
    world = World()
    world.start(NIGHTLY)
    world.live(START + timedelta(days=2))
    world.sleep(timedelta(days=5))
    world.start(NIGHTLY)
    world.live(world.now + timedelta(minutes=10))
    assert [due.missed for _, due in world.began] == [0, 0, 4]
    world.start(NIGHTLY)
    world.live(world.now + timedelta(minutes=10))
    assert len(world.began) == 3, "a restart repeats nothing"


def test_jitter_survives_a_restart_between_slot_and_run() -> None:
    late = job("late", "0 3 * * *", jitter_seconds=7_200)
    world = World()
    world.start(late)
    for _ in range(31 * 48):  # a restart every half an hour
        world.live(world.now + timedelta(minutes=30))
        world.start(late)
    slots = [due.slot for _, due in world.began]
    assert len(slots) == len(set(slots)) == 31
    delays = [(at - due.slot).total_seconds() for at, due in world.began]
    assert all(0 <= delay <= 7_200 for delay in delays)
    assert max(delays) - min(delays) > 3_600


def test_a_reload_keeps_what_is_the_same_and_makes_up_for_nothing_that_is_new() -> None:
    world = World()
    world.start(NIGHTLY, HOURLY)
    world.live(START + timedelta(days=1))
    moved = job("nightly", "0 5 * * *")
    world.dispatcher.replace([moved, HOURLY, job("new", "0 1 * * *")], world.now)
    world.live(START + timedelta(days=2))
    at = [f"{due.slot.astimezone(BERLIN):%d %H:%M}" for _, due in world.runs("nightly")]
    assert at == ["01 03:00", "02 05:00"]
    assert len(world.runs("new")) == 0 or world.runs("new")[0][1].missed == 0
    assert len(world.runs("hourly")) == 47
    assert not any(due.is_catch_up for _, due in world.began)


def test_a_reload_while_a_job_waits_keeps_it_waiting_with_its_new_steps() -> None:
    world = World(takes={"hourly": timedelta(hours=3)})
    world.start(HOURLY, NIGHTLY)
    world.live(
        START + timedelta(hours=1, minutes=30)
    )  # half past three in Berlin: the night waits for the hour
    assert world.dispatcher.state("nightly") == "waiting"
    changed = Job("nightly", NIGHTLY.schedule, (Step.written("vacuum"),))
    world.dispatcher.replace([HOURLY, changed], world.now)
    world.live(START + timedelta(hours=6))
    ((_, due),) = world.runs("nightly")
    assert due.job.steps == changed.steps
    world.dispatcher.replace([HOURLY], world.now)
    assert world.dispatcher.state("nightly") == "idle"


def test_a_job_that_could_not_begin_before_a_reload_is_run_as_it_is_since_or_not_at_all() -> None:
    other = Job("hourly", HOURLY.schedule, (Step.written("health"),))
    for jobs in ([other], []):
        world = World()
        world.start(HOURLY)
        world.dispatcher.tick(START + timedelta(hours=1), Role.LEADER)
        due = world.dispatcher.take()
        assert due is not None
        world.dispatcher.replace(jobs, world.now)
        world.dispatcher.again(due)
        world.dispatcher.finished()
        then = world.dispatcher.take()
        assert ([] if then is None else [then.job]) == jobs


def test_on_standby_slots_are_passed_over_and_the_next_is_taken_up() -> None:
    world = World(role=Role.STANDBY)
    world.start(HOURLY)
    world.live(START + timedelta(days=1, minutes=30))
    assert not world.began
    world.role = Role.LEADER
    world.live(START + timedelta(days=1, hours=2, minutes=30))
    assert [due.slot for _, due in world.began] == [START + timedelta(days=1, hours=n) for n in (1, 2)]
    assert not any(due.missed for _, due in world.began)


def test_a_slot_that_another_daemon_was_not_seen_to_be_done_with_is_run() -> None:
    world = World(role=Role.STANDBY)
    world.start(HOURLY)
    world.now = START + timedelta(hours=4, seconds=1)
    hours = [START + timedelta(hours=n) for n in (1, 2, 3, 4)]
    assert world.dispatcher.open_slots(world.now, Role.STANDBY) == {"hourly": hours}
    world.dispatcher.pass_over({"hourly": hours[1], "another": hours[3]})
    assert world.dispatcher.open_slots(world.now, Role.STANDBY) == {"hourly": hours[2:]}
    world.role = Role.LEADER
    world.live(world.now + timedelta(minutes=1))
    assert [(due.slot, due.missed) for _, due in world.began] == [(hours[3], 1)]


def test_a_run_that_the_other_daemon_has_put_off_is_not_passed_over() -> None:
    late = job("late", "0 3 * * *", jitter_seconds=7_200)
    world = World(role=Role.STANDBY)
    world.start(late)
    runs_at = world.dispatcher.next_runs()["late"]
    assert runs_at is not None
    slot = START + timedelta(hours=1)
    assert runs_at > slot + timedelta(minutes=1)
    world.now, world.role = runs_at - timedelta(seconds=1), Role.LEADER
    assert world.dispatcher.done()["late"] == START, "what is put off is not done with"
    world.live(runs_at + timedelta(minutes=1))
    assert [(at, due.slot) for at, due in world.began] == [(runs_at, slot)]


def test_what_waits_or_runs_is_not_done_with_and_what_was_left_out_is() -> None:
    world = World(takes={"hourly": timedelta(minutes=150), "often": timedelta(minutes=1)})
    world.start(HOURLY, OFTEN)
    world.live(START + timedelta(hours=1, minutes=1))
    assert (world.dispatcher.state("hourly"), world.dispatcher.state("often")) == ("running", "waiting")
    assert not world.dispatcher.done()
    world.live(START + timedelta(hours=3, minutes=45, seconds=30))
    done = world.dispatcher.done()
    assert done["hourly"] == START + timedelta(hours=3), "two were left out meanwhile"
    assert world.left_out["hourly"] == 2


def test_an_interrupted_run_waits_on_standby_until_another_daemon_was_seen_to_be_done_with_it() -> None:
    world = World()
    world.start(HOURLY)
    interrupted = Due(HOURLY, START, is_catch_up=True)
    world.dispatcher.again(interrupted)
    world.dispatcher.tick(world.now, Role.STANDBY)
    for role in (Role.STANDBY, Role.LEADER):
        assert world.dispatcher.open_slots(world.now, role) == {"hourly": [START]}
    world.dispatcher.pass_over({"hourly": START - timedelta(hours=1)})
    assert world.dispatcher.state("hourly") == "waiting"
    world.dispatcher.tick(world.now, Role.LEADER)
    assert world.dispatcher.take() == interrupted
    world.dispatcher.again(interrupted)
    world.dispatcher.finished()
    assert not world.dispatcher.done()
    world.dispatcher.pass_over({"hourly": START})
    assert world.dispatcher.state("hourly") == "idle"


def test_what_waited_when_the_daemon_ended_is_caught_up_and_what_was_left_out_is_not() -> None:
    world = World(takes={"hourly": timedelta(minutes=150)})
    world.start(HOURLY, OFTEN)
    world.live(START + timedelta(hours=3, minutes=10))  # the second and third hour were left out
    assert world.dispatcher.state("often") == "waiting"
    began = len(world.began)
    world.start(HOURLY, OFTEN)
    world.live(world.now + timedelta(minutes=1))
    ((_, due),) = world.began[began:]
    assert (due.job.name, due.slot) == ("often", START + timedelta(hours=3))


def test_a_month_of_seconds_on_standby_takes_no_memory() -> None:
    world = World(role=Role.STANDBY)
    world.start(job("tick", "@every 1s"))
    now = world.now + timedelta(days=30)
    (slots,) = world.dispatcher.open_slots(now, Role.STANDBY).values()
    assert len(slots) <= 17
    (slots,) = world.dispatcher.open_slots(now + timedelta(seconds=100), Role.STANDBY).values()
    assert slots == [now + timedelta(seconds=second) for second in range(85, 102)]


def test_a_clock_that_is_behind_the_leaders_repeats_nothing() -> None:
    world = World(role=Role.STANDBY)
    world.start(HOURLY)
    world.now = START + timedelta(minutes=59, seconds=50)
    (slots,) = world.dispatcher.open_slots(world.now, Role.STANDBY).values()
    assert slots == [START + timedelta(hours=1)]
    world.dispatcher.pass_over({"hourly": slots[0]})
    world.role = Role.LEADER
    world.live(START + timedelta(hours=1, minutes=30))
    assert not world.began


def test_what_could_not_begin_before_the_daemon_ended_is_caught_up() -> None:
    world = World()
    world.start(HOURLY)
    world.now = START + timedelta(hours=1)
    world.dispatcher.tick(world.now, Role.LEADER)
    due = world.dispatcher.take()
    assert due is not None
    world.dispatcher.again(due)
    world.dispatcher.finished()
    world.start(HOURLY)
    world.dispatcher.tick(world.now, Role.LEADER)
    assert world.dispatcher.take() == due


def test_what_is_switched_off_neither_waits_nor_is_made_up_for() -> None:
    world = World()
    off = Job("hourly", None, STEP)
    world.start(HOURLY)
    world.live(START + timedelta(hours=1, minutes=1))
    world.dispatcher.tick(START + timedelta(hours=2), Role.LEADER)
    assert world.dispatcher.state("hourly") == "waiting"
    world.dispatcher.replace([off], world.now)
    assert world.dispatcher.take() is None
    world.sleep(timedelta(days=10))
    world.dispatcher.replace([HOURLY], world.now)
    assert not world.dispatcher.tick(world.now, Role.LEADER)
    assert world.dispatcher.state("hourly") == "idle"
    world.start(off)
    world.sleep(timedelta(days=10))
    world.start(HOURLY)
    world.dispatcher.tick(world.now, Role.LEADER)
    assert world.dispatcher.state("hourly") == "idle"


def test_a_run_that_hangs_is_overdue_from_the_first_time_that_it_made_miss() -> None:
    world = World(takes={"nightly": timedelta(days=8)})
    world.start(NIGHTLY)
    limit = timedelta(minutes=15)
    second = START + timedelta(days=1, hours=1)
    world.live(second + timedelta(minutes=10))
    assert world.dispatcher.overdue("nightly", world.now, limit, Role.LEADER) is None
    world.live(START + timedelta(days=8))
    assert world.dispatcher.overdue("nightly", world.now, limit, Role.LEADER) == second
    world.live(START + timedelta(days=8, hours=2))
    assert world.dispatcher.overdue("nightly", world.now, limit, Role.LEADER) is None


def test_while_the_database_is_away_nothing_is_lost_and_it_becomes_overdue() -> None:
    world = World()
    world.start(NIGHTLY, HOURLY)
    world.live(START + timedelta(minutes=30))
    world.role = Role.AWAY
    world.live(START + timedelta(hours=5))
    limit = timedelta(minutes=15)
    assert world.dispatcher.overdue("hourly", world.now, limit, Role.AWAY) == START + timedelta(hours=1)
    assert world.dispatcher.overdue("hourly", world.now, limit, Role.STANDBY) is None
    world.role = Role.LEADER
    world.live(START + timedelta(hours=5, minutes=10))
    assert {due.job.name: due.missed for _, due in world.began} == {"nightly": 0, "hourly": 4}
    assert world.dispatcher.overdue("hourly", world.now, limit, Role.LEADER) is None


def test_a_clock_that_went_wrong_does_not_silence_a_job() -> None:
    world = World(now=START + timedelta(days=3_000))
    world.start(HOURLY)
    world.live(world.now + timedelta(hours=2))
    world.now = START
    world.began.clear()
    world.start(HOURLY)
    world.live(START + timedelta(hours=3, minutes=1))
    assert len(world.began) == 3


def test_a_clock_that_is_put_right_while_the_daemon_runs_does_not_silence_a_job() -> None:
    """A machine without a battery began in a wrong year, and then met a time server."""
    world = World(now=START + timedelta(days=3_000))
    world.start(HOURLY)
    world.live(world.now + timedelta(hours=2))
    world.now = START
    world.began.clear()
    world.live(START + timedelta(hours=3, minutes=1))
    assert [due.slot for _, due in world.began] == [START + timedelta(hours=n) for n in (1, 2, 3)]
    world.role, world.now = Role.STANDBY, START - timedelta(days=1)
    world.live(world.now + timedelta(hours=1, minutes=1))
    assert world.dispatcher.next_wake() == START - timedelta(hours=22)


def test_a_small_step_back_of_the_clock_repeats_nothing() -> None:
    world = World()
    world.start(HOURLY)
    world.live(START + timedelta(hours=1, seconds=1))
    world.now -= timedelta(minutes=2)
    world.start(HOURLY)
    world.live(START + timedelta(hours=2, seconds=1))
    assert [due.slot for _, due in world.began] == [START + timedelta(hours=n) for n in (1, 2)]


def test_seconds_of_a_month_are_one_run() -> None:
    world = World()
    world.start(job("tick", "@every 1s"))
    world.live(START + timedelta(seconds=3))
    world.sleep(timedelta(days=30))
    world.began.clear()
    world.live(world.now + timedelta(seconds=2))
    assert world.began[0][1].missed >= 9_999
    assert len(world.began) <= 2


@settings(max_examples=40, deadline=None)
@given(
    events=st.lists(
        st.tuples(st.sampled_from(["live", "sleep", "restart", "standby", "away"]), st.integers(1, 6_000)),
        max_size=25,
    ),
    takes=st.integers(1, 240),
)
def test_no_slot_ever_runs_twice_and_none_is_lost(events: list[tuple[str, int]], takes: int) -> None:
    """Whatever happens: each slot is run, missed and counted, left out, or another daemon's."""
    world = World(takes={"hourly": timedelta(minutes=takes)})
    world.start(HOURLY)
    passed: list[tuple[datetime, datetime]] = []
    for kind, minutes in events:
        span = timedelta(minutes=minutes)
        if kind in ("standby", "away"):
            world.role = Role(kind)
            if kind == "standby":
                passed.append((world.now, world.now + span))
            world.live(world.now + span)
            world.role = Role.LEADER
        elif kind == "sleep":
            world.sleep(span)
        elif kind == "restart":
            world.start(HOURLY)
        else:
            world.live(world.now + span)
    slots = [due.slot for _, due in world.began]
    assert slots == sorted(set(slots))
    if not passed and not any(kind == "restart" for kind, _ in events):
        world.live(world.now + timedelta(minutes=61 + 2 * takes))
        schedule = HOURLY.schedule
        assert schedule is not None
        counted = sum(1 + due.missed for _, due in world.began) + world.left_out["hourly"]
        waiting = 1 if world.dispatcher.state("hourly") == "waiting" else 0
        assert (
            counted + waiting
            >= schedule.missed(START, world.now - timedelta(minutes=61)) - world.left_out["hourly"]
        )
