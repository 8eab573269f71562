"""Pictures of what a chat asks of its model, and of the chat that asks so. See README, "Pictures"."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from tests.gguf_files import QWEN_14B, sparse_model
from tests.tui.screens.conftest import BOTH, chat_screen, picture
from tui.chat.asking import Asking
from tui.screens.asking import AskingScreen
from tui.screens.figures.screen import FiguresScreen

ASKED = Asking("Answer in one sentence, in the language of the question.", temperature=0.2, seed=7)


@pytest.fixture(autouse=True)
def _mine(home: Path) -> None:
    """A 14B of the user's, of its true size."""
    file = sparse_model(home / "14b.gguf", QWEN_14B, "Q4_K_M", small_vocabulary=True)
    (home / "config" / "presets" / "mine.toml").write_text(
        'title = "14B of mine"\nslot = 2\nbackend = "llama_cpp"\ncontext = 8192\n'
        '[model]\nfamily = "DeepSeek-R1-Distill-Qwen-14B"\nquantization = "Q4_K_M"\n'
        f'[backends.llama_cpp]\nsource = "file:{file}"\n'
    )


async def chosen(pilot: Pilot[None]) -> None:
    """Have the 14B answer, without loading it."""
    screen = chat_screen(pilot)
    assert screen._session is not None
    screen._session.target = screen._presets.target("mine")


async def opened(pilot: Pilot[None]) -> None:
    await pilot.press("f10")
    while not isinstance(pilot.app.screen, AskingScreen):
        await pilot.pause(0.02)
    for field in pilot.app.screen.query(Input):
        field.cursor_blink = False
    await pilot.pause(0.05)


def typed(**values: str):
    async def step(pilot: Pilot[None]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, AskingScreen)
        for key, text in values.items():
            control = screen._controls[key]
            control.focus()
            if isinstance(control, TextArea):
                control.text = text
            else:
                control.value = text
        await pilot.pause(0.05)
        while screen._planned[1] == "…":
            await pilot.pause(0.02)

    return step


async def asks(pilot: Pilot[None]) -> None:
    screen = chat_screen(pilot)
    assert screen._session is not None
    await screen._session.ask_so(ASKED)
    await pilot.pause(0.05)


async def figures(pilot: Pilot[None]) -> None:
    while not isinstance(pilot.app.screen, FiguresScreen):
        await pilot.pause(0.02)
    await pilot.press("pagedown", "pagedown")


@BOTH
def test_a_chat_that_asks_as_its_preset_does(snap_compare, size) -> None:
    picture(snap_compare, size, chosen, opened)


@BOTH
def test_a_chat_that_asks_otherwise(snap_compare, size) -> None:
    picture(snap_compare, size, chosen, opened, typed(system=ASKED.system, temperature="0.2", context="16384"))


@BOTH
def test_what_cannot_be_asked(snap_compare, size) -> None:
    picture(snap_compare, size, chosen, opened, typed(top_p="1.5", seed="many"))


@BOTH
def test_the_mark_in_the_title(snap_compare, size) -> None:
    picture(snap_compare, size, asks)


@BOTH
def test_the_figures_explain_it(snap_compare, size) -> None:
    picture(snap_compare, size, asks, "f9", figures)
