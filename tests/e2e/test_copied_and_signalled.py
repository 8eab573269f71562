"""What goes to the terminal besides the picture: the clipboard, through a real tmux too, the bell, the title."""

from __future__ import annotations

import base64
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.e2e.conftest import Terminal
from tui.line import clipboard, outlet, profile, signals

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux here")
CODE = (
    "See [the page](https://example.org/a) or <https://example.org/b>: two ways\n\n"
    "```python\nif x:\n\tprint(1)\n```\n\nor\n\n```sh\necho 2\n```\n"
)


def clipped(raw: str) -> list[str]:
    """What a terminal was told to put into its clipboard."""
    return [base64.b64decode(text).decode() for text in re.findall(r"\x1b\]52;c?;([A-Za-z0-9+/=]*)(?:\a|\x1b\\)", raw)]


def settings(text: str) -> None:
    folder = Path(os.environ["DEEPSEEK_TUI_HOME"]) / "config"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(text)


def test_c_and_its_sisters_copy_the_source_of_a_message_its_code_and_all(
    terminal: Callable[..., Terminal], echo: Callable[..., None]
) -> None:
    echo(text=CODE)
    screen = terminal("-p", "demo")
    screen.see("Ask anything|demo|Demo")
    screen.ask("show **me**")
    screen.see("echo 2")
    screen.see(r"the page \(https://example.org/a\)")
    screen.press("tab", "tab", "tab")
    screen.press("c")
    screen.see("The message: sent to the terminal's clipboard")
    screen.press("C")
    screen.see(r"Code, 2 lines \(1 of 2")
    screen.press("C")
    screen.see(r"Code, 1 line \(2 of 2")
    screen.press("Y")
    screen.see("The chat: sent")
    message, first, second, whole = clipped(screen.raw)
    assert message.strip() == CODE.strip()
    assert (first, second) == ("if x:\n\tprint(1)", "echo 2")
    assert whole.startswith("# show")
    assert "---\n" not in whole[:4]
    assert "print(1)" in whole
    assert "\x1b]8" not in screen.raw  # An address is shown, and is no link.
    screen.leave()


def test_the_title_is_that_of_the_chat_once_and_the_old_one_comes_back(
    terminal: Callable[..., Terminal], echo: Callable[..., None]
) -> None:
    echo(text="yes " * 40, tokens_per_second=40)
    screen = terminal("-p", "demo")
    screen.ask("a;b \\u202e?")
    screen.see("(yes ){5}")
    screen.see("✓|saved|yes yes")
    screen.read(1.5)
    screen.leave()
    titles = re.findall(r"\x1b\]2;([^\a]*)\a", screen.raw)
    assert [title for title, _ in itertools.groupby(titles)] == titles
    assert titles[-1].startswith("a,b")
    assert len(titles) <= 3
    assert screen.raw.count("\x1b[22;0t") == screen.raw.count("\x1b[23;0t") == 1
    assert screen.raw.index("\x1b[22;0t") < screen.raw.index("\x1b]2;")


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM])
def test_the_old_title_comes_back_however_the_program_is_ended(
    terminal: Callable[..., Terminal], echo: Callable[..., None], how: int
) -> None:
    echo(text="yes")
    screen = terminal("-p", "demo")
    screen.see("Ask anything")
    screen.child.kill(how)
    screen.ended()
    assert screen.raw.count("\x1b[22;0t") == screen.raw.count("\x1b[23;0t") == 1


@pytest.mark.parametrize(("done", "sequence"), [("bell", "\a"), ("osc777", "\x1b]777;notify;deepseek-tui;")])
def test_who_looks_elsewhere_is_told_of_the_end_and_who_looks_is_not(
    terminal: Callable[..., Terminal], echo: Callable[..., None], done: str, sequence: str
) -> None:
    settings(f'done = "{done}"\nwindow_title = false\n')
    echo(text="yes indeed it is so and no other", tokens_per_second=16)
    screen = terminal("-p", "demo")
    screen.ask("one")
    screen.see("no other")
    screen.read(0.5)
    told = screen.raw
    assert "\a" not in told
    screen.ask("two")
    screen.type("\x1b[O")  # The terminal has lost the focus.
    screen.see("no other[\\s\\S]*no other")
    screen.read(0.5)
    after = screen.raw[len(told) :]
    assert sequence in after
    assert after.count("\a") == 1
    assert "\x1b]2;" not in screen.raw  # The settings want no title.
    assert ";0t" not in screen.raw
    screen.leave()


