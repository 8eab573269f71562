"""A real terminal: the program under a pseudo-terminal, its output drawn by a terminal emulator."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest

from tests.conftest import processes_of

KEYS = {
    "enter": "\r", "esc": "\x1b", "tab": "\t", "f1": "\x1bOP", "f2": "\x1bOQ", "f3": "\x1bOR", "f4": "\x1bOS",
    "f5": "\x1b[15~", "f6": "\x1b[17~", "f7": "\x1b[18~", "f8": "\x1b[19~", "f9": "\x1b[20~", "end": "\x1b[F",
    "home": "\x1b[H", "up": "\x1b[A", "down": "\x1b[B",
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let nothing run beside a real terminal: it is measured, and watched with a clock."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("alone")


class Terminal:
    """One program in one terminal. `raw` is everything it has written."""

    def __init__(
        self, arguments: list[str], width: int, height: int, environment: dict[str, str], program: str = sys.executable
    ) -> None:
        self.raw = ""
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.Stream(self._screen)
        self.child: Any = pexpect.spawn(
            program, ["-P", "-m", "tui", *arguments], env=os.environ | environment,
            dimensions=(height, width), encoding="utf-8", codec_errors="replace", timeout=20,
        )  # fmt: skip

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    def read(self, seconds: float = 0.05) -> None:
        """Take in what the program writes, for so long."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
                chunk = self.child.read_nonblocking(65536, 0.02)
                self.raw += chunk
                # The emulator does not know these private sequences of today's terminals.
                self._stream.feed(re.sub(r"\x1b\[[<>=?][0-9;$]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p", "", chunk))
            if time.monotonic() >= deadline:
                return

    def see(self, pattern: str, seconds: float = 15.0) -> str:
        """Wait until the screen matches; return its text."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"{pattern!r} did not come in {seconds} s:\n{self.text}"
            self.read()
        return self.text

    def see_gone(self, pattern: str, seconds: float = 15.0) -> None:
        """Wait until the screen matches no more."""
        deadline = time.monotonic() + seconds
        while re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"{pattern!r} did not go in {seconds} s:\n{self.text}"
            self.read()

    def type(self, text: str) -> None:
        # Before the program has taken over the terminal, Enter would arrive as another key.
        while "\x1b[?1049h" not in self.raw and self.child.isalive():
            self.read()
        self.child.send(text)

    def press(self, *keys: str) -> None:
        """Press keys by name; ^x is Ctrl+X."""
        for key in keys:
            self.child.send(chr(ord(key[1]) & 0x1F) if key.startswith("^") else KEYS.get(key, key))
            self.read(0.1)

    def ask(self, text: str) -> None:
        self.type(text)
        self.press("enter")

    def resize(self, width: int, height: int) -> None:
        self.child.setwinsize(height, width)
        self._screen.resize(height, width)
        self.read(0.5)

    def draw_anew(self) -> None:
        """Have all of the screen drawn again, as after a shell that stopped it and let it go on."""
        self.child.kill(signal.SIGTSTP)
        self.read(0.3)
        self._screen.reset()
        self.child.kill(signal.SIGCONT)
        self.read(0.7)

    def ended(self, seconds: float = 5.0) -> int | None:
        """Wait for the program's end; return its exit status, None if it was killed by a signal."""
        deadline = time.monotonic() + seconds
        while self.child.isalive():
            assert time.monotonic() < deadline, f"still running after {seconds} s:\n{self.text}"
            self.read()
        self.read()  # What it said last.
        status: int | None = self.child.exitstatus
        return status

    def cut(self) -> None:
        """Take the terminal away: its other end is closed, as when a line drops or a window is closed."""
        self.child.ptyproc.fileobj.close()
        self.child.closed = self.child.ptyproc.closed = True

    def gone(self, seconds: float = 2.0) -> float:
        """Wait until the program has ended after `cut`; return how long that took."""
        started = time.monotonic()
        while self.child.ptyproc.isalive():
            assert time.monotonic() - started < seconds, f"still there {seconds} s after its terminal"
            time.sleep(0.01)
        return time.monotonic() - started

    def leave(self) -> None:
        self.press("^q")
        self.ended()


@pytest.fixture
def terminal(home: Path) -> Iterator[Callable[..., Terminal]]:
    """Start the program in a terminal of its own; what is still running at the end is hung up on."""
    started: list[Terminal] = []

    def start(
        *arguments: str, width: int = 120, height: int = 34, program: str = sys.executable, **environment: str
    ) -> Terminal:
        started.append(Terminal(list(arguments), width, height, environment, program))
        return started[-1]

    yield start
    for one in started:
        if one.child.isalive():
            one.child.kill(signal.SIGHUP)
            one.child.wait()
    # Not by their locks: a host that was just being started has none yet.
    deadline, own = time.monotonic() + 1.5, Path(os.environ["DEEPSEEK_TUI_HOME"])
    while time.monotonic() < deadline:
        left = [pid for pid, command in processes_of(own).items() if "backends.host" in command]
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)


def host_pids() -> list[int]:
    """Return the host processes of this test's home."""
    pids = []
    for lock in (Path(os.environ["DEEPSEEK_TUI_HOME"]) / "state" / "hosts").glob("*/lock"):
        with contextlib.suppress(ValueError, OSError):
            pid = int(lock.read_text())
            if b"backends.host" in Path(f"/proc/{pid}/cmdline").read_bytes():
                pids.append(pid)
    return pids


@pytest.fixture
def hosts() -> Callable[[], list[int]]:
    return host_pids


@pytest.fixture
def echo(home: Path) -> Callable[..., None]:
    """Write an echo preset: its options as keyword arguments."""

    def write(name: str = "demo", slot: int = 6, title: str = "", **options: Any) -> None:
        folder = Path(os.environ["DEEPSEEK_TUI_HOME"]) / "config" / "presets"
        folder.mkdir(parents=True, exist_ok=True)
        lines = "\n".join(f"{key} = {_toml(value)}" for key, value in options.items())
        (folder / f"{name}.toml").write_text(
            f'title = {_toml(title or name.title())}\nslot = {slot}\nbackend = "echo"\nkeep_alive_s = 20\n'
            '[model]\nfamily = "echo"\nquantization = "none"\n'
            f'[backends.echo]\nsource = "server:{name}"\n{lines}\n'
        )

    return write


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" if c in '"\\' or not c.isprintable() else c for c in value) + '"'
    return str(value)


@pytest.fixture
def end_hosts(home: Path) -> Iterator[Callable[[], None]]:
    """Kill every host of this test's home, when called and in the end."""

    def end() -> None:
        for pid in host_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    yield end
    end()
