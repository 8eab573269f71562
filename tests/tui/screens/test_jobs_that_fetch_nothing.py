"""Models that are made, and measurements: watched on the screen whoever began them, told, and loaded when they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from backends.errors import ErrorInfo
from backends.jobs.job import JobSpec
from presets.built import built_file
from presets.schema import source_for
from tests.tui.fetches import Job, progress
from tests.tui.screens.conftest import chat_screen
from tests.tui.screens.steps import asked, on_the_screen, sidebar, told, until
from tui.chat.session import Session
from tui.widgets.lines import Line

PRESET, FAMILY, RECIPE = "32b-mixed-ssd", "DeepSeek-R1-Distill-Qwen-32B", "mixed-4-3"
TITLE = "Qwen-32B mixed-4-3"
MIDWAY = progress(stage="quantizing", note="blk.31.ffn_down 412 of 771", left_s=362.0)
pytestmark = pytest.mark.usefixtures("a_clock_that_goes")


def target() -> Path:
    return built_file(FAMILY, RECIPE)


def making() -> Job:
    return Job(JobSpec("quantize", str(target()), TITLE), MIDWAY)


def uses_it(pilot: Pilot[None]) -> bool:
    entry = chat_screen(pilot)._presets.entry(PRESET)
    return entry is not None and source_for(entry.preset, "llama_cpp") == f"file:{target()}"


def test_a_model_that_is_made_is_seen_and_its_preset_uses_it_when_it_is_there() -> None:
    job = making()

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "quantising 46 %" in sidebar(pilot, PRESET))
        line = pilot.app.screen.query_one("#progress", Line).text
        assert line.endswith(f"▸ Quantising {TITLE} · 46 % · about 6 min")
        assert any(command.title == f"Stop quantising {TITLE}" for command in chat_screen(pilot).get_commands())
        assert not uses_it(pilot)
        target().parent.mkdir(parents=True)
        target().touch()
        job.tell(progress(state="done", note="Every tensor is as it was planned.", result=str(target())))
        await until(pilot, lambda: f"▸ {TITLE} is made: F4 loads it." in told(pilot))
        assert uses_it(pilot)
        assert "▸" not in pilot.app.screen.query_one("#progress", Line).text

    on_the_screen(steps)


def test_who_chooses_it_meanwhile_is_not_asked_to_fetch_it() -> None:
    making()

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "quantising" in sidebar(pilot, PRESET))
        await pilot.press("f4")
        await pilot.pause(0.1)
        assert not asked(pilot)
        said = pilot.app.screen.query_one("#progress", Line).text
        assert said.startswith("32B mixed + SSD loads when it is made.")

    on_the_screen(steps)


def test_it_is_stopped_from_the_palette() -> None:
    job = making()

    async def steps(pilot: Pilot[None], session: Session) -> None:
        screen = chat_screen(pilot)
        await until(pilot, lambda: screen._fetching.running)
        stop = {command.title: command for command in screen.get_commands()}[f"Stop quantising {TITLE}"]
        stop.callback()
        await until(pilot, lambda: job.asked_to_end)
        job.tell(progress(state="stopped"))
        await until(pilot, lambda: f"▸ {TITLE}: stopped: Nothing of it stays; its source does." in told(pilot))

    on_the_screen(steps)


def test_one_that_fails_is_told_with_what_to_do() -> None:
    job = making()
    full = ErrorInfo("no_space", "The disk became full: 2.0 GB are missing", "/m has 1.0 GB free.", "Make room.")

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "quantising" in sidebar(pilot, PRESET))
        job.tell(progress(state="failed", error=full))
        await until(pilot, lambda: f"✗ {TITLE} was not made: The disk became full" in told(pilot))
        assert "Make room." in told(pilot)

    on_the_screen(steps)


def test_a_measurement_is_seen_and_its_result_is_told() -> None:
    job = Job(JobSpec("quality", "/m/a.gguf against /m/b.gguf", TITLE), progress(stage="measuring", left_s=60.0))

    async def steps(pilot: Pilot[None], session: Session) -> None:
        line = pilot.app.screen.query_one("#progress", Line)
        await until(pilot, lambda: f"▸ Measuring {TITLE} · 46 % · about 1 min" in line.text)
        job.tell(progress(state="done", note="KLD 0.08, same top 91 %"))
        await until(pilot, lambda: f"▸ {TITLE} is measured: KLD 0.08, same top 91 %" in told(pilot))

    on_the_screen(steps)


def test_one_that_ended_while_no_screen_was_there_is_told_if_it_is_still_there() -> None:
    Job(JobSpec("quantize", str(target()), TITLE), progress(state="done", result=str(target())))
    seen: list[str] = []

    async def steps(pilot: Pilot[None], session: Session) -> None:
        seen.append(told(pilot))

    on_the_screen(steps)
    assert "is made" not in seen[0]
