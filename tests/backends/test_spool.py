"""The spool: what was generated is on disk in time, whoever dies, whatever the disk does."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import paths
from backends.base import ChatRequest
from backends.events import Done, Text
from backends.host import spool
from backends.host.answer import AnswerLog
from backends.host.wire import Chat, Record, encode


def line(seq: int, text: str = "word ", answer: str = "a1") -> bytes:
    return encode(Record(answer, seq, 0.0, Text(text)))


def ignore(_why: str) -> None:
    pass


def test_a_spool_and_its_folder_are_for_their_owner_alone() -> None:
    os.close(spool.create("a1"))
    assert stat.S_IMODE(spool.path_of("a1").stat().st_mode) == 0o600
    assert stat.S_IMODE(paths.spools().stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a.b", "a" * 65, "a\n"])
def test_an_id_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not an answer id"):
        spool.path_of(name)


def test_a_spool_is_running_from_its_creation_until_its_last_descriptor_is_closed() -> None:
    first = spool.create("a1")
    second = os.dup(first)
    os.close(first)
    assert spool.running("a1")
    os.close(second)
    assert not spool.running("a1")
    assert not spool.running("never")


def test_looking_whether_it_runs_never_makes_it_look_running_to_another_who_looks() -> None:
    os.close(spool.create("a1"))
    with spool.path_of("a1").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not spool.running("a1")


def test_only_one_can_claim_a_spool() -> None:
    os.close(spool.create("a1"))
    with spool.claim("a1") as first, spool.claim("a1") as second:
        assert (first, second) == (True, False)
    with spool.claim("never") as claimed:
        assert not claimed


def test_a_spool_that_was_tidied_away_before_it_was_locked_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock

    def late(descriptor: int, kind: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        spool.remove("a1")  # what another process may do between opening and locking
        lock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    descriptor = spool.create("a1")
    assert os.fstat(descriptor).st_ino == spool.path_of("a1").stat().st_ino
    os.close(descriptor)


def test_records_come_back_as_they_were_written() -> None:
    writer = spool.SpoolWriter(spool.create("a1"), ignore)
    writer.write(line(0, "one \x00\x1b \u202e\n"))
    writer.write(line(1, "two"))
    assert writer.close()
    assert [record.event for record in spool.read("a1")] == [Text("one \x00\x1b \u202e\n"), Text("two")]
    assert spool.read("never") == []


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        (line(0) + line(1)[:-9], 1),  # torn
        (line(0) + line(1)[:-1], 2),  # whole but for its newline
        (line(0) + b"\x00" * 512, 1),  # what a crash of the machine may leave
        (line(0) + b"garbage\n" + line(1), 1),
        (line(0) + line(1, answer="other") + line(2), 1),
        (line(0) + line(2), 1),
        (line(0) + b"\xff\xfe" + line(1), 1),
        (line(0) + line(1, "caf\u00e9").replace(b"\xc3", b"\xff") + line(2), 1),
        (line(0) + b"[" * 100_000 + b"\n" + line(1), 1),
        (line(1), 0),
        (line(0) + b"\n" + line(1), 1),
        (b"", 0),
    ],
)
def test_reading_ends_at_the_first_line_that_is_not_the_next_record(content: bytes, whole: int) -> None:
    os.close(spool.create("a1"))
    spool.path_of("a1").write_bytes(content)
    assert [record.seq for record in spool.read("a1")] == list(range(whole))


@given(st.binary(max_size=300), st.integers(0, 200))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_spool_what_is_read_is_how_it_begins(home: Path, garbage: bytes, place: int) -> None:
    whole = b"".join(line(number) for number in range(3))
    paths.private(paths.spools())
    spool.path_of("a1").write_bytes(whole[:place] + garbage + whole[place:])
    texts = [record.event for record in spool.read("a1")]
    assert texts[: place // len(line(0))] == [Text("word ")] * min(len(texts), place // len(line(0)))


def test_a_record_is_in_the_file_within_a_quarter_second_and_synced_within_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synced: list[tuple[float, int]] = []
    real = os.fsync

    def counting(descriptor: int) -> None:
        real(descriptor)
        synced.append((time.monotonic(), os.fstat(descriptor).st_size))

    descriptor = spool.create("a1")
    monkeypatch.setattr(os, "fsync", counting)
    writer = spool.SpoolWriter(descriptor, ignore)
    path, written, arrived = spool.path_of("a1"), {}, {}
    started, size = time.monotonic(), 0
    while (now := time.monotonic()) - started < 2.5:
        text = line(len(written))
        writer.write(text)
        size += len(text)
        written[size] = now
        for end in written:
            if end not in arrived and path.stat().st_size >= end:
                arrived[end] = time.monotonic()
        time.sleep(0.01)
    settled = time.monotonic() - 1.2
    assert max(arrived[end] - at for end, at in written.items() if at < settled) < 0.25 + 0.1
    for end, at in written.items():
        if at < settled:
            assert min(when for when, reached in synced if reached >= end) - at < 1.0 + 0.1
    assert writer.close()
    assert path.stat().st_size == size


def test_closing_syncs_before_it_frees_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    descriptor = spool.create("a1")
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append((spool.running("a1"), os.fstat(fd).st_size)), real(fd)))
    writer = spool.SpoolWriter(descriptor, ignore)
    writer.write(line(0))
    assert writer.close()
    assert seen[-1] == (True, len(line(0)))
    assert not spool.running("a1")


FULL = """
import resource, sys, time
from backends.host import spool
from backends.host.wire import Record, encode
from backends.events import Text
said = []
writer = spool.SpoolWriter(spool.create("a1"), said.append)
lines = [encode(Record("a1", n, 0.0, Text("x" * 100))) for n in range(40)]
soft = len(lines[0]) * 5 + 30
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
for line in lines[:20]: writer.write(line)
deadline = time.monotonic() + 10
while not said and time.monotonic() < deadline: time.sleep(0.01)
assert said and said[0] == "File too large", said
def make_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if sys.argv[1] == "works again":
    make_room()
    while said[-1] and time.monotonic() < deadline: time.sleep(0.01)
    assert said[-1] == "", said
