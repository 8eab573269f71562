"""Keeping a part of a mapped model in memory: by giving back what the other part took, as soon as it was used.

The kernel keeps what was used last, and a model that is read in a circle never comes to it again in time: with room for
half of it, nearly all is read anew. Where each streamed piece goes as soon as it was used, nothing ever presses on the
rest. That needs no right, as locking it would (8 MiB for an ordinary user), and takes memory from nobody: who needs
it gets it. Locking reads as little and is no faster, measured in turn: 337 to 347 MB and 2.23 to 2.27 s a token given
back, 346 to 364 MB and 2.30 to 2.51 s locked, of 672 MB with half of them held and a disk of 150 MB/s.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Sequence

from backends.llama_cpp.streaming.maps import Mapped
from backends.llama_cpp.streaming.ranges import Span

_DONTNEED = 4  # MADV_DONTNEED of Linux
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def possible() -> bool:
    """Say whether this system lets a program tell its page cache what comes next, and what is over."""
    return sys.platform == "linux" and hasattr(os, "posix_fadvise")


class Cache:
    """The page cache's part of a model's files, and the engine's maps of them. Nothing here ever raises.

    `files` are open descriptors, `maps` the maps of each.
    """

    def __init__(self, files: Sequence[int], maps: Sequence[tuple[Mapped, ...]]) -> None:
        self._files = tuple(files)
        self._maps = tuple(maps)
        self._madvise = ctypes.CDLL(None, use_errno=True).madvise
        self._madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    @property
    def mapped(self) -> bool:
        """Whether the maps of all files were found: what is mapped unseen cannot be given back."""
        return all(self._maps)

    def give_back(self, spans: Iterable[Span]) -> None:
        """Drop whole pages of these spans out of memory. Who touches them again waits for the disk."""
        for span in spans:
            for mapped in self._maps[span.part]:
                start = _up(max(span.start, mapped.start))
                end = min(span.end, mapped.end) // _PAGE * _PAGE
                if start < end:
                    # What is mapped stays in the cache, so that comes first.
                    self._madvise(mapped.address + start - mapped.start, end - start, _DONTNEED)
            self._advise(span, os.POSIX_FADV_DONTNEED)

    def fetch(self, span: Span) -> None:
        """Let the disk begin to read what of a span is not in memory, and do not wait for it."""
        self._advise(span, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        files, self._files = self._files, ()
        for file in files:
            os.close(file)

    def _advise(self, span: Span, advice: int) -> None:
        try:
            os.posix_fadvise(self._files[span.part], span.start, span.size, advice)
        except (OSError, IndexError):
            return


def _up(place: int) -> int:
    return -(-place // _PAGE) * _PAGE
