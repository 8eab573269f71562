"""Detached jobs: one for each target, whoever begins it; told by files, ended by a wish, gone on with after a kill."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from backends.base import Cancel
from backends.errors import BackendError
from backends.jobs import files, launch
from backends.jobs import report as report_of
from backends.jobs.files import read_progress
from backends.jobs.job import JobSpec, JobView, Progress, key_of
from backends.jobs.report import Report
from tests.backends.fake_hub import FakeHub, go_online
from tests.backends.watching import ended, until

Fetch = Callable[..., JobSpec]


@pytest.fixture(autouse=True)
def _no_job_is_left() -> Iterator[None]:
    yield
    for one in launch.survey():
        assert launch.stop(one.key, force=True)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        go_online(monkeypatch, hub.root)
        yield hub


@pytest.fixture
def fetch(hub: FakeHub, home: Path, tmp_path: Path) -> Fetch:
    """`fetch("one.gguf", size, rate)` is a job that fetches such a file so slowly."""

    def make(name: str = "one.gguf", size: int = 200_000, rate: float | None = None) -> JobSpec:
        hub.publish(name, b"GGUF" + os.urandom(size - 4), tmp_path)
        hub.bytes_per_s = rate
        folder = home / "data/models/me/some"
        file = {"owner": "me", "repo": "some", "file": name}
        return JobSpec("pull", f"{folder}/{name}", name, {"file": file, "folder": str(folder), "patience_s": 1})

    return make


def test_a_job_is_watched_from_its_beginning_to_its_result(fetch: Fetch, home: Path) -> None:
    spec = fetch(size=3_000_000, rate=2_000_000)
    begun = launch.start(spec)
    assert (begun.key, begun.state, begun.running) == (key_of(spec), "running", True)
    seen = list(launch.watch(begun.key, 0.02))
    assert {one.progress.stage for one in seen} >= {"fetching", "done"}
    rates = [one.progress.bytes_per_s for one in seen if one.progress.bytes_per_s is not None]
    assert rates
    assert 1_000_000 < rates[-1] < 3_000_000
    assert all(one.progress.left_s is not None for one in seen if one.progress.bytes_per_s)
    assert [one.progress.done_bytes for one in seen] == sorted(one.progress.done_bytes for one in seen)
    last = seen[-1]
    assert (last.state, last.pid, last.progress.bytes_per_s) == ("done", None, None)
    assert last.progress.done_bytes == last.progress.total_bytes == 3_000_000
    assert Path(last.progress.result) == home / "data/models/me/some/one.gguf"
    assert begun.progress.started_at == last.progress.started_at
    assert launch.survey() == [last]


def test_who_begins_the_same_twice_gets_the_one_that_runs(fetch: Fetch, hub: FakeHub) -> None:
    spec = fetch(size=600_000, rate=800_000)
    found: list[JobView] = []
    threads = [threading.Thread(target=lambda: found.append(launch.start(spec))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.key for one in found}) == 1
    assert {one.pid for one in found if one.pid} == {until(found[0].key, lambda one: one.pid).pid}
    assert ended(found[0].key).state == "done"
    assert hub.sent < 700_000


def test_a_job_has_its_own_session_and_a_private_log(fetch: Fetch) -> None:
    begun = launch.start(fetch(size=1_000_000, rate=200_000))
    assert begun.pid is not None
    assert os.getsid(begun.pid) == begun.pid
    for number in (0, 1, 2):
        place = Path(f"/proc/{begun.pid}/fd/{number}").readlink()
        assert place == (Path("/dev/null") if number == 0 else begun.folder / "log")
    assert begun.folder.stat().st_mode & 0o077 == 0
    assert (begun.folder / "log").stat().st_mode & 0o077 == 0


def test_a_job_outlives_who_began_it_and_is_seen_by_others(fetch: Fetch) -> None:
    spec = fetch(size=400_000, rate=800_000)
    code = (
        "import msgspec, sys; from backends.jobs import launch; from backends.jobs.job import JobSpec;"
        "print(launch.start(msgspec.json.decode(sys.argv[1], type=JobSpec)).pid)"
    )
    began = subprocess.run(
        [sys.executable, "-P", "-c", code, msgspec.json.encode(spec).decode()], capture_output=True, check=True
    )
    (one,) = launch.survey()
    assert (one.state, one.pid) == ("running", int(began.stdout))
    assert ended(one.key).state == "done"


def test_a_wish_ends_a_job_within_a_second_and_leaves_what_is_here(fetch: Fetch, home: Path) -> None:
    key = launch.start(fetch(size=5_000_000, rate=1_000_000)).key
    until(key, lambda one: one.progress.done_bytes > 500_000)
    began = time.monotonic()
    assert launch.stop(key)
    assert time.monotonic() - began < 1
    last = launch.view(key)
    assert last is not None
    assert (last.state, last.progress.state, last.pid, last.progress.error) == ("stopped", "stopped", None, None)
    folder = home / "data/models/me/some"
    assert sorted(path.name for path in folder.iterdir()) == ["one.gguf.part", "one.gguf.part.json"]
    assert launch.stop(key)  # again: it is gone


def test_a_wish_reaches_a_job_that_hears_nothing_from_its_server(fetch: Fetch, hub: FakeHub) -> None:
    spec = fetch()
    hub.fault = lambda handler, *_: handler.wait(60) or True
    key = launch.start(spec).key
    until(key, lambda one: one.progress.stage == "asking")
    assert not launch.stop(key, wait_s=0)
    assert until(key, lambda one: one.stopping or not one.running)
    began = time.monotonic()
    assert launch.stop(key)
    assert time.monotonic() - began < 1


def test_a_shutdown_is_told_apart_from_a_wish(fetch: Fetch) -> None:
    for number, state in ((signal.SIGTERM, "interrupted"), (signal.SIGKILL, "interrupted")):
        begun = launch.start(fetch(size=1_000_000, rate=200_000))
        until(begun.key, lambda one: one.progress.stage == "fetching")
        assert begun.pid is not None
        os.kill(begun.pid, number)
        last = until(begun.key, lambda one: not one.running)
        assert (last.state, last.progress.state) == (state, state if number == signal.SIGTERM else "running")


def test_a_killed_job_goes_on_where_it_was_when_it_is_begun_again(fetch: Fetch, hub: FakeHub) -> None:
    spec = fetch(size=2_000_000, rate=2_000_000)
    begun = launch.start(spec)
    until(begun.key, lambda one: one.progress.done_bytes > 500_000)
    assert begun.pid is not None
    os.kill(begun.pid, signal.SIGKILL)
    until(begun.key, lambda one: one.state == "interrupted")
    here = Path(spec.target + ".part").stat().st_size
    hub.bytes_per_s = None
    hub.parts.clear()
    assert ended(launch.start(spec).key).state == "done"
    assert hub.parts[-1] == (here, 2_000_000 - here)


def test_a_lost_terminal_does_not_end_a_job(fetch: Fetch) -> None:
    begun = launch.start(fetch(size=200_000, rate=500_000))
    until(begun.key, lambda one: one.progress.stage == "fetching")
    assert begun.pid is not None
    os.kill(begun.pid, signal.SIGHUP)
    assert ended(begun.key).state == "done"


def test_a_job_that_hangs_is_ended_by_force(fetch: Fetch) -> None:
    begun = launch.start(fetch(size=1_000_000, rate=200_000))
    until(begun.key, lambda one: one.progress.stage == "fetching")
    assert begun.pid is not None
    os.kill(begun.pid, signal.SIGSTOP)
    assert not launch.stop(begun.key, wait_s=0.3)
    assert launch.stop(begun.key, wait_s=0.1, force=True)
    assert until(begun.key, lambda one: not one.running).state == "stopped"


def test_an_error_is_told_with_what_to_do(fetch: Fetch, hub: FakeHub) -> None:
    spec = fetch()
    hub.files.clear()
    last = ended(launch.start(spec).key)
    assert last.state == "failed"
    assert last.progress.error is not None
    assert last.progress.error.kind == "model_not_found"
    assert last.progress.error.hint


def test_an_unknown_kind_and_work_that_cannot_be_read_are_errors(home: Path) -> None:
    for spec in (JobSpec("dance", "x", "Dance"), JobSpec("pull", "x", "X", {"file": 3})):
        last = ended(launch.start(spec).key)
        assert last.state == "failed"
        assert last.progress.error is not None


def test_a_process_that_cannot_even_begin_is_told_by_its_last_words(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/msgspec.py").write_text("raise ImportError('no \\x1b[31m msgspec')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"), prepend=os.pathsep)
    last = ended(launch.start(fetch()).key)
    assert last.state == "interrupted"
    assert last.progress.error is not None
    assert "ended by itself" in last.progress.error.title
    assert last.progress.error.detail == "ImportError: no \\x1b[31m msgspec"


def test_a_job_can_be_forgotten_once_it_has_ended(fetch: Fetch, home: Path) -> None:
    spec = fetch(size=300_000, rate=600_000)
    key = launch.start(spec).key
    assert not launch.forget(key)
    result = Path(ended(key).progress.result)
    until(key, lambda _: not files.alive(files.jobs() / key))
    assert launch.forget(key)
    assert launch.view(key) is None
    assert launch.survey() == []
    assert result.is_file()
    assert launch.forget(key)
    assert ended(launch.start(spec).key).state == "done"


def test_who_begins_a_job_while_it_is_forgotten_keeps_its_folder(
    fetch: Fetch, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = launch.start(fetch(size=10_000)).key
    until(key, lambda _: not files.alive(files.jobs() / key))
    taken: list[int | None] = []
    remove = Path.rmdir

    def late(self: Path) -> None:
        taken.append(files.acquire(self))
        remove(self)

    monkeypatch.setattr(Path, "rmdir", late)
    assert launch.forget(key)
    (lock,) = taken
    assert lock is not None
    assert files.alive(files.jobs() / key)
    os.close(lock)


def test_nobody_is_killed_by_the_number_of_an_earlier_process(
    fetch: Fetch, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = fetch()
    folder = files.jobs() / key_of(spec)
    lock = files.acquire(folder)
    assert lock is not None
    files.write_pid(lock, 1)
    os.close(lock)

    def no_process(*_: object) -> None:
        raise BackendError("No process can be started")

    monkeypatch.setattr(launch, "_spawn", no_process)
    with pytest.raises(BackendError):
        launch.start(spec)
    assert files.read_pid(folder) is None


def test_a_job_runs_though_its_number_cannot_be_written(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        begun = launch.start(fetch(size=10_000))
    assert begun.pid is not None
    assert ended(begun.key).state == "done"


@pytest.mark.parametrize("written", ["", "0", "1", "-1", "x", "7" * 5000])
def test_what_is_no_process_s_number_is_none(tmp_path: Path, written: str) -> None:
    (tmp_path / files.LOCK).write_text(written)
    assert files.read_pid(tmp_path) is None


def test_a_job_whose_beginner_was_killed_at_once_says_itself_who_it_is(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = fetch(size=2_000_000, rate=1_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_pid", lambda *_: None)
        begun = launch.start(spec)
    assert until(begun.key, lambda one: one.pid is not None).pid == begun.pid


def test_what_is_no_job_is_passed_over(home: Path) -> None:
    assert launch.survey() == []
    assert list(launch.watch("nothing")) == []
    assert launch.stop("nothing")
    (home / "state/jobs/empty").mkdir(parents=True)
    damaged = home / "state/jobs/damaged"
    damaged.mkdir()
    (damaged / "spec.json").write_bytes(b"\xff{" * 100)
    (home / "state/jobs/pull.turn").touch()
    assert launch.survey() == []


def test_looking_at_jobs_costs_nothing_worth_mentioning(fetch: Fetch) -> None:
    key = launch.start(fetch()).key
    ended(key)
    began = time.process_time()
    for _ in range(100):
        launch.survey()
    assert (time.process_time() - began) / 100 < 0.005


def test_progress_is_told_on_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.replace(tmp_path / files.PROGRESS, Progress(note="x" * 200))
    no_room = OSError(28, "No space left on device")

    def refuse(self: Path, target: Path) -> Path:
        raise no_room

    monkeypatch.setattr(Path, "replace", refuse)
    report = Report(tmp_path, Cancel())
    report.end("failed")
    assert read_progress(tmp_path).state == "failed"


def test_a_job_that_cannot_be_noted_says_what_the_disk_said(tmp_path: Path) -> None:
    (tmp_path / ".spec.json.new").mkdir()
    with pytest.raises(IsADirectoryError):  # not that there is no older note to write over
        files.replace(tmp_path / files.SPEC, Progress())


def test_the_rate_is_of_the_last_seconds_and_of_what_was_done_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_of, "BEAT_S", 0.02)
    monkeypatch.setattr(report_of, "_LEAST_S", 0.3)
    files.replace(tmp_path / files.PROGRESS, Progress())
    report = Report(tmp_path, Cancel())
    report.total(1000)
    with report:
        report.stage("fetching")
        report.jump(500)  # was here before
        deadline = time.monotonic() + 5
        done = 500
        while read_progress(tmp_path).bytes_per_s is None:
            assert time.monotonic() < deadline
            done = min(900, done + 1)
            report.at(done)
            time.sleep(0.02)
        rate = read_progress(tmp_path).bytes_per_s
        assert rate is not None
        assert 5 < rate < 60
        report.jump(0)  # it begins anew: nothing is known of its rate
        time.sleep(0.1)
        assert read_progress(tmp_path).bytes_per_s is None


def test_two_downloads_go_one_after_the_other(fetch: Fetch) -> None:
    first = launch.start(fetch("one.gguf", 5_000_000, 200_000)).key
    until(first, lambda one: one.progress.done_bytes)
    spec = fetch("two.gguf", 100_000)
    Path(spec.target).with_name("two.gguf.part").write_bytes(b"GGUF")  # an earlier try
    waiting = until(launch.start(spec).key, lambda one: one.progress.stage == "queued")
    assert (waiting.progress.done_bytes, waiting.progress.total_bytes) == (4, 100_000)
    assert launch.stop(first)
    assert ended(waiting.key).state == "done"
