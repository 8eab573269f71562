"""What is read of the machine for a session, and what stays unknown."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends.base import Loaded
from backends.events import Energy, Io, Metered
from backends.hardware.gpu import Gpu, GpuReading
from backends.hardware.sampler import Sample
from backends.host.wire import Status
from tui.chat import machine
from tui.chat.machine import Gauges, process_reads

GB = 1_000_000_000
PID = 77


class Sampler:
    """Gives the readings that it is told."""

    def __init__(self) -> None:
        self.used: int | None = None
        self.watts: float | None = None
        self.watched: list[list[int]] = []

    def latest(self) -> Sample | None:
        if self.used is None:
            return None
        gpu = Gpu(0, "card", 8 * GB, self.used, 8 * GB - self.used, watts=self.watts)
        return Sample(GpuReading((gpu,)), 0.2)

    def request(self) -> None:
        pass

    def watch(self, pids: list[int]) -> None:
        self.watched.append(pids)


class World:
    """A session, a clock, a driver and /proc."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self.reads, self.rss = 100.0, 0, 3 * GB
        self.sampler = Sampler()
        self.gauges = Gauges(self.sampler)  # type: ignore[arg-type]
        self.session: Any = SimpleNamespace(
            host_pid=None, status=None, busy=False, loading=False, answer=None,
            branch=[SimpleNamespace(id="a")], running=SimpleNamespace(moved=None),
        )  # fmt: skip
        patch.setattr(machine.time, "monotonic", lambda: self.now)
        patch.setattr(machine, "process_reads", lambda _pid: self.reads)
        patch.setattr(machine, "process_rss", lambda _pid: self.rss)

    def take(self, **session: Any) -> machine.Machine:
        self.now += 0.5
        for name, value in session.items():
            setattr(self.session, name, value)
        self.gauges.take(self.session)
        return self.gauges.machine


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


LOADING, IDLE = Status("loading"), Status("idle", Loaded(4096))


def test_what_was_in_use_before_a_model_came_is_remembered(world: World) -> None:
    world.sampler.used = GB
    world.take()
    world.sampler.used = 6 * GB
    world.take(host_pid=PID, status=LOADING, loading=True)
    assert world.take(status=IDLE, loading=False).before_bytes == GB
    assert world.sampler.watched == [[PID]]


def test_of_a_model_that_was_there_already_nothing_before_is_known(world: World) -> None:
    world.sampler.used = GB
    world.take()
    assert world.take(host_pid=PID, status=IDLE).before_bytes is None


def test_when_the_model_goes_what_is_in_use_then_counts(world: World) -> None:
    world.sampler.used = 6 * GB
    world.take(host_pid=PID, status=IDLE)
    world.sampler.used = 2 * GB
    assert world.take(host_pid=None, status=None).before_bytes == 2 * GB


def test_reads_from_disk_are_counted_while_something_happens(world: World) -> None:
    world.take(host_pid=PID, status=LOADING, loading=True)
    world.reads = 50_000_000
    assert world.take().read_bytes_per_s == 100_000_000.0
    assert world.take(loading=False, status=IDLE).read_bytes_per_s is None


def test_several_who_look_at_once_see_one_rate_of_reads(world: World) -> None:
    world.take(host_pid=PID, status=LOADING, loading=True)
    seen = []
    for _ in range(4):
        world.reads += 50_000_000
        seen.append(world.take().read_bytes_per_s)
        # Another looks right after it, when nothing or a burst has been read since.
        for burst in (0, 4_000_000):
            world.now += 0.002
            world.reads += burst
            world.gauges.take(world.session)
            seen.append(world.gauges.machine.read_bytes_per_s)
    assert all(rate is not None and 95e6 < rate < 110e6 for rate in seen)
    assert len(set(seen[:3])) == 1


def test_reads_of_another_process_begin_anew(world: World) -> None:
    world.take(host_pid=PID, status=LOADING, loading=True)
    world.reads = 50_000_000
    world.take()
    world.reads = 0
    assert world.take(host_pid=PID + 1).read_bytes_per_s is None


def test_reads_of_a_pause_are_not_taken_for_those_of_a_moment(world: World) -> None:
    world.take(host_pid=PID, status=IDLE, busy=True)
    world.take(busy=False)
    world.reads = GB
    assert world.take(busy=True).read_bytes_per_s is None


