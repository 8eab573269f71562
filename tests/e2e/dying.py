"""Programs to be killed: forked from one process that has imported everything, so that each costs a few milliseconds.

`python -m tests.e2e.dying` reads one JSON object a line, forks a process for each and answers with its number. What
such a process does goes into its log: what it saw and when, as a person at the screen would have.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from backends.host import spool
from presets.catalog import load_catalog
from tui import __main__ as program
from tui.chat import recovery
from tui.chat.session import Session
from tui.chat.storing.store import Store
from tui.chat.target import choose
from tui.commands import ask, asking, choice, printing  # noqa: F401 - so that nobody imports them again

SLOW, QUICK = "demo", "quick"


def tell(kind: str, *words: object) -> None:
    print(json.dumps([kind, time.monotonic(), *words]), flush=True)


class Watched:
    """A session that tells what a screen would show."""

    def __init__(self, preset: str) -> None:
        self.store = Store()
        recovery.take_in_all(self.store)
        self._news = asyncio.Event()
        self.session = Session(self.store, self._changed)
        self.session.choose(choose(load_catalog(), preset, None))

    def _changed(self, _change: str) -> None:
        self._news.set()
        session = self.session
        answer, row = session.answer, session.answering
        if row is not None and answer is not None and answer.records and answer.failed is None:
            tell("grown", row.id, len(answer.text))

    async def over(self) -> None:
        while self.session.busy:
            self._news.clear()
            await self._news.wait()
        last = self.session.branch[-1]
        tell("ended", last.id, last.state, last.text)


async def chat(name: str) -> None:
    """Ask and ask; now and then go on with what was cut off, or have it answered anew."""
    chance = random.Random(name)
    watched = Watched(SLOW)
    session = watched.session
    for number in range(100):
        cut = [chat.id for chat in watched.store.conversations() if _cut(watched.store, chat.id)]
        if cut and chance.random() < 0.4:
            await session.open(chance.choice(cut))
            await watched.over()
            question = session.branch[-2].text
            tell("again", question)
            await (session.resume() if chance.random() < 0.5 else session.retry())
            tell("begun again", question)
        else:
            if chance.random() < 0.7:
                await session.new()
            question = f"{name} {number}"
            tell("asking", question)
            await session.send(question)
            tell("asked", question)
        await watched.over()


async def go_on() -> None:
    """Finish what was cut off, alternately by going on and anew, and tell how each chat ends."""
    watched = Watched(QUICK)
    session = watched.session
    for number, each in enumerate(watched.store.conversations(100_000)):
        await session.open(each.id)
        while session.busy:
            await watched.over()
        if session.branch[-1].state == "interrupted":
            await (session.resume() if number % 2 else session.retry())
            await watched.over()
        tell("whole", session.branch[-1].state, session.branch[-1].text)
    await session.leave()


def _cut(store: Store, conversation: str) -> bool:
    branch = store.branch(conversation)
    return bool(branch) and branch[-1].state == "interrupted"


def ask_once(name: str) -> None:
    tell("asking", name)
    program.main(["ask", "-p", SLOW, name])


def look() -> None:
    """Open the conversations as any start does, and tell whether they are sound and what is in them."""
    store = Store()
    running = recovery.take_in_all(store)
    sound = [row[0] for row in store.rows("PRAGMA integrity_check")]
    broken = [tuple(row) for row in store.rows("PRAGMA foreign_key_check")]
    messages = [dict(row) for row in store.rows("SELECT id, parent, role, text, state FROM message")]
    tell("found", sound, broken, messages, running, spool.answers())
    store.close()


WHAT: dict[str, Callable[[str], Any]] = {
    "chat": lambda name: asyncio.run(chat(name)),
    "ask": ask_once,
    "look": lambda _name: look(),
    "go on": lambda _name: asyncio.run(go_on()),
}


def _become(order: dict[str, str]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ["DEEPSEEK_TUI_HOME"] = order["home"]
    log = os.open(order["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    with contextlib.suppress(Exception):
        try:
            WHAT[order["what"]](order["name"])
            status = 0
        except Exception as error:
            tell("error", repr(error))
    os._exit(status)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever dies is gone at once
    for line in sys.stdin.buffer:
        child = os.fork()
        if not child:
            _become(json.loads(line))
        print(child, flush=True)


if __name__ == "__main__":
    main()
