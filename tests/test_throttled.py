"""The slow line that others are tested behind: its rate, its delay, its bounded buffer."""

from __future__ import annotations

import os
import pty
import threading
import time
import tty

from hypothesis import given
from hypothesis import strategies as some

from tests.throttled import PIECE_BYTES, Line, Pump, Way

LINE = Line(bytes_per_s=1000.0, delay_s=0.2, buffer_bytes=600)


def test_a_byte_comes_its_share_of_the_rate_and_the_delay_after_it_was_sent() -> None:
    way = Way(LINE)
    way.put(b"x" * 100, now=10.0)
    assert way.next_at() == 10.0 + 0.1 + 0.2
    assert way.take(10.29) == b""
    assert way.take(10.31) == b"x" * 100
    assert way.next_at() is None


def test_what_is_sent_while_others_wait_comes_after_them_and_not_sooner_than_the_rate_allows() -> None:
    way = Way(LINE)
    way.put(b"a" * 500, now=0.0)
    way.put(b"b" * 100, now=0.1)
    assert way.take(0.65) == b"a" * 384, "three pieces of 128 bytes, at 1,000 bytes a second"
    assert way.take(0.81) == b"a" * 116 + b"b" * 100


def test_there_is_room_again_as_soon_as_the_line_has_taken_something_though_it_has_not_come_yet() -> None:
    way = Way(LINE)
    way.put(b"x" * 600, now=0.0)
    assert way.room(0.0) == 0
    assert way.room(0.13) == PIECE_BYTES
    assert way.take(0.13) == b""
    assert way.room(5.0) == 600


@given(some.lists(some.tuples(some.binary(max_size=700), some.floats(0, 1)), max_size=12))
def test_all_that_was_sent_comes_once_and_in_order_and_never_faster_than_the_line(
    sent: list[tuple[bytes, float]],
) -> None:
    way, now, come = Way(LINE), 0.0, bytearray()
    for data, pause in sent:
        now += pause
        way.put(data, now)
        come += way.take(now)
        assert len(come) <= now * LINE.bytes_per_s + 1e-6
    while (at := way.next_at()) is not None:
        come += way.take(at)
        assert len(come) <= at * LINE.bytes_per_s + 1e-6
    assert bytes(come) == b"".join(data for data, _ in sent)


def test_between_two_terminals_it_keeps_its_rate_and_reads_no_more_than_it_has_room_for() -> None:
    near, far = pty.openpty(), pty.openpty()
    for end in (*near, *far):
        tty.setraw(end)
    pump = Pump(near[1], near[1], far[0], Line(bytes_per_s=4000.0, delay_s=0.05, buffer_bytes=1000))
    thread = threading.Thread(target=pump.run, daemon=True)
    thread.start()
    written = 0
    os.set_blocking(far[1], False)
    started = time.monotonic()
    come = 0
    while time.monotonic() - started < 0.6:
        try:
            written += os.write(far[1], b"x" * 4096)
        except BlockingIOError:
            time.sleep(0.01)
        os.set_blocking(near[0], False)
        try:
            come += len(os.read(near[0], 4096))
        except BlockingIOError:
            continue
    assert come <= 4000 * 0.6 + PIECE_BYTES
    assert come >= 1000, "it stands still"
    assert written < 64 * 1024, "it reads what it has no room for"
    for end in (far[1], near[0]):
        os.close(end)
    thread.join(5)
    assert pump.ended