def test_the_memory_of_a_server_is_not_that_of_our_process(world: World) -> None:
    elsewhere = Status("idle", Loaded(4096, place="machine"))
    assert world.take(host_pid=PID, status=elsewhere).rss_bytes is None
    assert world.take(status=IDLE).rss_bytes == 3 * GB


def growing(metered: Metered, *, finished: bool = False, **more: Any) -> Any:
    """Return what the gauges look at of an answer."""
    known = {"io": metered.io, "reads_per_s": None, "faults_per_s": None, "tokens_per_second": 20.0}
    return SimpleNamespace(metered=metered, finished=finished, **{**known, **more})


def test_what_the_answers_own_process_tells_of_its_reads_is_what_is_shown(world: World) -> None:
    io = Io(4096, 3, 8192, 8192)
    seen = world.take(host_pid=PID, status=IDLE, busy=True, answer=growing(Metered(None, io=io)))
    assert (seen.io, seen.read_bytes_per_s, seen.faults_per_s) == (io, None, None)
    world.reads = 50_000_000
    seen = world.take(answer=growing(Metered(None, io=io), reads_per_s=2.9e9, faults_per_s=310.0))
    assert (seen.read_bytes_per_s, seen.faults_per_s) == (2.9e9, 310.0)


def test_what_the_last_answer_moved_stays_until_another_model_comes(world: World) -> None:
    io = Io(4096, 3, 8192, 8192)
    world.take(host_pid=PID, status=IDLE, busy=True, answer=growing(Metered(None, io=io)))
    seen = world.take(answer=None, busy=False)
    assert (seen.io, seen.faults_per_s) == (io, None)
    assert world.take(host_pid=PID + 1).io is None


def test_what_one_answer_moved_is_not_told_of_another(world: World) -> None:
    io = Io(4096, 3, 8192, 8192)
    world.take(host_pid=PID, status=IDLE, busy=True, answer=growing(Metered(None, io=io)))
    assert world.take(answer=None, busy=False).io == io
    assert world.take(branch=[SimpleNamespace(id="of another chat")]).io is None
    world.take(busy=True, answer=growing(Metered(None, io=io)))
    assert world.take(answer=None, busy=False, branch=[]).io is None


def test_of_an_answer_that_is_over_its_last_word_is_told(world: World) -> None:
    io, last = Io(4096, 3, 8192, 8192), Io(9 * GB, 30, 12_288, 12_288)
    world.take(host_pid=PID, status=IDLE, busy=True, answer=growing(Metered(None)))
    over = SimpleNamespace(moved=("a", last))
    assert world.take(answer=None, busy=False, running=over).io == last
    world.take(busy=True, answer=growing(Metered(None, io=io)), branch=[SimpleNamespace(id="b")])
    assert world.take(answer=None, busy=False).io == io


def test_the_course_keeps_the_watts_of_the_cards_and_those_of_the_answer_apart(world: World) -> None:
    world.sampler.used, world.sampler.watts = GB, 30.0
    world.take()
    metered = Metered(Energy(1.0, "measured"), 210.0)
    world.now += 1
    world.take(answer=growing(metered))
    points = world.gauges.lately()
    assert [(point.cards_watts, point.answer_watts) for point in (points[0], points[-1])] == [
        (30.0, None),
        (30.0, 210.0),
    ]
    assert points[-1].tokens_per_second == 20.0
    world.now += 1
    world.take(answer=growing(metered, finished=True))
    assert world.gauges.lately()[-1].answer_watts is None


def test_a_card_that_does_not_tell_its_watts_leaves_a_gap(world: World) -> None:
    world.sampler.used = GB
    world.take()
    assert world.gauges.lately()[-1].cards_watts is None


def test_without_a_word_from_the_driver_all_is_unknown(world: World) -> None:
    found = world.take()
    assert (found.reading, found.used_bytes, found.total_bytes, found.watts) == (None, None, None, None)


def test_reads_are_those_of_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "proc/5"
    folder.mkdir(parents=True)
    (folder / "io").write_text("rchar: 12\nread_bytes: 4096\nwrite_bytes: 0\n")
    assert process_reads(5, tmp_path) == 4096
    assert process_reads(6, tmp_path) is None
    (folder / "io").write_text("read_bytes: many\n")
    assert process_reads(5, tmp_path) is None


def test_our_own_reads_can_be_read_or_are_unknown() -> None:
    found = process_reads(os.getpid())
    assert found is None or found >= 0
