"""Pictures of a preset being edited, and of what is asked then. See README, "Pictures"."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.gguf_files import QWEN_14B, sparse_model
from tests.tui.screens.conftest import BOTH, chat_screen, picture
from tui.screens.preset import PresetScreen


@pytest.fixture(autouse=True)
def _mine(home: Path) -> None:
    """A 14B of the user's, of its true size, that Ollama could run too."""
    file = sparse_model(home / "14b.gguf", QWEN_14B, "Q4_K_M", small_vocabulary=True)
    (home / "config" / "presets" / "mine.toml").write_text(
        'title = "14B of mine"\nslot = 2\nbackend = "llama_cpp"\ncontext = 8192\n'
        '[model]\nfamily = "DeepSeek-R1-Distill-Qwen-14B"\nquantization = "Q4_K_M"\n'
        f'[backends.llama_cpp]\nsource = "file:{file}"\n[backends.ollama]\nsource = "ollama:deepseek-r1:14b"\n'
    )


async def rest(pilot: Pilot[None]) -> None:
    """Wait until what is typed was checked and planned."""
    while not isinstance(pilot.app.screen, PresetScreen):
        await pilot.pause(0.02)
    screen = pilot.app.screen
    await pilot.pause(0.05)
    while not screen._plans.made or any(worker.group == "check" for worker in screen.workers if worker.is_running):
        await pilot.pause(0.02)
    for field in screen.query(Input):
        field.cursor_blink = False
    await pilot.pause(0.05)


def edit(name: str):
    async def step(pilot: Pilot[None]) -> None:
        chat_screen(pilot)._editing.do("edit", name)
        await rest(pilot)

    return step


def typed(field: str, text: str):
    async def step(pilot: Pilot[None]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, PresetScreen)
        control = next(one for key, one in screen._controls.items() if key[-1] == field and one.parent.display)
        control.focus()
        await pilot.press("end", "ctrl+u", *text)
        await rest(pilot)

    return step


async def opened(pilot: Pilot[None]) -> None:
    await pilot.pause(0.2)


@BOTH
def test_a_preset_as_it_is(snap_compare, size) -> None:
    picture(snap_compare, size, edit("mine"))


@BOTH
def test_another_context_and_a_key_that_is_taken(snap_compare, size) -> None:
    picture(snap_compare, size, edit("mine"), "down", "right", "right", typed("context", "32768"))


def test_what_is_wrong(snap_compare) -> None:
    wrong = typed("context", "12"), typed("top_p", "2"), typed("gpu_layers", "al")
    picture(snap_compare, (80, 24), edit("8b-q4_k_m"), *wrong)


def test_one_that_is_in_memory(snap_compare) -> None:
    picture(snap_compare, (80, 24), edit("demo"))


def test_the_name_of_a_copy(snap_compare) -> None:
    async def copy(pilot: Pilot[None]) -> None:
        chat_screen(pilot)._editing.do("copy", "mine")
        await opened(pilot)

    picture(snap_compare, (80, 24), copy, "ctrl+u", *"demo", opened)
