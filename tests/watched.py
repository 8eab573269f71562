"""The program in a pseudo-terminal, watched with a clock: what it writes and when, and what CPU time it takes.

The terminal answers what today's terminals answer: whether it can show a frame at once, that it is well, and where its
cursor is.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import sys
import threading
import time
import tty
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pexpect
import pyte

from tests.throttled import Line, Pump

_PRIVATE = re.compile(rb"\x1b\[[<>=?][0-9;$]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p")
_ROOT = Path(__file__).resolve().parent.parent
_QUESTIONS = re.compile(rb"\x1b\[\?2026\$p|\x1b\[[56]n")
_ANSWERS = {b"\x1b[?2026$p": b"\x1b[?2026;2$y", b"\x1b[5n": b"\x1b[0n", b"\x1b[6n": b"\x1b[1;1R"}


class Watched:
    """One program in one terminal. All times are of the monotonic clock."""

    def __init__(self, child: Any, width: int, height: int, line: Line | None = None) -> None:
        self._child = child
        self._master: int = child.child_fd if line is None else _behind(line, child.child_fd)
        self._picture = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self._picture)
        self._drawn = 0
        self._pieces: list[tuple[float, bytes]] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        pid: int = self._child.pid
        return pid

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its threads, to the nanosecond.

        https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html
        """
        return time.clock_gettime((~self.pid << 3) | 2)

    def wakes(self) -> int:
        """Return how often its threads have been woken up to now, those that are still there."""
        found = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                rows = (task / "status").read_text().splitlines()
                found += sum(int(row.split()[1]) for row in rows if row.startswith("voluntary_ctxt_switches"))
        return found

    def type(self, text: str) -> float:
        """Send keys; return when."""
        now = time.monotonic()
        os.write(self._master, text.encode())
        return now

    def sent(self, since: float = 0.0, until: float = float("inf")) -> bytes:
        """Return what was written after one time and up to another."""
        with self._changed:
            return b"".join(data for at, data in self._pieces if since < at <= until)

    def text(self) -> str:
        """Return what the terminal shows."""
        with self._changed:
            fresh, self._drawn = self._pieces[self._drawn :], len(self._pieces)
        # The emulator does not know these private sequences of today's terminals.
        self._stream.feed(_PRIVATE.sub(b"", b"".join(data for _, data in fresh)))
        return "\n".join(line.rstrip() for line in self._picture.display)

    def cells(self) -> list[list[tuple[str, str, str]]]:
        """Return the characters of the terminal, with colour and background."""
        self.text()
        columns = range(self._picture.columns)
        rows = [[self._picture.buffer[y][x] for x in columns] for y in range(self._picture.lines)]
        return [[(cell.data, "" if cell.data == " " else cell.fg, cell.bg) for cell in row] for row in rows]

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size, and let the program draw in it."""
        self.text()
        self._picture.resize(height, width)
        self._child.setwinsize(height, width)
        time.sleep(0.5)
        self.text()

    def until(self, pattern: str, seconds: float = 30.0) -> str:
        """Wait until the terminal shows this; return all that it shows."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, shown := self.text()):
            assert time.monotonic() < deadline, f"{pattern!r} did not come in {seconds} s:\n{shown}"
            time.sleep(0.05)
        return shown

    def see(self, text: str, since: float = 0.0, seconds: float = 30.0) -> float:
        """Wait for bytes that were written after `since`, in one piece with what came before; return when they came."""
        wanted, found, deadline = text.encode(), b"", time.monotonic() + seconds
        with self._changed:
            at = 0
            while True:
                while at < len(self._pieces):
                    came, data = self._pieces[at]
                    at += 1
                    if came > since:
                        found = found[-4096:] + data
                        if wanted in found:
                            return came
                left = deadline - time.monotonic()
                assert left > 0, f"{text!r} did not come in {seconds} s: {found[-2000:]!r}"
                self._changed.wait(left)

    def leave(self) -> None:
        """End it as its user would, or else by force."""
        with contextlib.suppress(OSError):
            os.write(self._master, b"\x11")
        deadline = time.monotonic() + 5
        while self._child.isalive() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._child.close(force=True)
        self._ended = True
        self._thread.join()

    def _read(self) -> None:
        while True:
            try:
                if not select.select([self._master], [], [], 0.2)[0]:
                    if self._ended:
                        return
                    continue
                data = os.read(self._master, 65536)
            except (OSError, ValueError):
                return
            now = time.monotonic()
            for question in _QUESTIONS.findall(data):
                os.write(self._master, _ANSWERS[question])
            with self._changed:
                self._pieces.append((now, data))
                self._changed.notify_all()


def _behind(line: Line, far: int) -> int:
    """Put a line before the terminal of a program; return its near end."""
    near, end = pty.openpty()
    tty.setraw(end)
    threading.Thread(target=Pump(end, end, far, line).run, daemon=True).start()
    return near


@contextlib.contextmanager
def watched(
    *arguments: str,
    width: int,
    height: int,
    environment: Mapping[str, str] | None = None,
    line: Line | None = None,
) -> Iterator[Watched]:
    """Run the program in a terminal of this size and these variables, over SSH as it seems to it.

    The terminal is at the other end of a slow `line` if one is given.
    """
    over = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}
    variables = {**os.environ, "PYTHONPATH": str(_ROOT), **over, **(environment or {})}
    command = ["-P", "-m", "tui", *arguments]
    child = pexpect.spawn(sys.executable, command, env=variables, dimensions=(height, width))
    terminal = Watched(child, width, height, line)
    try:
        yield terminal
    finally:
        terminal.leave()
