"""What the screen costs once there is much to show: opening a chat of 5,000 messages, scrolling it, a list of chats.

    python tests/benchmarks/bench_open_chat.py [--messages 20000] [--folder FOLDER] [--repeat 5]

Takes the database that `bench_chats.py` builds, or builds it, and runs the screen without a terminal on a copy of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from textual.pilot import Pilot

from tests.benchmarks.bench_chats import build
from tui.app import DeepseekApp
from tui.chat.searching import search
from tui.chat.storing.store import Store
from tui.chat.storing.stored import new_id
from tui.screens.chat import ChatScreen
from tui.screens.chat.start import Wish
from tui.widgets.chat_list import ChatList
from tui.widgets.transcript import Transcript

CHATS = 10_000
PRESET = """title = "Echo"
backend = "echo"
[model]
family = "echo"
quantization = "none"
[backends.echo]
source = "server:echo"
"""


def prepare(folder: Path, messages: int) -> Path:
    """Return a home with a copy of the database, and with 10,000 chats more."""
    built = folder / "data" / "chats.sqlite3"
    if not built.exists():
        store = Store(built)
        build(store, messages)
        search.catch_up(store, 3600)
        store.close()
    home = Path(tempfile.mkdtemp(prefix="deepseek-tui-bench-open-"))
    (home / "data").mkdir(mode=0o700)
    shutil.copy(built, home / "data" / "chats.sqlite3")
    (home / "config" / "presets").mkdir(parents=True)
    (home / "config" / "presets" / "echo.toml").write_text(PRESET)
    store, now = Store(home / "data" / "chats.sqlite3"), time.time()
    with store.transaction() as db:
        db.executemany(
            "INSERT INTO conversation (id, title, created_at, updated_at) VALUES (?, ?, ?, ?)",
            [(new_id(), f"Chat number {n}", now - n * 600, now - n * 600) for n in range(CHATS)],
        )
    store.close()
    return home


def say(what: str, took: list[float], goal_ms: float | None = None) -> None:
    middle = statistics.median(took) * 1000
    goal = f"≤ {goal_ms:g} ms{'' if middle <= goal_ms else ': MISSED'}" if goal_ms else ""
    print(f"{what:54} {middle:8.1f} ms  ({min(took) * 1000:.1f} to {max(took) * 1000:.1f})  {goal}", flush=True)


def megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def measure(repeat: int) -> None:
    app = DeepseekApp(Wish(preset="echo"))
    async with app.run_test(size=(120, 34)) as pilot:
        await pilot.pause(2)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        session, transcript = screen._session, screen.query_one(Transcript)
        assert session is not None
        ask = "SELECT conversation, count(*) AS many FROM message GROUP BY conversation ORDER BY many DESC LIMIT 2"
        (long, many), (short, _) = [(row["conversation"], row["many"]) for row in session.store.rows(ask)]
        took = []
        for _ in range(repeat):
            await opened(pilot, screen, transcript, short)
            took.append(await opened(pilot, screen, transcript, long))
        say(f"open a chat of {many:,} messages until its end is shown", took, 300)
        again = []
        for _ in range(repeat):
            start = time.perf_counter()
            screen._show_branch(session)
            again.append(time.perf_counter() - start)
        say("look at it again, where nothing has changed", again)
        await scroll(pilot, transcript)
        await list_chats(pilot, screen)


async def opened(pilot: Pilot[None], screen: ChatScreen, transcript: Transcript, chat: str) -> float:
    """Open a chat as Enter in the list does; return the seconds until its last line has been painted."""
    session = screen._session
    assert session is not None
    start = time.perf_counter()
    screen.post_message(ChatList.Opened(chat))
    painted = asyncio.Event()
    while True:
        await asyncio.sleep(0)
        head = session.conversation.head if session.conversation is not None else None
        if session.conversation is not None and session.conversation.id == chat and transcript._column.find(head or ""):
            break
    transcript.call_after_refresh(painted.set)
    await painted.wait()
    end = time.perf_counter() - start
    await pilot.pause(0.3)
    return end


async def scroll(pilot: Pilot[None], transcript: Transcript) -> None:
    transcript.focus()
    await pilot.pause(0.1)
    before, steps, took, most = megabytes(), 0, [], 0
    while transcript.scroll_offset.y > 0 and steps < 3000:
        start = time.perf_counter()
        transcript.action_page(-1)
        await asyncio.sleep(0)
        took.append(time.perf_counter() - start)
        most = max(most, sum(layout.rows is not None for layout in transcript._column.layouts))
        steps += 1
    say(f"a page up, {steps:,} times from the end", took, 16)
    print(
        f"laid out at most {most} of {len(transcript._column.layouts):,} messages; {before:.0f} MB → {megabytes():.0f}"
    )


async def list_chats(pilot: Pilot[None], screen: ChatScreen) -> None:
    chats = screen.query_one(ChatList)
    chats.focus()
    before, took, most = megabytes(), [], 0
    chats.action_first()
    for _ in range(CHATS // 50 + 10):
        start = time.perf_counter()
        chats.action_last()
        await pilot.pause()
        await asyncio.sleep(0.02)
        took.append(time.perf_counter() - start - 0.02)
        most = max(most, chats.option_count)
    page = screen._shelving._page
    say(f"to the end of what is here of {page.listed:,} chats", took)
    print(f"at place {page.offset:,}; at most {most} lines in the list; {before:.0f} MB → {megabytes():.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.gettempdir()) / f"deepseek-tui-bench-{os.getuid()}-{options.messages}"
    home = prepare(folder, options.messages)
    os.environ["DEEPSEEK_TUI_HOME"] = str(home)
    try:
        asyncio.run(measure(options.repeat))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
