"""How long until the composer takes text, and how much memory the screen holds, beside an empty Textual app.

Run it with `make bench` or `python tests/benchmarks/bench_startup.py [ROUNDS]`. The two are started in turn.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pexpect

EMPTY = """
from textual.app import App
from textual.widgets import TextArea
class Empty(App):
    def compose(self):
        yield TextArea()
Empty().run()
"""
OURS = "from tui.app import run_app; run_app()"
GOAL_RATIO, GOAL_BYTES = 2.0, 70e6


def main(rounds: int) -> None:
    """Start both apps `rounds` times in turn and print medians, the ratio pair by pair, and the goals."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"DEEPSEEK_TUI_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        furnish(Path(home))
        usable(EMPTY, environment), usable(OURS, environment)
        empty, ours = [], []
        for _ in range(rounds):
            empty.append(usable(EMPTY, environment))
            ours.append(usable(OURS, environment))
    ratios = [one[0] / other[0] for one, other in zip(ours, empty, strict=True)]
    for name, runs in (("an empty Textual app", empty), ("deepseek-tui", ours)):
        seconds, memory = [run[0] for run in runs], [run[1] for run in runs]
        print(f"{name:<22} usable after {spread(seconds, 1, 's', 2)}, resident {spread(memory, 1e-6, 'MB', 0)}")
    print(f"ratio, pair by pair: {spread(ratios, 1, '', 2)} (goal: at most {GOAL_RATIO})")
    print(f"resident with a loaded chat: goal at most {GOAL_BYTES / 1e6:.0f} MB")


def usable(code: str, environment: dict[str, str]) -> tuple[float, int]:
    """Return seconds from start until a typed word is echoed, and resident bytes a second later."""
    # Whoever starts it again has what was compiled at the first start.
    environment = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    child = pexpect.spawn(
        sys.executable, ["-P", "-c", code], env=environment, dimensions=(34, 120), encoding="utf-8", timeout=20
    )
    # Typed before the terminal is in raw mode, it would be the terminal's own echo.
    child.expect_exact("\x1b[?1049h")
    child.send("zqx")
    child.expect("z.{0,40}q.{0,40}x")
    seconds = time.perf_counter() - started
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        try:
            child.read_nonblocking(65536, 0.1)
        except pexpect.TIMEOUT:
            continue
    status = Path(f"/proc/{child.pid}/status").read_text()
    resident = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
    child.close(force=True)
    return seconds, resident


def furnish(home: Path) -> None:
    """Put a quick preset and a chat of 200 messages there, so that what is measured shows something."""
    _preset(home)
    _chat(home)


def _preset(home: Path) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "demo.toml").write_text(
        'title = "Demo"\nbackend = "echo"\nkeep_alive_s = 0.5\n[model]\nfamily = "echo"\nquantization = "none"\n'
        '[backends.echo]\nsource = "server:demo"\n'
    )


def _chat(home: Path) -> None:
    from backends.events import Done, Text
    from backends.host.wire import Record
    from tui.chat.answer import fold
    from tui.chat.storing.store import Store
    from tui.chat.storing.stored import Asked, new_id

    text = (
        "Some **bold** words and `code`:\n\n- one\n- two\n\n```python\nprint(1)\n```\n\n" + "A longer paragraph. " * 20
    )
    store = Store(home / "data" / "chats.sqlite3")
    conversation = None
    for number in range(100):
        answer = new_id()
        row = store.begin(answer, Asked("demo", "echo", "demo"), f"Question {number}", conversation)
        conversation = row.conversation
        store.finish(answer, fold([Record(answer, 0, 0.1, Text(text, 100)), Record(answer, 1, 0.2, Done("stop"))]))
    store.close()


def spread(values: list[float] | list[int], scale: float, unit: str, digits: int) -> str:
    """Return median and range of some values."""
    shown = [f"{value * scale:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} {unit}".rstrip() + f" ({shown[1]}–{shown[2]})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
