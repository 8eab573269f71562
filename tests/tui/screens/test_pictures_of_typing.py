"""Pictures of what stands above the composer: the next question, what is offered, and what goes along."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.tui.screens.conftest import chat_screen, picture

SIZE = (80, 24)


def test_the_next_question_while_an_answer_runs(snap_compare) -> None:
    async def queue(pilot: Pilot[None]) -> None:
        typing = chat_screen(pilot)._typing
        typing._queued = ("why [/x] is the sky blue, and why is it dark at night then, if there are so many stars", "2")
        typing._show()

    picture(snap_compare, SIZE, queue, *"typed on")


def test_commands_that_are_offered(snap_compare) -> None:
    picture(snap_compare, SIZE, *"/re")


def test_a_file_that_goes_along(snap_compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("x" * 12_000)

    async def wait(pilot: Pilot[None]) -> None:
        await pilot.pause(0.8)

    picture(snap_compare, SIZE, *"@notes.txt please", wait)
