"""Weights that cannot be read while the engine computes with them: which file and where, as this process's last words.

The engine touches weights where the file is mapped. Where the disk fails, or the file was cut short meanwhile, the
kernel answers the touch with SIGBUS, in whichever of the engine's threads it was, and the computation cannot go on. So
the process tells where it was and ends.

The handler is Python: the threads that compute hold neither the interpreter nor a lock of the allocator when they touch
a weight, so it gets its turn as any callback does. Should telling hang, on the disk that is the cause of it all, an
alarm ends the process. `signal.signal` cannot do it: its handlers run once the instruction that failed is over.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from backends import read_errors
from backends.llama_cpp.streaming.maps import Mapped, maps_of, place_of
from backends.read_errors import ReadError

STATUS = 77
"""How a process ends that could not read."""

TELLING_S = 5
_SIGINFO = 4
_MEMORY_FAILED = (4, 5)
"""si_code of a fault of the memory itself: https://man7.org/linux/man-pages/man2/sigaction.2.html (BUS_MCEERR_…)."""
_CODE_AT, _ADDRESS_AT = 8, 16
_MASK_BYTES = 128


class _Action(ctypes.Structure):
    """glibc's struct sigaction, the same on x86-64 and ARM64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * _MASK_BYTES),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_maps: tuple[Mapped, ...] = ()
_files: tuple[Path, ...] = ()
_installed: Any = None
_telling = threading.Lock()
"""Taken by the thread that tells, never given back: another's words must not come between its own or behind them."""


def watch(paths: Iterable[Path]) -> bool:
    """Have this process end with the file and the byte where one of these files cannot be read in memory.

    To be called before they are mapped, and again afterwards: then it needs less to find the place. Says whether it can
    be done here: with glibc on x86-64 and ARM64.
    """
    global _maps, _files  # noqa: PLW0603 - a handler of the whole process
    _files = tuple(Path(path).resolve() for path in paths)
    _maps = maps_of(_files)
    return _install()


def forget() -> None:
    """Forget the files: they are mapped no more."""
    global _maps, _files
    _maps, _files = (), ()


def _install() -> bool:
    global _installed  # noqa: PLW0603 - as above
    if _installed is not None:
        return True
    if sys.platform != "linux" or os.uname().machine not in {"x86_64", "aarch64"} or not _glibc():
        return False
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(_on_bus_error)
    action = _Action(handler=ctypes.cast(handler, ctypes.c_void_p).value, flags=_SIGINFO)
    if ctypes.CDLL(None).sigaction(int(signal.SIGBUS), ctypes.byref(action), None) != 0:
        return False
    _installed = handler  # It is called from outside: it must never be collected.
    return True


def _glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):
        return False


def _on_bus_error(_number: int, info: int, _context: int) -> None:
    """Tell where it was, and end this process, whatever happens here."""
    if not _telling.acquire(blocking=False):
        time.sleep(2 * TELLING_S)  # Whoever tells ends this process, or the alarm does.
    try:
        signal.alarm(TELLING_S)
        address = ctypes.c_uint64.from_address(info + _ADDRESS_AT).value
        memory = ctypes.c_int.from_address(info + _CODE_AT).value in _MEMORY_FAILED
        _tell(address, memory, lambda text: os.write(2, text))
    finally:
        os._exit(STATUS)


def _tell(address: int, memory: bool, write: Callable[[bytes], object]) -> None:
    place = place_of(address, _maps)
    if place is None:
        place = place_of(address, maps_of(_files))
    if place is None:
        write(b"A bus error (SIGBUS) in memory that is no part of the model's files.\n")
        return
    file, offset = place
    error = ReadError(str(file), offset, None, memory)
    # At once: a disk that fails may not answer the next question either.
    write(read_errors.line(error))
    write(read_errors.line(msgspec.structs.replace(error, length=file.stat().st_size)))
