"""Writing to a terminal that reads slowly, not at all, or is gone: nobody waits, and in the end all is right."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty
from collections.abc import Iterator

import pytest

from tui.line.writing import ONCE_BYTES, WAITING_BYTES, Writer


class Line:
    """A pseudo-terminal; `far` is the end that a person sits at."""

    def __init__(self) -> None:
        self.far, self.near = pty.openpty()
        tty.setraw(self.near)
        self.caught_up = threading.Event()
        self.lost = threading.Event()
        self.repaints = 0
        self.writer = Writer(self.near, self._repaint, lambda _error: self.lost.set())

    def _repaint(self) -> None:
        self.repaints += 1
        self.caught_up.set()

    def read(self, seconds: float = 0.3) -> bytes:
        """Read until nothing has come for so long."""
        read = b""
        while select.select([self.far], [], [], seconds)[0]:
            read += os.read(self.far, 65536)
        return read


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.writer.stop(0.01)
    for end in (made.far, made.near):
        try:
            os.close(end)
        except OSError:  # The test has closed it.
            continue


def test_what_is_written_comes_in_order(line: Line) -> None:
    for number in range(500):
        line.writer.write(f"<{number}·é>", frame=number % 2 == 0)
        if number % 50 == 0:
            time.sleep(0.001)
    expected = "".join(f"<{number}·é>" for number in range(500)).encode()
    assert line.read() == expected
    assert line.repaints == 0


def test_nobody_waits_for_a_terminal_that_reads_nothing_and_memory_stays_bounded(line: Line) -> None:
    began = time.monotonic()
    for _ in range(20_000):
        line.writer.write("x" * 2000, frame=True)
    assert time.monotonic() - began < 2
    assert line.writer.waiting_bytes <= WAITING_BYTES
    for _ in range(2_000):
        line.writer.write("y" * 2000, frame=False)
    assert line.writer.waiting_bytes <= ONCE_BYTES
    before = line.writer.waiting_bytes
    line.writer.write("[a mode]", frame=False)
    assert line.writer.waiting_bytes == before + len("[a mode]")
    for _ in range(100_000):
        line.writer.write("[a mode]", frame=False)
    assert line.writer.waiting_bytes <= ONCE_BYTES + WAITING_BYTES


def test_when_it_reads_again_what_was_said_once_is_there_and_one_repaint_is_asked_for(line: Line) -> None:
    for number in range(200):
        line.writer.write(f"[frame {number}]" + "x" * 2000, frame=True)
        if number % 20 == 0:
            line.writer.write(f"[once {number}]", frame=False)
    read = line.read()
    assert line.caught_up.wait(2)
    assert [number for number in range(0, 200, 20) if f"[once {number}]".encode() in read] == list(range(0, 200, 20))
    assert read.count(b"[frame") < 200
    assert line.repaints == 1
    line.writer.write("[the newest]", frame=True)
    assert line.read() == b"[the newest]"


def test_no_frame_is_cut_in_its_middle(line: Line) -> None:
    for _ in range(100):
        line.writer.write("<" + "x" * 3000 + ">", frame=True)
    read = line.read()
    assert read.startswith(b"<")
    assert read.endswith(b">")
    assert read == b"<" + b"x" * 3000 + b">" + read[3002:]
    assert read.count(b"<") == read.count(b">") == len(read) // 3002


def test_a_terminal_that_goes_is_told_of_once_and_writing_goes_on_into_nothing(line: Line) -> None:
    line.writer.write("x" * 50_000, frame=True)
    os.close(line.far)
    assert line.lost.wait(2)
    for _ in range(100):
        line.writer.write("y" * 2000, frame=False)
    assert not line.writer.stop()


def test_the_end_waits_for_what_is_read_and_not_for_a_terminal_that_reads_nothing(line: Line) -> None:
    line.writer.write("goodbye", frame=False)
    assert line.writer.stop()
    assert line.read() == b"goodbye"
    stuck = Line()
    stuck.writer.write("x" * 60_000, frame=True)
    began = time.monotonic()
    assert not stuck.writer.stop(0.1)
    assert time.monotonic() - began < 1
    os.close(stuck.far)
    os.close(stuck.near)


def test_at_the_end_of_a_stalled_line_the_terminal_is_still_told_what_gives_it_back(line: Line) -> None:
    line.writer.write("x" * 60_000, frame=True)
    line.writer.write("[give back]", frame=False)
    assert not line.writer.stop(0.1)
    read = line.read()
    assert read.endswith(b"\x18[give back]")
    assert len(read) < 60_000


@pytest.mark.parametrize("size", [WAITING_BYTES + 1, ONCE_BYTES + 1])
def test_a_frame_larger_than_what_may_wait_is_written_when_nothing_waits(line: Line, size: int) -> None:
    line.writer.write("x" * size, frame=True)
    assert len(line.read()) == size
    assert line.repaints == 0
