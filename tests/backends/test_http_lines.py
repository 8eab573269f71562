"""Lines come out of a stream whole, however it is cut, and one without an end is not collected."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import ServerError
from backends.http.lines import bounded_lines

LIMIT = 1 << 20
BYTES = st.one_of(
    st.binary(max_size=60),
    # What other notions of a line end with, too.
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0b"])).map(b"".join),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut at these places; one that is named twice gives an empty chunk."""
    places = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def expected(data: bytes) -> list[bytes]:
    *whole, rest = data.split(b"\n")
    return [line.removesuffix(b"\r") for line in [*whole, *([rest] if rest else [])]]


@given(BYTES, st.lists(st.integers(0, 1000), max_size=30))
def test_any_cutting_gives_the_same_lines(data: bytes, places: list[int]) -> None:
    assert list(bounded_lines(cut(data, places), LIMIT)) == expected(data)


@given(BYTES)
def test_bytes_that_come_one_by_one_give_the_same_lines(data: bytes) -> None:
    assert list(bounded_lines([data[at : at + 1] for at in range(len(data))], LIMIT)) == expected(data)


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([], []),
        ([b""], []),
        ([b"", b"a", b"", b"\n", b""], [b"a"]),
        ([b"a\nb"], [b"a", b"b"]),
        ([b"a\r", b"\nb\r"], [b"a", b"b"]),
        ([b"a\rb\n"], [b"a\rb"]),
        ([b"\n\n"], [b"", b""]),
        ([b"\r\n", b"\r\n"], [b"", b""]),
        ([b"a\xc2\x85b\xe2\x80\xa8c\n"], [b"a\xc2\x85b\xe2\x80\xa8c"]),
    ],
)
def test_a_line_ends_with_its_newline_and_nothing_else(chunks: list[bytes], lines: list[bytes]) -> None:
    assert list(bounded_lines(chunks, LIMIT)) == lines


def test_a_line_is_there_before_the_next_chunk_is_waited_for() -> None:
    waited: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number, chunk in enumerate((b"one\ntwo\nth", b"ree\n")):
            waited.append(number)
            yield chunk

    lines = bounded_lines(chunks(), LIMIT)
    assert (next(lines), next(lines), waited) == (b"one", b"two", [0])
    assert (next(lines), waited) == (b"three", [0, 1])


@pytest.mark.parametrize("size", [1, 7, 100, 101])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(size: int) -> None:
    def chunks(length: int, end: bytes = b"") -> list[bytes]:
        data = b"x" * length + end
        return [data[at : at + size] for at in range(0, len(data), size)]

    for end in (b"", b"\n"):
        assert list(bounded_lines(chunks(100, end), 100)) == [b"x" * 100]
        with pytest.raises(ServerError):
            list(bounded_lines(chunks(101, end), 100))


def test_each_line_is_measured_by_itself() -> None:
    lines = [b"y" * 100, b"x" * 99, b"", b"z" * 100] * 50
    assert list(bounded_lines(cut(b"\n".join(lines), list(range(0, 15_000, 37))), 100)) == lines
    with pytest.raises(ServerError):
        list(bounded_lines([b"a\n" * 1000 + b"y" * 60, b"y" * 60, b"\nz\n"], 100))


def test_what_came_before_a_line_without_an_end_is_told() -> None:
    told = []
    with pytest.raises(ServerError, match="longer than 1 MiB") as caught:
        told.extend(bounded_lines([b"one\ntwo\n", b"x" * LIMIT, b"x", b"\nthree\n"], LIMIT))
    assert told == [b"one", b"two"]
    assert caught.value.hint


def test_no_more_is_read_of_a_line_that_is_too_long() -> None:
    read = []

    def endless() -> Iterator[bytes]:
        while True:
            read.append(1)
            yield b"x" * 10

    with pytest.raises(ServerError):
        list(bounded_lines(endless(), 100))
    assert len(read) == 11


def test_a_stream_that_breaks_tells_its_lines_first_and_hides_no_failure() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one\nhalf"
        raise OSError("broken")

    lines = bounded_lines(chunks(), LIMIT)
    assert next(lines) == b"one"
    with pytest.raises(OSError, match="broken"):
        next(lines)


def test_a_line_in_tiny_chunks_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        best = 9.0
        for _ in range(3):
            started = time.process_time()
            assert [len(line) for line in bounded_lines((b"xxxx" for _ in range(size // 4)), 1 << 30)] == [size]
            best = min(best, time.process_time() - started)
        return best

    # Adding each chunk to a growing line would take 256 times as long.
    assert seconds(1 << 20) < 64 * max(seconds(1 << 16), 0.001)
