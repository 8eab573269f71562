"""Presets edited, duplicated and deleted by their keys in the running screen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from presets.catalog import Catalog, find, load_catalog
from presets.schema import Preset
from presets.writing import Edited
from tests.tui.screens.conftest import chat_screen, settled
from tui.app import DeepseekApp
from tui.chat.session import Session
from tui.screens.chat import ChatScreen
from tui.screens.chat.start import Wish
from tui.screens.preset import NameScreen, PresetScreen
from tui.screens.preset.form import save
from tui.screens.question import QuestionScreen
from tui.widgets.lines import Line
from tui.widgets.sidebar import PresetList
from tui.widgets.transcript import Transcript

Steps = Callable[[Pilot[None], ChatScreen, Session], Awaitable[None]]


@pytest.fixture(autouse=True)
def _a_clock_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", time.monotonic)
    monkeypatch.setattr("tui.screens.chat.editing.LOOK_S", 0.1)


@pytest.fixture(autouse=True)
def folder(home: Path) -> Path:
    """The user's presets; `demo` stays loaded while a test is about it."""
    found = home / "config" / "presets"
    demo = found / "demo.toml"
    demo.write_text(
        demo.read_text().replace("keep_alive_s = 0.1", "keep_alive_s = 1.0").replace("slot = 5", "slot = 1")
    )
    return found


def on_the_screen(steps: Steps) -> None:
    async def run() -> None:
        async with DeepseekApp(Wish(preset="demo")).run_test(size=(120, 34)) as pilot:
            await settled(pilot)
            screen = chat_screen(pilot)
            assert screen._session is not None
            await steps(pilot, screen, screen._session)
            while len(pilot.app.screen_stack) > 2:
                await pilot.press("escape", "enter")
            await pilot.press("ctrl+q")

    asyncio.run(run())


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        await pilot.pause(0.02)


async def in_the_list(pilot: Pilot[None], name: str, key: str, opened: type) -> None:
    """Press a key on a preset of the list, and wait for what it opens."""
    presets = pilot.app.screen.query_one(PresetList)
    presets.focus()
    await pilot.pause()
    presets.highlighted = presets.get_option_index(name)
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, opened))
    await pilot.pause()


async def put(pilot: Pilot[None], field: str, text: str) -> None:
    """Type into a field in place of what it holds."""
    screen = pilot.app.screen
    assert isinstance(screen, PresetScreen)
    next(control for key, control in screen._controls.items() if key[-1] == field).focus()
    await pilot.press("end", "ctrl+u", *text)


def preset(name: str) -> Preset:
    return find(load_catalog(), name).preset


def shown(pilot: Pilot[None]) -> str:
    return "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())


def back(pilot: Pilot[None], screen: ChatScreen) -> Callable[[], bool]:
    return lambda: pilot.app.screen is screen


def test_what_is_typed_is_saved_and_the_sidebar_the_keys_and_the_next_question_follow() -> None:
    async def steps(pilot: Pilot[None], screen: ChatScreen, session: Session) -> None:
        await in_the_list(pilot, "demo", "e", PresetScreen)
        await put(pilot, "title", "Other")
        await pilot.press("down", "left")  # From F2 to no key at all.
        await put(pilot, "temperature", "0.1")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: back(pilot, screen)() and session.target and session.target.title == "Other")
        assert (preset("demo").title, preset("demo").slot, preset("demo").sampling.temperature) == ("Other", None, 0.1)
        assert session.target is not None
        assert session.target.sampling.temperature == 0.1
        assert screen._presets.in_slot(1) == "8b-q4_k_m"
        await until(pilot, lambda: "Other" in shown(pilot))
        assert screen.query_one("#progress", Line).text == "Other is saved"

    on_the_screen(steps)


def test_a_loaded_model_runs_on_until_it_is_chosen_again() -> None:
    async def steps(pilot: Pilot[None], screen: ChatScreen, session: Session) -> None:
        before = session.host_pid
        await in_the_list(pilot, "demo", "e", PresetScreen)
        assert "It is in memory now and runs on as it is" in shown(pilot)
        await put(pilot, "context", "2048")
        await pilot.press("ctrl+s")
        await until(pilot, back(pilot, screen))
        await until(pilot, lambda: "runs on as it was loaded" in screen.query_one("#progress", Line).text)
        assert "F2 loads it anew" in screen.query_one("#progress", Line).text
        await session.send("hello")
        await until(pilot, lambda: not session.busy)
        assert session.host_pid == before
        await pilot.press("f2")
        await until(pilot, lambda: session.status and session.status.loaded and session.status.loaded.context == 2048)
        assert session.host_pid != before

    on_the_screen(steps)


