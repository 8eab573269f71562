"""What the engine will come to is read before: all of it, in pieces that the kernel takes, and not too far ahead."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from backends.llama_cpp.quantizing.source import Ahead, Source, read_source
from backends.llama_cpp.streaming.ahead import piece_bytes
from tests.backends.quantizing_world import LONG, write_small

Asked = list[tuple[int, int]]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return read_source(write_small(tmp_path / "model-F16.gguf", LONG))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The pieces that the kernel is asked for, (begin, size)."""
    found: Asked = []
    true_advise = os.posix_fadvise

    def advise(descriptor: int, offset: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        true_advise(descriptor, offset, size, advice)
        found.append((offset, size))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return found


def spans(source: Source) -> list[tuple[str, int, int]]:
    """The tensors with where they lie."""
    (header,) = source.headers
    return [(one.name, header.data_offset + one.offset, one.size or 0) for one in header.tensors]


def covers(asked: Asked, begin: int, size: int) -> bool:
    """Say whether every byte of a tensor was asked for."""
    for at, length in sorted(asked):
        if at <= begin < at + length:
            size -= at + length - begin
            begin = at + length
    return size <= 0


def all_covered(asked: Asked, tensors: Sequence[tuple[str, int, int]]) -> bool:
    """Wait until every byte of some tensors was asked for, and say whether it came to that."""
    deadline = time.monotonic() + 10
    while not all(covers(asked, begin, size) for _, begin, size in tensors):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_every_byte_is_asked_for_in_pieces_of_which_the_kernel_leaves_nothing_out(source: Source, asked: Asked) -> None:
    """Of a longer one it silently reads no more than the disk's read-ahead or longest transfer."""
    tensors = spans(source)
    with Ahead(source, tuple(name for name, _, _ in tensors), 1024**3):
        assert all_covered(asked, tensors)
    with source.first.open("rb") as opened:
        piece = piece_bytes([opened.fileno()])
    assert {size for _, size in asked} == {piece}
    assert all(begin % piece == 0 for begin, _ in asked)


def test_no_more_is_asked_for_than_lies_within_the_window_until_the_engine_goes_on(
    source: Source, asked: Asked
) -> None:
    tensors = spans(source)
    window = sum(size for _, _, size in tensors[:4])
    with Ahead(source, tuple(name for name, _, _ in tensors), window) as ahead:
        assert all_covered(asked, tensors[:4])
        time.sleep(0.3)
        assert not covers(asked, *tensors[-1][1:])
        ahead.at(len(tensors) - 2)
        assert all_covered(asked, tensors[-1:])


def test_it_ends_in_the_middle(source: Source, asked: Asked) -> None:
    with Ahead(source, tuple(name for name, _, _ in spans(source)), 1):
        pass
    before = len(asked)
    time.sleep(0.2)
    assert len(asked) == before
