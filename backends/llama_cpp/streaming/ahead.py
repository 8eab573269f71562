"""What the disk should read next while the engine computes: always a window of what comes, never more than that."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backends.hardware.kernel_files import number
from backends.llama_cpp.streaming.ranges import Span, Unit, total

_LEAST_PIECE, _MOST_PIECE = 128 * 1024, 2 * 1024**2
_CHUNK_BYTES = 4 * 1024**2
"""After so many bytes it is asked whether the engine has gone on: a disk of 500 MB/s takes 8 ms for them."""


class Ahead:
    """Fetches what the engine will need, in its order, a bounded way ahead. For one thread.

    Places count units from the first token on and never begin anew. `fetch` has to return at once.
    """

    def __init__(self, fetch: Callable[[Span], None], piece_bytes: int, window_bytes: int) -> None:
        self._fetch = fetch
        self._window = window_bytes
        self._piece = piece_bytes
        self._next = 0
        self._left: Iterator[Span] | None = None
        self._fetched: deque[tuple[int, int]] = deque()

    def follow(
        self, units: Sequence[Unit], at: int, interrupted: Callable[[], bool], *, held_too: bool = False
    ) -> None:
        """Fetch what comes from place `at` on, up to a window or until `interrupted`.

        `held_too` fetches also what should be in memory already and may not be, as after a load.
        """
        count = len(units)
        if self._next < at:
            self._next, self._left = at, None
        while self._fetched and self._fetched[0][0] < at:
            self._fetched.popleft()
        under_way = sum(size for _, size in self._fetched)
        most = reach(total(units[at % count].streamed), self._window)
        while under_way < most and self._next < at + count and not interrupted():
            if self._left is None:
                unit = units[self._next % count]
                self._left = _chunks((*unit.held, *unit.streamed) if held_too else unit.streamed)
            chunk = next(self._left, None)
            if chunk is None:
                self._next, self._left = self._next + 1, None
                continue
            for piece in _pieces(chunk, self._piece):
                self._fetch(piece)
            self._fetched.append((self._next, chunk.size))
            under_way += chunk.size


def reach(unit_bytes: int, window_bytes: int) -> int:
    """Return how many bytes may be under way while a unit of `unit_bytes` is in use, that unit's own included.

    The one before it has to find room in the window too until it is given back. Of what comes after the unit it is
    always something, or the disk would rest.
    """
    return max(window_bytes * 7 // 8 - unit_bytes, unit_bytes + window_bytes // 4)


def piece_bytes(files: Sequence[int], root: Path = Path("/")) -> int:
    """Return how much the kernel begins to read at one request: it silently leaves out the rest of a longer one.

    That is the larger one of the disk's read-ahead and its longest transfer (force_page_cache_ra in mm/readahead.c).
    """
    found = []
    for file in files:
        device = os.fstat(file).st_dev
        try:
            block = (root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve(strict=True)
        except OSError:
            return _LEAST_PIECE
        queue = (block.parent if (block / "partition").exists() else block) / "queue"
        sizes = (number(queue / "read_ahead_kb"), number(queue / "max_sectors_kb"))
        found.append(1024 * max(size or 0 for size in sizes))
    smallest = min(found, default=0) // _LEAST_PIECE * _LEAST_PIECE
    return max(_LEAST_PIECE, min(smallest, _MOST_PIECE))


def _chunks(spans: Sequence[Span]) -> Iterator[Span]:
    for span in sorted(spans):
        yield from _pieces(span, _CHUNK_BYTES)


def _pieces(span: Span, size: int) -> Iterator[Span]:
    for start in range(span.start, span.end, size):
        yield Span(span.part, start, min(start + size, span.end))
