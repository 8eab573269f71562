"""Measuring quality ends early: the engine dies, the job is killed or stopped, and what was measured stays."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from backends import paths, read_errors
from backends.base import Cancel, Cancelled
from backends.errors import EngineDied, Unreadable
from backends.jobs import launch
from backends.jobs.job import JobSpec
from backends.jobs.report import Report
from backends.llama_cpp.quality import passes, run, store
from backends.llama_cpp.quality.pace import Pace
from backends.quality.figures import Scores
from backends.quality.wanted import Compare
from tests.backends.quality_world import Tiny, chunk_bytes, compare, left
from tests.backends.watching import ended, until
from tests.conftest import processes_of


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # threads that wait leave the cores to other tests
    return Tiny(tmp_path)


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("os.kill(os.getpid(), 7)", "disk could not be read"),
        ("os.kill(os.getpid(), 9)", "was killed"),
        ("os.kill(os.getpid(), 11)", "ended by itself"),
        ("os._exit(3)", "ended by itself"),
        ("os.write(1, b'hello\\n')", "says what nobody understands"),
        ("pass", "ended by itself"),
    ],
)
def test_an_engine_that_dies_is_named(code: str, title: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(passes, "COMMAND", (sys.executable, "-c", f"import os, sys; sys.stdin.read(); {code}"))
    with pytest.raises(EngineDied, match=title):
        passes.look("/somewhere/model.gguf", "", Cancel())


def test_a_file_that_is_cut_short_under_the_engine_is_named_with_the_place(
    slow: Compare, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = read_errors.line(read_errors.ReadError(slow.base, 4096, 1024)).decode()
    code = f"import os, sys; sys.stdin.read(); sys.stderr.write('hm\\n' + {told!r}); sys.stderr.flush(); os._exit(77)"
    monkeypatch.setattr(passes, "COMMAND", (sys.executable, "-c", code))
    with pytest.raises(Unreadable, match="cut short") as raised:
        passes.look(slow.base, "", Cancel())
    assert "base.gguf at byte 4,096" in raised.value.detail
    assert raised.value.hint.endswith("Then measure again.")


def test_stopping_ends_the_engine_at_once(starter_gguf: Path, home: Path) -> None:
    cancel = Cancel()
    threading.Timer(1.5, cancel.set).start()
    with pytest.raises(Cancelled):
        compare(Compare(str(starter_gguf), str(starter_gguf)), cancel)
    assert processes_of(home) == {}


@pytest.fixture
def slow(tiny: Tiny) -> Compare:
    """A measurement that takes a second for each chunk, because the disk holds no more than one."""
    model, base = tiny("model", noise=0.1), tiny("base", noise=0.0)
    return Compare(str(model), str(base), chunks=60, disk_bytes=chunk_bytes(base))


def begin(wanted: Compare) -> str:
    return launch.start(JobSpec("quality", "a pair", "A loss", msgspec.to_builtins(wanted))).key


def test_a_killed_job_takes_its_engine_along_and_goes_on_from_what_it_had(slow: Compare, home: Path) -> None:
    key = begin(slow)
    running = until(key, lambda now: now.progress.stage == "base" and scores(), 60)
    assert running.pid is not None
    os.kill(running.pid, signal.SIGKILL)
    assert ended(key).state == "interrupted"
    until(key, lambda _: processes_of(home) == {})
    assert [name for name in left() if not name.endswith(".scores")] == []
    (path,) = scores()
    done = list(store._read(path))
    # Of what is measured already nothing runs again.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_groups", lambda *given: iter(()))
        found = compare(msgspec.structs.replace(slow, chunks=len(done)))
    assert found.scored == 255 * len(done)
    assert found.figures.kld_max == max(value for chunk in done for value in chunk.kld)
    assert left() == []


def test_what_was_stopped_and_goes_on_ends_as_if_it_had_never_been(slow: Compare, home: Path) -> None:
    key = begin(slow)
    until(key, lambda _: scores(), 60)
    assert launch.stop(key)
    assert ended(key).state == "stopped"
    assert processes_of(home) == {}
    assert [name for name in left() if not name.endswith(".scores")] == []
    (path,) = scores()
    wanted = msgspec.structs.replace(slow, chunks=len(list(store._read(path))) + 2, disk_bytes=1_000_000_000)
    gone_on = compare(wanted)
    whole = compare(wanted)  # anew: the scores went with the result
    assert gone_on.figures == whole.figures
    assert left() == []


def scores() -> list[Path]:
    return [path for path in (paths.cache() / "quality").glob("*.scores") if list(store._read(path))]


def test_a_line_that_a_killed_writer_left_is_no_score(home: Path) -> None:
    progress = store.Progress("any")
    progress.add(Scores(0, [0.1], [1.0], [1.0], [True]))
    path = paths.cache() / "quality" / "any.scores"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-7])
    again = store.Progress("any")
    assert [one.chunk for one in again.scores] == [0]
    again.add(Scores(1, [0.2], [1.0], [1.0], [True]))
    assert [one.chunk for one in store.Progress("any").scores] == [0, 1]


def test_how_long_it_takes_is_told_from_the_first_chunk_on(slow: Compare, home: Path) -> None:
    seen = [one.progress for one in launch.watch(begin(msgspec.structs.replace(slow, chunks=3)), 0.02)]
    assert seen[-1].state == "done"
    assert seen[0].stage != seen[-1].stage
    assert any(one.left_s is not None for one in seen if one.stage in {"base", "comparing"})
    assert seen[-1].done_bytes == seen[-1].total_bytes == 6 * slow.disk_bytes


def test_a_longer_measurement_that_was_stopped_survives_a_shorter_one(slow: Compare, home: Path) -> None:
    wanted = msgspec.structs.replace(slow, chunks=2, disk_bytes=1_000_000_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.Progress, "forget", lambda _: None)
        compare(wanted)
    (before,) = left()
    compare(msgspec.structs.replace(wanted, chunks=1))
    assert left() == [before]
    assert [one.chunk for one in store._read(paths.cache() / "quality" / before)] == [0, 1]


def test_what_a_killed_measurement_half_kept_goes_with_the_next(tiny: Tiny, home: Path) -> None:
    part = store.folder() / ".of another base.logits.part"
    part.write_bytes(b"gigabytes")
    compare(Compare(str(tiny("model")), str(tiny("base")), chunks=1))
    assert left() == []


def test_a_base_that_runs_anew_is_not_timed_by_what_was_done_before(home: Path, tmp_path: Path) -> None:
    with Report(tmp_path, Cancel()) as report:
        pace = Pace(report, 10, 100, 1.0, based=False)
        pace.resume(8)
        pace.begin("base", 0)
        pace._begun = (pace._begun[0] - 40, 0)
        pace.based(4)
        assert pace.left_s() == pytest.approx(10 * 6 + 10 * 2, rel=0.01)
