"""Lines out of a stream of bytes: however it is cut, and none without an end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backends.errors import ServerError


def bounded_lines(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    r"""Yield lines without their "\n" or "\r\n"; what follows the last one too, if there is anything.

    Costs no more for a line in many chunks than for one in one. Raises ServerError for one of more than `limit` bytes.
    """
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            if size + len(line) > limit:
                raise _endless(limit)
            held.append(line)
            yield b"".join(held).removesuffix(b"\r")
            held.clear()
            size = 0
        if rest:
            held.append(rest)
            size += len(rest)
            if size > limit:
                raise _endless(limit)
    if held:
        yield b"".join(held).removesuffix(b"\r")


def _endless(limit: int) -> ServerError:
    return ServerError(
        "The server sent a line without an end",
        f"It is longer than {limit >> 20} MiB.",
        "It may be no server of the kind that the preset names.",
    )
