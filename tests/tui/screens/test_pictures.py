"""Pictures of every screen and state. Look at a changed one before you accept it: see README, "Pictures"."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backends.errors import ErrorInfo
from backends.events import Done, PromptProgress, Reasoning, Text, Timings, Usage
from backends.hardware.gpu import Gpu, GpuReading
from backends.hardware.sampler import GpuSampler, Sample
from backends.host import launch, spool
from backends.host.wire import Failed, Record
from tui.app import DeepseekApp
from tui.chat.answer import Answer, fold
from tui.chat.store import Asked, Store, new_id
from tui.screens.chat import ChatScreen
from tui.screens.chat.start import Wish

NOW = 1_772_485_500.0  # 2026-03-02 21:05 UTC
BOTH = pytest.mark.parametrize("size", [(120, 34), (80, 24)], ids=["120x34", "80x24"])
ANSWER = """Every generated token reads **all the weights** once. At `8.99 GB` and 448 GB/s that is the limit:

```python
def tokens_per_second(bandwidth, bytes_per_token):
    return bandwidth / bytes_per_token
```

1. The weights: 8.99 GB
2. The KV cache: 816 MiB at 8k

| preset | layers | tok/s |
|---|---|---|
| 14B Q3_K_S | 48/48 | 24 |
| 32B mixed | 31/64 | 3 |

> A smaller quantisation wholly on the card beats a larger one split.
"""
THOUGHT = (
    "So the user asks why decode is bound by memory. Each token needs every weight once, and there is no reuse. " * 4
)


@pytest.fixture(autouse=True)
def _one_moment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same time, card and presets in every picture."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(Answer, "_now", lambda answer: answer.last_s)
    monkeypatch.setattr(GpuSampler, "latest", lambda _sampler: None)
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    for slot, name, options in ((5, "demo", ""), (6, "slow", "load_s = 100000\n")):
        (folder / f"{name}.toml").write_text(
            f'title = "{name.title()}"\nslot = {slot}\nbackend = "echo"\nkeep_alive_s = 0.1\n[model]\nfamily = "echo"\n'
            f'quantization = "none"\n[backends.echo]\nsource = "server:{name}"\n{options}'
        )


def said(*answers: tuple[str, list[object]]) -> None:
    """Put one chat into the store: questions with the events that answer them."""
    store, conversation = Store(), None
    for question, events in answers:
        answer = new_id()
        row = store.begin(answer, Asked("14b-q3_k_s-offload", "llama_cpp", "x"), question, conversation)
        conversation = row.conversation
        store.finish(answer, fold(Record(answer, n, float(n), event) for n, event in enumerate(events)))
    store.close()


USAGE = Usage(812, 0, 812, 1200)
WHOLE = [Reasoning(THOUGHT, 812), Text(ANSWER, 388), Done("stop", USAGE, Timings(0.5, 1.2, 50.0, 23.6))]

Steps = Callable[[Pilot[None]], Awaitable[None]]


def picture(snap_compare, size: tuple[int, int], *steps: Steps | str, preset: str = "demo", theme: str = "") -> None:
    """Compare the screen after `steps`: keys to press, or functions of the pilot."""

    async def before(pilot: Pilot[None]) -> None:
        await settled(pilot)
        for step in steps:
            if isinstance(step, str):
                await pilot.press(step)
            else:
                await step(pilot)
        await pilot.pause()

    assert snap_compare(DeepseekApp(Wish(preset=preset), theme), terminal_size=size, run_before=before)


async def settled(pilot: Pilot[None]) -> None:
    """Wait until everything is open and the model of `demo` is loaded, or that of `slow` is loading."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        await pilot.pause(0.05)
        screen = pilot.app.screen_stack[-1]
        session = getattr(screen, "_session", None)
        status = session.status if session is not None else None
        loaded = status is not None and (status.phase != "loading" or status.load is not None)
        if session is not None and session.step is None and (loaded or session.busy):
            await pilot.pause(0.1)
            return
    raise AssertionError("the screen did not come to rest")


def chat_screen(pilot: Pilot[None]) -> ChatScreen:
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    return screen


@BOTH
def test_an_empty_chat(snap_compare, size) -> None:
    picture(snap_compare, size)


