"""Pictures of every screen and state. Look at a changed one before you accept it: see README, "Pictures"."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backends.errors import ErrorInfo
from backends.events import Done, PromptProgress, Reasoning, Text
from backends.hardware.gpu import Gpu, GpuReading
from backends.hardware.sampler import GpuSampler, Sample
from backends.host import launch, spool
from backends.host.wire import Failed, Record
from tests.tui.screens.conftest import BOTH, THOUGHT, USAGE, WHOLE, chat_screen, picture, said, settled
from tui.app import DeepseekApp
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id
from tui.screens.chat.start import Wish


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
        screen._session._link.step = launch.Waiting("8B Q4_K_M", "decode")
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