def test_new_settings_hold_once_the_model_is_gone_by_itself() -> None:
    async def steps(pilot: Pilot[None], screen: ChatScreen, session: Session) -> None:
        await in_the_list(pilot, "demo", "e", PresetScreen)
        await put(pilot, "context", "2048")
        await pilot.press("ctrl+s")
        await until(pilot, back(pilot, screen))
        await until(pilot, lambda: screen._editing._waiting is not None)
        await session.unload()
        await until(pilot, lambda: screen._editing._waiting is None)
        assert session.target is not None
        assert session.target.spec.options["context"] == 2048
        assert screen._editing._timer is None
        await in_the_list(pilot, "demo", "e", PresetScreen)
        await put(pilot, "context", "1024")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: session.target is not None and session.target.spec.options["context"] == 1024)

    on_the_screen(steps)


def test_enter_goes_down_to_save_and_saves() -> None:
    async def steps(pilot: Pilot[None], screen: ChatScreen, _session: Session) -> None:
        await in_the_list(pilot, "slow", "e", PresetScreen)
        await put(pilot, "keep_alive_s", "7")
        await pilot.press("enter", "enter")
        await until(pilot, back(pilot, screen))
        assert preset("slow").keep_alive_s == 7

    on_the_screen(steps)


def test_what_is_wrong_is_said_while_typing_and_not_saved() -> None:
    async def steps(pilot: Pilot[None], _screen: ChatScreen, _session: Session) -> None:
        await in_the_list(pilot, "slow", "e", PresetScreen)
        await put(pilot, "context", "12")
        await until(pilot, lambda: "context: expected a whole number >= 256" in shown(pilot))
        await put(pilot, "top_p", "0.5")
        await pilot.press("ctrl+s")
        edited = pilot.app.screen
        assert isinstance(edited, PresetScreen)
        await until(pilot, lambda: edited.focused is edited._controls[("context",)])
        assert preset("slow").sampling.top_p == 0.95
        await put(pilot, "context", "1024")
        await until(pilot, lambda: "✗" not in shown(pilot))

    on_the_screen(steps)


def test_leaving_asks_only_where_something_would_be_lost() -> None:
    async def steps(pilot: Pilot[None], screen: ChatScreen, _session: Session) -> None:
        await in_the_list(pilot, "slow", "e", PresetScreen)
        await pilot.press("escape")
        assert pilot.app.screen is screen
        await in_the_list(pilot, "slow", "e", PresetScreen)
        await put(pilot, "title", "Lost")
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, QuestionScreen)
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, PresetScreen)
        await pilot.press("escape", "enter")
        await until(pilot, back(pilot, screen))
        assert preset("slow").title == "Slow"

    on_the_screen(steps)


def test_leaving_while_it_is_saved_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(catalog: Catalog, edited: Edited) -> None:
        begun.set()
        go_on.wait(10)
        save(catalog, edited)

    monkeypatch.setattr("tui.screens.preset.form.save", slowly)

    async def steps(pilot: Pilot[None], screen: ChatScreen, _session: Session) -> None:
        await in_the_list(pilot, "slow", "e", PresetScreen)
        await put(pilot, "title", "Kept")
        await pilot.press("ctrl+s")
        await until(pilot, begun.is_set)
        await pilot.press("escape")
        go_on.set()
        await until(pilot, back(pilot, screen))
        await until(pilot, lambda: screen._presets.titles["slow"] == "Kept")

    on_the_screen(steps)


def test_an_empty_field_shows_what_it_is_then() -> None:
    async def steps(pilot: Pilot[None], _screen: ChatScreen, _session: Session) -> None:
        await in_the_list(pilot, "8b-q4_k_m", "e", PresetScreen)
        await put(pilot, "context", "")
        await until(pilot, lambda: "left empty it is 8192" in shown(pilot))
        edited = pilot.app.screen
        assert isinstance(edited, PresetScreen)
        context = edited._controls[("context",)]
        assert isinstance(context, Input)
        assert context.placeholder == "8192"

    on_the_screen(steps)