@needs_tmux
@pytest.mark.parametrize("passing", ["on", "off"])
@pytest.mark.parametrize("setting", ["on", "external", "off"])
def test_through_a_tmux_the_text_comes_to_the_terminal_however_that_is_configured(
    tmux: Tmux, monkeypatch: pytest.MonkeyPatch, setting: str, passing: str
) -> None:
    tmux("set", "-s", "set-clipboard", setting)
    tmux("set", "-g", "allow-passthrough", passing)
    tmux.inside(monkeypatch)
    text = "π\n\tif"
    said = clipboard.deliver(text)
    assert "clipboard" in said
    tmux.until(lambda: clipped(tmux.outer) == [text])
    if setting == "on" or passing == "off":
        assert tmux("show-buffer") == text
    else:
        assert "through tmux" in said


@needs_tmux
def test_a_text_too_large_for_a_terminal_is_in_tmux(tmux: Tmux, monkeypatch: pytest.MonkeyPatch) -> None:
    tmux.inside(monkeypatch)
    text = "0123456789" * 8000
    assert "tmux has it" in clipboard.deliver(text)
    assert tmux("show-buffer") == text
    time.sleep(0.2)
    assert clipped(tmux.read()) == []


@needs_tmux
def test_through_a_tmux_a_message_comes_to_the_terminal_or_a_bell_where_it_would_be_kept_back(
    tmux: Tmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmux.inside(monkeypatch)
    signals.choose("osc9", title=False)
    message = "\x1b]9;done\a"
    for passing, window, told in (("off", "", "\a"), ("on", "", message), ("on", "another", "\a")):
        tmux("set", "-g", "allow-passthrough", passing)
        if window:
            tmux("new-window", "sleep 60")
        tmux.read()
        before = len(tmux.outer)
        signals.ended("done", 11.0, looking=True)
        tmux.until(lambda before=before: "\a" in tmux.outer[before:])
        assert (message in tmux.outer[before:]) == (told == message)


class Tmux:
    """A tmux of its own with one pane, in a terminal whose output is `outer`."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        environment = {name: value for name, value in os.environ.items() if name not in {"TMUX", "TMUX_PANE"}}
        arguments = ["-L", socket, "-f", os.devnull, "new-session", "sleep 60"]
        self.child = pexpect.spawn(
            "tmux", arguments, env=environment | {"TERM": "xterm-256color"}, encoding="utf-8", codec_errors="replace",
            dimensions=(24, 80), timeout=10,
        )  # fmt: skip
        self.outer = ""
        self.until(lambda: self("display", "-p", "#{session_attached}").strip() == "1")
        self.pane = self("display", "-p", "#{pane_tty}").strip()

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(["tmux", "-L", self._socket, *arguments], capture_output=True, text=True, check=False)
        return done.stdout

    def inside(self, patch: pytest.MonkeyPatch) -> None:
        """Be a program in the pane."""
        patch.setenv("TMUX", self("display", "-p", "#{socket_path},#{pid},0").strip())
        patch.setenv("TMUX_PANE", self("display", "-p", "#{pane_id}").strip())
        terminal = Path(self.pane).open("w", encoding="utf-8")  # noqa: SIM115 - closed with the process
        outlet.to(lambda text: (terminal.write(text), terminal.flush()))

    def read(self) -> str:
        for _ in range(20):
            try:
                self.outer += self.child.read_nonblocking(65536, 0.02)
            except (pexpect.TIMEOUT, pexpect.EOF):
                break
        return self.outer

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < deadline, self.outer[-500:]
            self.read()


@pytest.fixture
def tmux(home: Path) -> Iterator[Tmux]:
    profile.choose(None)
    one = Tmux(f"deepseek-test-{os.getpid()}")
    yield one
    outlet.to(None)
    signals.choose("off", title=True)
    one("kill-server")
    one.child.close()
