"""What macOS tells about its machine: sysctlbyname of its C library. Anywhere else everything is unknown."""

from __future__ import annotations

import ctypes

_LONGEST = 4096


def number(name: str) -> int | None:
    """Return a whole number by its name, None if there is none."""
    data = _read(name)
    return int.from_bytes(data, "little") if len(data) in {4, 8} else None


def text(name: str) -> str:
    """Return a text by its name, "" if there is none."""
    return _read(name).partition(b"\0")[0].decode("utf-8", "replace")


def _read(name: str) -> bytes:
    try:
        call = ctypes.CDLL(None).sysctlbyname
    except (AttributeError, OSError):
        return b""
    buffer, size = ctypes.create_string_buffer(_LONGEST), ctypes.c_size_t(_LONGEST)
    if call(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return b""
    return buffer.raw[: size.value]