@BOTH
def test_a_conversation_with_a_folded_thought(snap_compare, size) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    picture(snap_compare, size)


@BOTH
def test_an_unfolded_thought(snap_compare, size) -> None:
    said(("Why?", [Reasoning(THOUGHT, 80), Text("Because.", 2), Done("stop", USAGE)]))
    picture(snap_compare, size, "ctrl+t")


@BOTH
def test_a_thought_as_it_grows(snap_compare, size) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    answer = new_id()
    descriptor = spool.create(answer)
    store = Store()
    store.begin(answer, Asked("demo", "echo", "x"), "And the KV cache?", store.conversations()[0].id)
    store.close()

    async def think(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        assert session.answer is not None
        session.answer.take(Record(answer, 0, 0.0, PromptProgress(900, 900, 800)))
        for number in range(1, 120):
            session.answer.take(Record(answer, number, number / 23.6, Reasoning(f"thought {number} ", 1)))
        screen._tick()
        screen._show_lines()

    try:
        picture(snap_compare, size, think)
    finally:
        os.close(descriptor)


@BOTH
def test_a_model_on_its_way(snap_compare, size, home: Path) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    picture(snap_compare, size, preset="slow")
    for lock in (home / "state" / "hosts").glob("*/lock"):
        os.kill(int(lock.read_text()), signal.SIGKILL)  # It would load for a day.


@BOTH
def test_waiting_in_line_behind_another_answer(snap_compare, size) -> None:
    async def wait(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        assert screen._session is not None
        screen._session.step = launch.Waiting("8B Q4_K_M", "decode")
        screen._show_lines()

    picture(snap_compare, size, wait)


@BOTH
def test_answers_that_ended_badly(snap_compare, size) -> None:
    died = ErrorInfo(
        "engine_died", "14B Q3_K_S: its process ended while answering", "Killed or crashed without a word."
    )
    memory = ErrorInfo("out_of_memory", "Too little memory", "Needs 6.9 GB, free 6.1 GB.", "Close something.")
    said(
        ("A killed one", [Text("Half a sen", 3), Failed(died)]),
        ("One without memory", [Failed(memory)]),
        ("A stopped one", [Text("I was about to", 4), Done("stopped")]),
        ("A full one", [Text("And then the context was", 5), Done("context")]),
        ("One from a lost host", [Text("Nobody saw my", 3)]),
    )
    picture(snap_compare, size)


@BOTH
def test_a_preset_that_is_not_here(snap_compare, size) -> None:
    picture(snap_compare, size, "f3")


@BOTH
def test_hostile_text(snap_compare, size) -> None:
    hostile = "[/x] [bold]no[/] \x1b[31mred \x1b]52;c;aGk=\x07 left\u202eright nul\x00 <script>x</script>"
    said((hostile, [Reasoning(hostile, 3), Text(hostile, 3), Done("stop", USAGE)]))
    picture(snap_compare, size)


@BOTH
def test_the_help(snap_compare, size) -> None:
    picture(snap_compare, size, "f1")


@BOTH
def test_a_card(snap_compare, size, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(0, "RTX 3070", 8_000_000_000, 7_300_000_000, 700_000_000, 6_900_000_000)
    monkeypatch.setattr(GpuSampler, "latest", lambda _sampler: Sample(GpuReading((gpu,)), 0.1))
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    picture(snap_compare, size)


def test_the_sidebar_unfolded_on_a_narrow_terminal(snap_compare) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    picture(snap_compare, (80, 24), "ctrl+l")


def test_a_tiny_terminal(snap_compare) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    picture(snap_compare, (40, 10))


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark"])
def test_other_colours(snap_compare, theme: str) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    picture(snap_compare, (120, 34), theme=theme)


def test_the_words_of_a_message_have_no_control_characters_left() -> None:
    """The pictures cannot show what a terminal would obey, so this looks at the characters."""
    said(("x", [Text("\x1b]52;c;aGk=\x07\u202e\x00", 3), Done("stop", USAGE)]))

    async def look() -> str:
        app = DeepseekApp(Wish(preset="demo"))
        async with app.run_test(size=(100, 30)) as pilot:
            await settled(pilot)
            return app.export_screenshot()

    svg = asyncio.run(look())
    assert not any(character in svg for character in "\x1b\x07\u202e\x00")
