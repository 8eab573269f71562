"""Hostile headers: nothing but the typed error, at most a second, at most 64 MB."""

from __future__ import annotations

import struct
import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.gguf.problems import BadGguf
from backends.gguf.reader import MAX_TENSORS, read_header
from backends.gguf.shape import Part, shape_of
from backends.gguf.source import FIRST_CHUNK, MAX_STRINGS
from tests.gguf_files import QWEN_1_5B, Tensors, gguf_header, model_tensors

U8, U32, TEXT, LIST, I32 = 0, 4, 8, 9, 5
MOST_BYTES, MOST_S = 64 * 10**6, 1.0
METADATA: dict[str, tuple[int, Any]] = {
    "general.architecture": (TEXT, "qwen2"),
    "general.name": (TEXT, "some model"),
    "general.alignment": (U32, 32),
    "qwen2.block_count": (U32, 28),
    "qwen2.embedding_length": (U32, 1536),
    "qwen2.feed_forward_length": (LIST, (I32, [8960] * 28)),
    "qwen2.attention.head_count": (U32, 12),
    "tokenizer.ggml.tokens": (LIST, (TEXT, [f"t{number}" for number in range(300)])),
    "tokenizer.chat_template": (TEXT, "{{ messages }}"),
}
TENSORS: Tensors = dict(list(model_tensors(QWEN_1_5B, "Q4_K_M").items())[:40])
HEAD, DATA_SIZE = gguf_header(METADATA, TENSORS)
BIG = st.sampled_from([0, 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1])


class Endless:
    """A file of `size` bytes that begins with `data` and goes on with `filling` over and over."""

    def __init__(self, data: bytes, size: int, filling: bytes = b"\0") -> None:
        self._data, self._filling, self.size = data, filling, size

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        begin = self._data[offset : offset + length]
        rest, phase = length - len(begin), (max(offset, len(self._data)) - len(self._data)) % len(self._filling)
        return begin + (self._filling * (rest // len(self._filling) + 2))[phase : phase + rest]


def held(source: Any) -> float:
    """Read a shape; return the seconds. Only BadGguf may come out."""
    begin = time.perf_counter()
    with suppress(BadGguf):
        shape = shape_of([Part("m.gguf", source.size)], [read_header(source, "m.gguf")])
        assert shape.weight_bytes <= source.size
        assert shape.layers <= 1024
    return time.perf_counter() - begin


def within_bounds(source: Any) -> None:
    # The clock first: counting memory makes everything some five times slower.
    assert min(held(source) for _ in range(2)) <= MOST_S
    tracemalloc.start()
    try:
        held(source)
        assert tracemalloc.get_traced_memory()[1] <= MOST_BYTES
    finally:
        tracemalloc.stop()


def test_the_model_that_is_mutated_is_good() -> None:
    source = Endless(HEAD, len(HEAD) + 31 + DATA_SIZE)
    assert shape_of([Part("m", source.size)], [read_header(source, "m")]).layers == 28


@given(st.binary(max_size=3000), st.booleans())
def test_random_bytes(data: bytes, magic: bool) -> None:
    data = b"GGUF\x03\0\0\0" + data if magic else data
    held(Endless(data, len(data)))


@given(st.lists(st.tuples(st.integers(0, len(HEAD) - 1), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=300)
def test_flipped_bytes(flips: list[tuple[int, int]]) -> None:
    data = bytearray(HEAD)
    for place, byte in flips:
        data[place] = byte
    assert held(Endless(bytes(data), len(data) + 31 + DATA_SIZE)) <= MOST_S


@given(st.integers(0, len(HEAD) - 8), BIG, st.integers(0, 2**40))
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_huge_numbers_anywhere_in_a_file_of_any_size(place: int, number: int, more: int) -> None:
    data = HEAD[:place] + struct.pack("<Q", number) + HEAD[place + 8 :]
    assert held(Endless(data, len(data) + more)) <= MOST_S


@given(st.integers(0, len(HEAD)), st.binary(max_size=200), st.integers(0, len(HEAD)))
@settings(max_examples=200)
def test_pieces_cut_out_and_put_in(place: int, piece: bytes, end: int) -> None:
    data = HEAD[:place] + piece + HEAD[max(place, end) :]
    held(Endless(data, len(data) + DATA_SIZE))


@given(st.binary(min_size=1, max_size=60), st.binary(min_size=1, max_size=40))
def test_names_that_are_no_text(key: bytes, name: bytes) -> None:
    data = struct.pack("<4sIQQ", b"GGUF", 3, 1, 2)
    data += b"".join(struct.pack("<Q", len(one)) + one + struct.pack("<IB", U8, 1) for one in (key, key + b"\xff"))
    data += struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 4, 0, 0)
    held(Endless(data, len(data) + 64))


def begin(tensors: int, values: int) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, tensors, values)


def key(name: bytes = b"k") -> bytes:
    return struct.pack("<Q", len(name)) + name


def numbered(number: int, width: int) -> bytes:
    return key(b"%0*d" % (width, number))


def table(count: int, kind: int, width: int) -> bytes:
    """Return so many tensors of nothing, with names and dimensions as large as they may be."""
    return begin(count, 0) + b"".join(
        numbered(number, width) + struct.pack("<IQQQQIQ", 4, 0, 2**62, 2**61, 2**60, kind, 0) for number in range(count)
    )


HOSTILE = {
    # As many texts as allowed, empty, short, too long for the quick way, and each in a piece of its own.
    "empty texts": Endless(begin(0, 1) + key() + struct.pack("<IIQ", LIST, TEXT, MAX_STRINGS), 10**12),
    "slow texts": Endless(
        begin(0, 1) + key() + struct.pack("<IIQ", LIST, TEXT, MAX_STRINGS), 10**12, struct.pack("<Q", 70) + bytes(70)
    ),
    "far texts": Endless(
        begin(0, 1) + key() + struct.pack("<IIQ", LIST, TEXT, MAX_STRINGS),
        10**12,
        struct.pack("<Q", 4 * FIRST_CHUNK - 8) + bytes(4 * FIRST_CHUNK - 8),
    ),
    "endless lists": Endless(
        begin(0, 2**63),
        10**12,
        b"".join(numbered(number, 8) + struct.pack("<IIQ", LIST, TEXT, 64) + bytes(64 * 8) for number in range(9999)),
    ),
    "endless keys": Endless(
        begin(0, 2**63) + b"".join(numbered(number, 8) + struct.pack("<IB", U8, 1) for number in range(90_000)), 10**12
    ),
    "endless templates": Endless(
        begin(0, 2**63)
        + b"".join(
            numbered(number, 8) + struct.pack("<I", TEXT) + key("é🙂".encode() * 170_000) for number in range(9)
        ),
        10**12,
    ),
    "wide texts": Endless(
        begin(0, 3)
        + b"".join(
            numbered(number, 8) + struct.pack("<IQ", TEXT, 2**20) + "🙂".encode() + b"x" * (2**20 - 4)
            for number in range(3)
        ),
        10**12,
    ),
    "endless key": Endless(begin(0, 1) + struct.pack("<Q", 10**11), 10**12),
    "lists of lists": Endless(begin(0, 1) + key() + struct.pack("<I", LIST) * 10**6, 10**12),
    "many tensors": Endless(table(MAX_TENSORS, 0, 63), 10**12),
    "many unknown tensors": Endless(table(MAX_TENSORS, 2**32 - 1, 63), 10**12),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_made_to_take_time_or_memory(name: str) -> None:
    within_bounds(HOSTILE[name])