def test_another_backend_shows_its_own_fields_and_the_plan_follows(folder: Path) -> None:
    async def steps(pilot: Pilot[None], _screen: ChatScreen, _session: Session) -> None:
        await in_the_list(pilot, "8b-q4_k_m", "e", PresetScreen)
        await until(pilot, lambda: "32/32 layers" in shown(pilot))
        assert "kv_cache" in shown(pilot)
        await put(pilot, "context", "65536")
        await until(pilot, lambda: "as it was" in shown(pilot))
        await pilot.press("up", "right")
        await until(pilot, lambda: "Ollama places the model itself" in shown(pilot))
        assert "kv_cache" not in shown(pilot)

    on_the_screen(steps)


def test_a_file_that_cannot_be_written_keeps_what_was_typed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    async def steps(pilot: Pilot[None], _screen: ChatScreen, _session: Session) -> None:
        await in_the_list(pilot, "8b-q4_k_m", "e", PresetScreen)
        await put(pilot, "title", "Mine")
        monkeypatch.setattr("pathlib.Path.replace", _no_space)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "The preset cannot be written" in shown(pilot))
        assert isinstance(pilot.app.screen, PresetScreen)

    on_the_screen(steps)


def test_d_writes_a_copy_under_a_name_that_is_free(folder: Path) -> None:
    async def steps(pilot: Pilot[None], screen: ChatScreen, _session: Session) -> None:
        await in_the_list(pilot, "demo", "d", NameScreen)
        assert pilot.app.screen.query_one(Input).value == "demo-copy"
        await pilot.press("end", "ctrl+u", *"demo", "enter")
        assert "There is a preset demo already" in shown(pilot)
        await pilot.press("minus", "2", "enter")
        await until(pilot, lambda: screen._presets.entry("demo-2"))
        assert (preset("demo-2").title, preset("demo-2").slot, preset("demo").slot) == ("Demo (copy)", None, 1)
        assert screen.query_one(PresetList).get_option_index("demo-2") >= 0

    on_the_screen(steps)


def test_x_deletes_ones_own_after_a_question_and_the_built_in_is_back(folder: Path) -> None:
    (folder / "8b-q4_k_m.toml").write_text('extends = "8b-q4_k_m"\ntitle = "Mine"\n')

    async def steps(pilot: Pilot[None], screen: ChatScreen, _session: Session) -> None:
        await in_the_list(pilot, "slow", "x", QuestionScreen)
        await pilot.press("escape")
        assert (folder / "slow.toml").exists()
        await in_the_list(pilot, "slow", "x", QuestionScreen)
        await pilot.press("enter")
        await until(pilot, lambda: screen._presets.entry("slow") is None)
        assert not (folder / "slow.toml").exists()
        await in_the_list(pilot, "8b-q4_k_m", "x", QuestionScreen)
        assert "The built-in of this name is used again" in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: screen._presets.titles["8b-q4_k_m"] == "8B Q4_K_M")

    on_the_screen(steps)


def test_a_built_in_cannot_be_deleted() -> None:
    async def steps(pilot: Pilot[None], screen: ChatScreen, _session: Session) -> None:
        screen._editing.do("delete", "8b-q4_k_m")
        transcript = screen.query_one(Transcript)
        await until(pilot, lambda: any("stays" in one.entry.title for one in transcript._column.layouts))
        assert pilot.app.screen is screen

    on_the_screen(steps)


def test_a_broken_preset_is_not_edited_but_can_be_deleted(folder: Path) -> None:
    (folder / "broken.toml").write_text("title = 3\n")

    async def steps(pilot: Pilot[None], screen: ChatScreen, _session: Session) -> None:
        screen._editing.do("edit", "broken")
        transcript = screen.query_one(Transcript)
        await until(pilot, lambda: any("Preset broken" in one.entry.title for one in transcript._column.layouts))
        await in_the_list(pilot, "broken", "x", QuestionScreen)
        await pilot.press("enter")
        await until(pilot, lambda: not (folder / "broken.toml").exists())

    on_the_screen(steps)


def test_the_palette_edits_copies_and_deletes_what_can_be() -> None:
    async def steps(_pilot: Pilot[None], screen: ChatScreen, _session: Session) -> None:
        titles = [command.title for command in screen.get_commands()]
        assert "Edit preset 8B Q4_K_M …" in titles
        assert "Duplicate preset Demo …" in titles
        assert "Delete preset Demo …" in titles
        assert "Delete preset 8B Q4_K_M …" not in titles

    on_the_screen(steps)


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")
