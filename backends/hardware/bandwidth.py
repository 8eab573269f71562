"""How fast this machine's memory can be read by everything this process may use: measured, and kept.

The C library's `memcmp` compares two equal halves, and `memchr` looks for a byte that is not there: both read a buffer
once and write nothing, and ctypes lets go of the interpreter's lock meanwhile, so several threads truly read at once.
Which is faster depends on the library; with glibc `memcmp` is as fast as a hand-written loop over AVX2 registers.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import mmap
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from backends import remembered
from backends.hardware import memory
from backends.hardware.cpu import cpu_name
from backends.hardware.cpu_limits import allowed_cpus, cpu_quota, usable_cores
from backends.hardware.kernel_files import text
from backends.hardware.speed import Speed

MIB = 1 << 20
SPREAD = 0.2
"""How far the best rounds may lie apart before the figure is called untrustworthy."""
OWN_SHARE = 0.9
"""Part of a round in which its threads must have computed: a machine that gives them less is busy otherwise."""
_ROUND_S = 0.12
_PAUSE_S = 0.15
_ROUNDS = 10
_FEWEST = 4
_MOST_THREADS = 64
_LEAST_BYTES, _MOST_BYTES = 256 * MIB, 2048 * MIB
_CACHES = 4
"""A buffer of so many times the largest cache cannot live in it."""
_SHARE = 4
"""At most this part of the memory that is available is taken for the buffer."""
_IN_CACHE = 128 * 1024
_HEADROOM = 1.25
"""The loop has to be so much faster in a cache, or it is the loop that was measured and not the memory."""
_FILL, _SOUGHT = 1, 255
_KIND = "memory-bandwidth"

Reader = Callable[[int, int], object]


class Round(msgspec.Struct, frozen=True):
    """One round: bytes a second of all threads together, and the part of the time in which they computed."""

    bytes_per_s: float
    own_share: float = 1.0


class Bandwidth(msgspec.Struct, frozen=True):
    """What all usable cores together read from memory, in bytes a second (writing nothing).

    None where it cannot be trusted within 20 %, and `problem` says why. `spread` is how far the better half of the
    rounds lay apart, as a share. `cached_bytes_per_s` is the same loop inside the caches.
    """

    bytes_per_s: int | None = None
    problem: str = ""
    threads: int = 0
    spread: float | None = None
    cached_bytes_per_s: int | None = None


def measure(root: Path = Path("/"), rounds: int = _ROUNDS) -> Bandwidth:
    """Measure for about four seconds, with up to 2 GiB of memory and every core; keep what can be trusted.

    Never raises. To be run when nothing else computes: a model that answers meanwhile takes its share.
    """
    threads = min(usable_cores(root), _MOST_THREADS)
    size, problem = _buffer_size(root)
    if problem:
        return Bandwidth(problem=problem, threads=threads)
    try:
        found = _measured(threads, size, rounds)
    except (OSError, ValueError, MemoryError, RuntimeError, AttributeError) as error:
        return Bandwidth(problem=f"The memory cannot be measured: {error}.", threads=threads)
    if found.bytes_per_s is not None:
        remembered.write(_KIND, _key(root), found.bytes_per_s)
    return found


def recall(root: Path = Path("/")) -> Speed | None:
    """Return what was last measured on this machine with these CPUs, None if nothing was."""
    found = remembered.read(_KIND, _key(root))
    return Speed(found, "measured") if isinstance(found, int) and found > 0 else None


def judged(rounds: list[Round], cached: float, threads: int) -> Bandwidth:
    """Say what some rounds tell, `cached` being the loop's bytes a second inside a cache.

    Whatever disturbs a round makes it slower, so the better half counts; it has to agree.
    """
    better = sorted(rounds, key=lambda one: one.bytes_per_s)[len(rounds) // 2 :]
    rates = [one.bytes_per_s for one in better]
    if len(rounds) < _FEWEST or not all(math.isfinite(rate) and rate > 0 for rate in (*rates, cached)):
        return Bandwidth(problem="The clock or the threads failed.", threads=threads)
    rate, spread = statistics.median(rates), rates[-1] / rates[0] - 1
    problem = ""
    if statistics.median(one.own_share for one in better) < OWN_SHARE:
        problem = "Something else computes meanwhile."
    elif spread > SPREAD:
        problem = f"The rounds differ by {spread:.0%}: something else uses the memory."
    elif cached < rate * _HEADROOM:
        problem = "The reading loop is no faster inside the caches, so it is not the memory that was measured."
    return Bandwidth(None if problem else round(rate), problem, threads, spread, round(cached))


def _measured(threads: int, size: int, rounds: int) -> Bandwidth:
    readers = _readers()
    with mmap.mmap(-1, size) as buffer:
        start = ctypes.c_char.from_buffer(buffer)
        try:
            first, part = ctypes.addressof(start), size // threads
            places = [first + part * number for number in range(threads)]
            # Untouched pages are all the same page of zeros. Each thread touches its own, so that they lie near it.
            _together(lambda place: ctypes.memset(place, _FILL, part), places)
            reader = max(readers, key=lambda one: _round(one, places, part).bytes_per_s)
            cached = max(_round(reader, places, _IN_CACHE).bytes_per_s for _ in range(2))
            measured = []
            for _ in range(max(_FEWEST, rounds)):
                # What disturbs comes and goes: the rounds are spread over a while.
                time.sleep(_PAUSE_S)
                measured.append(_round(reader, places, part))
        finally:
            del start  # The mapping cannot be closed while something points into it.
    return judged(measured, cached, threads)


def _readers() -> tuple[Reader, ...]:
    """Return functions that read so many bytes from an address on, filled with `_FILL`. Raises AttributeError."""
    library = ctypes.CDLL(None)
    compare, search = library.memcmp, library.memchr
    compare.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    search.restype, search.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    return (
        lambda place, length: compare(place, place + length // 2, length // 2),
        lambda place, length: search(place, _SOUGHT, length),
    )


def _round(reader: Reader, places: list[int], length: int) -> Round:
    """Read `length` bytes from each of some places again and again, all at once, for a while."""
    ready = threading.Barrier(len(places))
    found: list[tuple[float, float]] = []

    def read(place: int) -> None:
        try:
            ready.wait(_ROUND_S * 50)
        except threading.BrokenBarrierError:  # another thread could not be started
            return
        began, computed = time.perf_counter(), time.thread_time()
        spent, passes = 0.0, 0
        while spent < _ROUND_S:
            reader(place, length)
            passes += 1
            spent = time.perf_counter() - began
        found.append((passes * length / spent, (time.thread_time() - computed) / spent))

    _together(read, places)
    if len(found) < len(places):
        return Round(math.nan)
    return Round(sum(speed for speed, _ in found), statistics.mean(share for _, share in found))


def _together(work: Callable[[int], object], places: list[int]) -> None:
    """Run `work` for each place in a thread of its own, and wait for all. Raises RuntimeError if one cannot start."""
    started: list[threading.Thread] = []
    try:
        for place in places:
            thread = threading.Thread(target=work, args=(place,), daemon=True)
            thread.start()
            started.append(thread)
    finally:
        # Nobody may still be at the buffer when it is taken away.
        for thread in started:
            thread.join()


def _buffer_size(root: Path) -> tuple[int, str]:
    """Return how large the buffer has to be, and why there cannot be one."""
    wanted = max(_LEAST_BYTES, _CACHES * max(_caches(root), default=0))
    available = memory.ram(root).available_bytes
    if wanted > _MOST_BYTES:
        return 0, f"The caches are too large: a buffer of {wanted // MIB} MiB would be needed."
    if available is not None and wanted > available // _SHARE:
        return 0, f"Too little memory is available: {available // MIB} MiB."
    return wanted, ""


def _caches(root: Path) -> Iterator[int]:
    """Yield the sizes of the first CPU's caches in bytes."""
    for file in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        written = text(file)
        digits = "".join(itertools.takewhile(str.isdecimal, written))
        if digits:
            yield int(digits) * {"K": 1024, "M": MIB}.get(written[len(digits) :], 1)


def _key(root: Path) -> str:
    total = memory.ram(root).total_bytes
    cpus = ",".join(map(str, sorted(allowed_cpus())))
    return f"{cpu_name(root)} {cpus} {cpu_quota(root)} {round((total or 0) / 2**30)}"
