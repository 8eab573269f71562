"""A screen that shows a fetch stays light: little over the line, and little of the processor."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tui.fetches import Job, progress, spec_of

if TYPE_CHECKING:
    from tests.e2e.conftest import Terminal

LINE_BYTES_PER_S = 1_000
CPU = 0.05
SECONDS = 3.0
SIZE, RATE = 6_700_000_000, 42e6


@pytest.fixture
def fetch(home: Path) -> Iterator[None]:
    """A fetch of the preset on F3 that tells four times a second how far it is, as a job does."""
    job, over = Job(spec_of("14b-q3_k_s-offload"), progress()), threading.Event()

    def tell() -> None:
        done = 1_000_000_000
        while not over.wait(0.25):
            done += int(RATE / 4)
            left = (SIZE - done) / RATE
            job.tell(progress(done_bytes=done, bytes_per_s=RATE, left_s=left, updated_at=done / RATE))

    thread = threading.Thread(target=tell)
    thread.start()
    yield
    over.set()
    thread.join()
    job.let_go()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def light(screen: Terminal) -> None:
    """Assert that the screen is light for some seconds."""
    screen.read(1)
    before, began = len(screen.raw), cpu_s(screen.child.pid)
    screen.read(SECONDS)
    rate = len(screen.raw[before:].encode()) / SECONDS
    share = (cpu_s(screen.child.pid) - began) / SECONDS
    print(f"{rate:,.0f} bytes/s, {share:.1%} of a core")
    assert rate <= LINE_BYTES_PER_S
    assert share <= CPU


def test_a_screen_that_shows_a_fetch_is_light_in_the_chat_and_in_a_view(terminal, echo, fetch: None) -> None:
    echo(text="hello")
    screen = terminal("-p", "demo")
    screen.see("Demo · echo │")
    screen.see(r"▼ 14B Q3_K_S \+ offload \d\.\d/6\.7 GB · 42 MB/s")
    light(screen)
    screen.press("f8")
    screen.see(r"(?s)The plan.*▼ 14B Q3_K_S \+ offload \d\.\d/6\.7 GB · 42 MB/s")
    light(screen)
