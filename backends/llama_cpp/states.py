"""Kept KV states as files: sealed when they are written, and verified before the engine sees them.

The engine would take a flipped bit for good and end the process at a truncated file. A file of ours is what the engine
wrote, then the tokens it stands for (32 bits each), then a seal: magic and version, identity, lengths and checksums.
The engine reads from the beginning and stops where its own part ends.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends import chat_states
from backends.base import Cancel
from backends.llama_cpp.decode import Decoder
from backends.own_writes import own_writes

_MAGIC = b"DSTUIKV\x01"
# Magic and version, identity, bytes and CRC-32 of the engine's part, number of tokens; then a CRC-32 of all before it
# in the seal and of the tokens.
_SEAL = struct.Struct("<8s32sQII")
_CHECK = struct.Struct("<I")
_READ_BYTES = 4 * 1024 * 1024


class Damaged(Exception):
    """A kept state is not what was written, or not for this model; its text ends a sentence."""


class Kept(msgspec.Struct, frozen=True):
    """A kept state whose seal is whole: `tokens` is what it stands for. Its engine part is not verified yet."""

    path: Path
    descriptor: int
    tokens: tuple[int, ...]
    engine_bytes: int
    crc: int


def state_path(chat: str, identity: bytes) -> Path:
    """Return where the state of a keepable chat lies."""
    return chat_states.path_of(chat, identity.hex()[:16])


@contextlib.contextmanager
def opened(path: Path, identity: bytes) -> Iterator[Kept | None]:
    """Open a kept state and read its seal; None if there is none. Raises Damaged."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise Damaged(f"cannot be read ({error.strerror})") from error
    try:
        try:
            kept = _unseal(path, descriptor, identity)
        except OSError as error:
            raise Damaged(f"cannot be read ({error.strerror})") from error
        yield kept
    finally:
        os.close(descriptor)


def restore(decoder: Decoder, kept: Kept, cancel: Cancel) -> bool:
    """Verify a state and put it in place of the KV cache; False if `cancel` came before.

    Raises Damaged; the KV cache is then as it was, or empty if the engine refused.
    """
    try:
        crc = _checksum(kept.descriptor, kept.engine_bytes, cancel)
    except OSError as error:
        raise Damaged(f"cannot be read ({error.strerror})") from error
    if cancel.is_set():
        return False
    if crc != kept.crc:
        raise Damaged("is damaged")
    # By its descriptor, so that the engine reads the very file that was verified.
    by_descriptor = f"/dev/fd/{kept.descriptor}"
    name = by_descriptor if Path(by_descriptor).exists() else str(kept.path)
    if not decoder.load_state(name):
        raise Damaged("was refused by the engine")
    if tuple(decoder.tokens) != kept.tokens:
        decoder.forget()
        raise Damaged("is of another conversation")
    chat_states.touch(kept.path)
    return True


@own_writes()
def save(decoder: Decoder, path: Path, identity: bytes, bound: int) -> None:
    """Write what the KV cache holds, unless `path` has it already. A failure is noted in the log and nothing more.

    `bound` is how many bytes all kept states may have together.
    """
    with contextlib.suppress(Damaged), opened(path, identity) as kept:
        if kept is not None and kept.tokens[: len(decoder.tokens)] == tuple(decoder.tokens):
            chat_states.touch(path)
            return
    try:
        with chat_states.writing(path, decoder.state_bytes() + 4 * len(decoder.tokens), bound) as (unfinished, file):
            size = decoder.save_state(str(unfinished))
            if size == 0 or os.fstat(file).st_size != size:
                raise OSError("the engine could not write it")
            _write(file, size, _sealed(identity, size, _checksum(file, size), decoder.tokens))
    except OSError as error:
        note(f"The state of a chat was not kept: {error.strerror or error}.")


def note(text: str) -> None:
    """Write a line into the host's log."""
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")


def _sealed(identity: bytes, engine_bytes: int, crc: int, tokens: list[int]) -> bytes:
    """Return what follows the engine's part."""
    body = _words(tokens) + _SEAL.pack(_MAGIC, identity, engine_bytes, crc, len(tokens))
    return body + _CHECK.pack(zlib.crc32(body))


def _unseal(path: Path, descriptor: int, identity: bytes) -> Kept:
    size = os.fstat(descriptor).st_size
    ending = _SEAL.size + _CHECK.size
    if size < ending:
        raise Damaged("is incomplete")
    seal = os.pread(descriptor, ending, size - ending)
    magic, written_for, engine_bytes, crc, count = _SEAL.unpack(seal[: _SEAL.size])
    if magic != _MAGIC or size != engine_bytes + 4 * count + ending:
        raise Damaged("is damaged or incomplete")
    words = os.pread(descriptor, 4 * count, engine_bytes)
    if _CHECK.unpack(seal[_SEAL.size :])[0] != zlib.crc32(words + seal[: _SEAL.size]):
        raise Damaged("is damaged")
    if written_for != identity:
        raise Damaged("is of another model")
    return Kept(path, descriptor, _tokens(words), engine_bytes, crc)


def _checksum(descriptor: int, length: int, cancel: Cancel | None = None) -> int:
    """Return the CRC-32 of a file's first `length` bytes, or of fewer if it is shorter or `cancel` came."""
    crc = place = 0
    while place < length and not (cancel and cancel.is_set()):
        block = os.pread(descriptor, min(_READ_BYTES, length - place), place)
        if not block:
            break
        crc = zlib.crc32(block, crc)
        place += len(block)
    return crc


def _write(descriptor: int, place: int, data: bytes) -> None:
    while data:
        count = os.pwrite(descriptor, data, place)
        place, data = place + count, data[count:]


def _words(tokens: list[int]) -> bytes:
    words = array("i", tokens)
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()


def _tokens(data: bytes) -> tuple[int, ...]:
    words = array("i", data)
    if sys.byteorder == "big":
        words.byteswap()
    return tuple(words)
