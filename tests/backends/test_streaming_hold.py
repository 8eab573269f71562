"""What was used once is given back, so that the rest of a file stays in memory: true files, true maps, true caches."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.llama_cpp.streaming import hold
from backends.llama_cpp.streaming.hold import Cache
from backends.llama_cpp.streaming.maps import maps_of
from backends.llama_cpp.streaming.ranges import Span

pytestmark = pytest.mark.skipif(not hold.possible(), reason="this system has no advice for its page cache")

MIB = 1024**2
SIZE = 8 * MIB
_NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    with path.open("wb") as opened:
        opened.write(os.urandom(SIZE))
        opened.flush()
        os.fsync(opened.fileno())
    if not in_memory(path, 0):
        pytest.skip("this file system does not tell what is in memory")
    return path


@pytest.fixture
def mapped(file: Path) -> Iterator[mmap.mmap]:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as found:
        found.read()
        yield found


def in_memory(path: Path, place: int) -> bool:
    """Say whether a byte of a file can be had without any waiting for a disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(file, [bytearray(1)], place, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
    except OSError:
        return False
    finally:
        os.close(file)


def cache_of(path: Path) -> Cache:
    return Cache([os.open(path, os.O_RDONLY | os.O_CLOEXEC)], [maps_of([path])])


def test_a_span_leaves_memory_and_its_neighbours_stay(file: Path, mapped: mmap.mmap) -> None:
    before = mapped[:]
    cache = cache_of(file)
    assert cache.mapped
    cache.give_back([Span(0, 2 * MIB, 6 * MIB)])
    assert [in_memory(file, mib * MIB) for mib in (1, 3, 5, 7)] == [True, False, False, True]
    # Of the pages at its ends others have a part.
    cache.give_back([Span(0, 100, MIB // 2), Span(0, 6 * MIB + 100, 8 * MIB - 100)])
    assert [in_memory(file, place) for place in (0, 6 * MIB, 8 * MIB - 1)] == [True, True, True]
    assert mapped[:] == before
    cache.close()


def test_it_needs_no_right_and_the_file_may_be_another_s(file: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    found = subprocess.run(
        [sys.executable, "-c", _GIVE_BACK, str(file), str(_NOBODY)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(hold.__file__).parents[3])},
    )
    assert found.stdout.split() == [str(_NOBODY), "True"], found.stderr
    assert [in_memory(file, mib * MIB) for mib in (1, 3, 5, 7)] == [True, False, False, True]


_GIVE_BACK = """
import mmap, os, sys
from pathlib import Path
from backends.llama_cpp.streaming.hold import Cache
from backends.llama_cpp.streaming.maps import maps_of
from backends.llama_cpp.streaming.ranges import Span
file = os.open(sys.argv[1], os.O_RDONLY)
mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
mapped.read()
# The interpreter may lie where only root gets, so it becomes somebody else afterwards.
cache = Cache([file], [maps_of([Path(sys.argv[1])])])
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
cache.give_back([Span(0, 2 << 20, 6 << 20)])
print(os.geteuid(), cache.mapped)
"""


def test_what_is_fetched_comes_into_memory_without_anybody_reading_it(file: Path) -> None:
    cache = cache_of(file)
    cache.give_back([Span(0, 0, SIZE)])
    assert not in_memory(file, 3 * MIB)
    for place in range(2 * MIB, 4 * MIB, 128 * 1024):
        cache.fetch(Span(0, place, place + 128 * 1024))
    end = time.monotonic() + 10
    while not in_memory(file, 3 * MIB):
        assert time.monotonic() < end
        time.sleep(0.01)
    cache.close()


def test_a_file_that_another_maps_too_stays_and_nothing_breaks(file: Path, mapped: mmap.mmap) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _MAP_IT, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    before = mapped[:]
    cache = cache_of(file)
    cache.give_back([Span(0, 0, SIZE)])
    assert in_memory(file, 4 * MIB)
    assert mapped[:] == before
    child.communicate("")
    cache.close()


_MAP_IT = """
import mmap, sys
file = open(sys.argv[1], "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
mapped.read()
print(flush=True)
sys.stdin.read()
"""


def test_without_a_known_map_nothing_is_touched_but_the_cache(file: Path) -> None:
    cache = Cache([os.open(file, os.O_RDONLY | os.O_CLOEXEC)], [()])
    assert not cache.mapped
    cache.give_back([Span(0, 0, SIZE)])
    cache.close()
    # Too late is no error either.
    cache.give_back([Span(0, 0, SIZE)])
    cache.fetch(Span(0, 0, SIZE))
