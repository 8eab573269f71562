"""A slow line: a program in a pseudo-terminal behind so many bytes a second, a delay each way, and a bounded buffer.

By hand, in your own terminal, the program or any other command; 64 kbit/s and 300 ms there and back if nothing is said:

    python -m tests.throttled [--kbit 64] [--delay 150] [--buffer 64] [-- COMMAND…]

What the line takes goes out in order, at its rate, each byte its delay after it was sent. What it has no room for is
not read: the program's own terminal fills up then, as behind an `sshd` whose window is full.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import selectors
import signal
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

PIECE_BYTES = 128
"""A line hands on no more at once: what is drawn comes row by row, as it does over a slow line."""


class Line(msgspec.Struct, frozen=True):
    """One line, the same both ways. `buffer_bytes` may wait before it: that of `sshd` and of the socket."""

    bytes_per_s: float = 8000.0
    delay_s: float = 0.15
    buffer_bytes: int = 64 * 1024


class Way:
    """One direction of a line. It knows no clock: all times are given, and only grow."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._free_at = 0.0
        self._under_way: deque[tuple[float, float, bytes]] = deque()  # When it is sent, when it is there, what.

    def put(self, data: bytes, now: float) -> None:
        """Send data; no more than there is room for."""
        for at in range(0, len(data), PIECE_BYTES):
            piece = data[at : at + PIECE_BYTES]
            self._free_at = max(self._free_at, now) + len(piece) / self._line.bytes_per_s
            self._under_way.append((self._free_at, self._free_at + self._line.delay_s, piece))

    def room(self, now: float) -> int:
        """Return how much more may wait now."""
        waiting = sum(len(piece) for sent, _, piece in self._under_way if sent > now)
        return max(0, self._line.buffer_bytes - waiting)

    def take(self, now: float) -> bytes:
        """Return what has come to the other end by now."""
        come = bytearray()
        while self._under_way and self._under_way[0][1] <= now:
            come += self._under_way.popleft()[2]
        return bytes(come)

    def next_at(self) -> float | None:
        """Return when there is something to be done next, None if nothing is under way."""
        return self._under_way[0][1] if self._under_way else None


class Pump:
    """Carries bytes between a near end (a person's terminal, or a test) and a far one (the program's terminal).

    `far` is the master of the program's pseudo-terminal.
    """

    def __init__(self, near_in: int, near_out: int, far: int, line: Line) -> None:
        self._near_in, self._near_out, self._far = near_in, near_out, far
        self._to_program, self._to_person = Way(line), Way(line)
        self.ended = False

    def run(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Carry until one of the ends closes and all that was sent has come."""
        ways = ((self._near_in, self._far, self._to_program), (self._far, self._near_out, self._to_person))
        open_ends = {self._near_in, self._far}
        while self._far in open_ends or self._to_person.next_at() is not None:
            now = clock()
            with selectors.DefaultSelector() as selector:
                for source, _, way in ways:
                    if source in open_ends and way.room(now) > 0:
                        selector.register(source, selectors.EVENT_READ, way)
                times = [at for _, _, way in ways if (at := way.next_at()) is not None]
                wait_s = min([0.1, *(max(0.0, at - now) for at in times)])
                for key, _ in selector.select(wait_s):
                    way: Way = key.data
                    try:
                        data = os.read(key.fd, min(4096, way.room(clock())))
                    except OSError:
                        data = b""
                    if data:
                        way.put(data, clock())
                    else:
                        open_ends.discard(key.fd)
            for _, target, way in ways:
                with contextlib.suppress(OSError):
                    _write_all(target, way.take(clock()))
            if self._near_in not in open_ends and self._to_program.next_at() is None:
                break  # The person has hung up.
        self.ended = True


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def by_hand(command: Sequence[str], line: Line) -> int:
    """Run a command behind a line for the terminal of this process; return its exit status."""
    import pexpect

    size = os.get_terminal_size()
    environment = {**os.environ, "SSH_CONNECTION": os.environ.get("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")}
    child = pexpect.spawn(command[0], list(command[1:]), env=environment, dimensions=(size.lines, size.columns))

    def resize(*_: object) -> None:
        child.setwinsize(*reversed(os.get_terminal_size()))

    signal.signal(signal.SIGWINCH, resize)
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) & ~os.O_NONBLOCK)
        Pump(0, 1, child.child_fd, line).run()
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        child.close()
    return child.exitstatus or 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kbit", type=float, default=64, help="kilobits a second")
    parser.add_argument("--delay", type=float, default=150, help="milliseconds each way")
    parser.add_argument("--buffer", type=float, default=64, help="kilobytes that may wait before the line")
    parser.add_argument("command", nargs="*", default=[sys.executable, "-P", "-m", "tui"])
    options = parser.parse_args()
    line = Line(options.kbit * 1000 / 8, options.delay / 1000, int(options.buffer * 1024))
    return by_hand(options.command, line)


if __name__ == "__main__":
    sys.exit(main())