for line in lines[20:]: writer.write(line)
complete = writer.close()
print(complete, len(spool.read("a1")), spool.running("a1"))
if sys.argv[1] == "stays full":
    make_room()
    while spool.running("a1") and time.monotonic() < deadline: time.sleep(0.01)
    print(writer.over, len(spool.read("a1")), said[-1] == "")
if sys.argv[1] == "is given up":
    spool.remove("a1")
    while not writer.over and time.monotonic() < deadline: time.sleep(0.01)
    print(writer.over)
"""


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("works again", "True 40 False"),
        ("stays full", "False 5 True\nTrue 40 True"),  # it waits for room as long as its process lives
        ("is given up", "False 5 True\nTrue"),  # somebody else has saved the answer
    ],
)
def test_a_full_disk_is_told_and_nothing_is_lost_once_there_is_room(how: str, end: str) -> None:
    child = subprocess.run([sys.executable, "-c", FULL, how], capture_output=True, text=True, timeout=30, check=False)
    assert child.stdout.strip() == end, child.stderr


def test_a_failed_sync_is_told_and_makes_the_spool_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    descriptor = spool.create("a1")
    monkeypatch.setattr(os, "fsync", broken)
    writer = spool.SpoolWriter(descriptor, told.append)
    writer.write(line(0))
    assert not writer.close()
    assert told == ["Input/output error"]


def test_a_disk_that_hangs_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    real = os.fsync
    descriptor = spool.create("a1")
    monkeypatch.setattr(os, "fsync", lambda fd: (hanging.wait(20), real(fd)))
    monkeypatch.setattr(spool, "CLOSE_S", 0.2)
    writer = spool.SpoolWriter(descriptor, ignore)
    writer.write(line(0))
    started = time.monotonic()
    assert not writer.close()
    assert time.monotonic() - started < 2
    assert spool.running("a1")
    hanging.set()
    while spool.running("a1"):
        time.sleep(0.01)
    assert len(spool.read("a1")) == 1


def test_a_spool_that_is_deleted_under_its_writer_is_told() -> None:
    told: list[str] = []
    writer = spool.SpoolWriter(spool.create("a1"), told.append)
    spool.path_of("a1").unlink()
    writer.write(line(0))
    deadline = time.monotonic() + 5
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told == [spool.DELETED]
    writer.close()
    assert not spool.path_of("a1").exists()


def test_a_record_of_another_version_is_passed_over_and_what_follows_is_read() -> None:
    os.close(spool.create("a1"))
    unknown = b'{"type":"record","answer":"a1","seq":1,"at_s":0.1,"event":{"type":"picture","of":"a cat"},"more":1}\n'
    spool.path_of("a1").write_bytes(line(0) + unknown + line(2))
    assert [record.seq for record in spool.read("a1")] == [0, 2]
    for wrong in (unknown.replace(b'"a1"', b'"a2"'), unknown.replace(b'"seq":1', b'"seq":3'), b'{"type":"record"}\n'):
        spool.path_of("a1").write_bytes(line(0) + wrong + line(2))
        assert [record.seq for record in spool.read("a1")] == [0]


def test_the_last_record_is_seen_only_when_it_is_on_disk() -> None:
    log = AnswerLog(Chat("a1", ChatRequest(())), spool.SpoolWriter(spool.create("a1"), ignore), lambda _at_once: None)
    early: list[bool] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            if log.finished:
                early.append(spool.running("a1"))
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(50):
        log.append(Text(f"{number} "))
    log.close(Done("stop"))
    watcher.join(5)
    over.set()
    assert early == [False]
    assert spool.read("a1")[-1].event == Done("stop")
    log.append(Text("too late"))
    log.close(Done("length"))
    assert len(log.lines) == 51


def test_removing_a_spool_twice_does_nothing() -> None:
    os.close(spool.create("a1"))
    assert spool.answers() == ["a1"]
    spool.remove("a1")
    spool.remove("a1")
    assert spool.answers() == []


def test_a_folder_that_cannot_be_made_is_an_os_error(home: Path) -> None:
    paths.private(paths.state())
    paths.spools().write_text("a file in the way")
    with pytest.raises(OSError, match="exists"):
        spool.create("a1")
    assert spool.answers() == []
