"""The first start: what fits best, one key for it, and what takes the place of that key."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backends.jobs.job import JobSpec
from presets.reference import machine_named
from tests.tui.fetches import GB
from tests.tui.screens.conftest import on_this_machine
from tests.tui.screens.steps import asked, loaded, on_the_screen, told, until
from tui.app import DeepseekApp
from tui.chat.session import Session
from tui.screens.chat.start import Wish
from tui.screens.fetch import offer

PRESET = "14b-q3_k_s-offload"


pytestmark = pytest.mark.usefixtures("a_clock_that_goes")


def first_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "config" / "presets"
    for file in folder.iterdir():
        file.unlink()
    (folder / "starter.toml").write_text('extends = "starter"\nkeep_alive_s = 0.1\n')
    on_this_machine(monkeypatch, machine_named("rtx3070-8gb-32gb"))


def test_at_the_first_start_one_key_fetches_what_fits_best(
    begun: list[JobSpec], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_start(home, monkeypatch)

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "Best here: 14B Q3_K_S + offload" in told(pilot))
        await pilot.press("enter", "enter")
        await until(pilot, lambda: begun)
        assert [spec.title for spec in begun] == ["14B Q3_K_S + offload"]
        assert not asked(pilot)
        await until(pilot, lambda: loaded(session, "starter"))

    on_the_screen(steps, "")


def test_at_the_first_start_too_little_room_is_told_instead(
    begun: list[JobSpec], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_start(home, monkeypatch)
    monkeypatch.setattr(offer, "free_bytes", lambda _source: 2 * GB)

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "Best here: 14B Q3_K_S + offload" in told(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: asked(pilot) and pilot.app.screen.offer.missing_bytes)  # type: ignore[attr-defined]
        assert not begun
        await until(pilot, lambda: loaded(session, "starter"))

    on_the_screen(steps, "")


def test_once_something_was_asked_enter_with_nothing_typed_does_nothing(
    begun: list[JobSpec], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_start(home, monkeypatch)

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "Best here: 14B Q3_K_S + offload" in told(pilot))
        await pilot.press("h", "i", "enter")
        await until(pilot, lambda: session.branch and "Best here" not in told(pilot))
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert not begun
        await pilot.press("escape")
        await until(pilot, lambda: not session.busy)

    on_the_screen(steps, "")


def test_a_chosen_preset_that_is_not_here_is_asked_about_at_the_start_and_another_answers(begun: list[JobSpec]) -> None:
    async def run() -> None:
        async with DeepseekApp(Wish(preset=PRESET)).run_test(size=(120, 34)) as pilot:
            await until(pilot, lambda: asked(pilot))
            session = pilot.app.screen_stack[1]._session  # type: ignore[attr-defined]
            await until(pilot, lambda: loaded(session, "demo"))
            assert "not downloaded" not in told(pilot)
            await pilot.press("escape")
            await pilot.press("ctrl+q")

    asyncio.run(run())
