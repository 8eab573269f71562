"""What is marked with the mouse: how it looks, and what a copy of it reads."""

from __future__ import annotations

import pytest
from textual.geometry import Offset
from textual.selection import SELECT_ALL, Selection

from tests.tui.test_transcript import PARAGRAPH, Screen, answer, question


async def test_text_marked_with_the_mouse_is_copied_without_soft_breaks() -> None:
    app = Screen(question("1", PARAGRAPH * 3))
    async with app.run_test(size=(50, 20)) as pilot:
        transcript = app.transcript
        await pilot.mouse_down(transcript, offset=(1, 1))
        await pilot.hover(transcript, offset=(20, 3))
        await pilot.mouse_up(transcript, offset=(20, 3))
        copied = app.screen.get_selected_text() or ""
        assert (PARAGRAPH * 3).startswith(copied.strip())
        assert len(copied) > 60
        style = app.screen.get_component_rich_style("screen--selection")
        assert any(segment.style and segment.style.bgcolor == style.bgcolor for segment in transcript.render_line(2))


@pytest.mark.parametrize("words", ["两个字", "👩‍👩‍👧 é", "", "plain"])
async def test_a_mark_that_ends_right_of_a_short_line_marks_the_line(words: str) -> None:
    app = Screen(question("1", f"{words}\n\n{words}\n\nlast"))
    async with app.run_test(size=(50, 20)) as pilot:
        for at in ((1, 1), (30, 1)):
            await pilot.mouse_down(app.transcript, offset=at)
            await pilot.hover(app.transcript, offset=(40, 3))
            await pilot.mouse_up(app.transcript, offset=(40, 3))
            assert words in (app.screen.get_selected_text() or "")
            assert app.lines()[1] == words


async def test_a_selection_of_all_holds_far_away_entries_as_their_source() -> None:
    app = Screen(*(answer(str(number), f"**Answer** {number}\x1b") for number in range(300)))
    async with app.run_test(size=(60, 12)):
        text, _ = app.transcript.get_selection(SELECT_ALL) or ("", "")
        assert "**Answer** 0␛" in text
        assert "Answer 299␛" in text
        part, _ = app.transcript.get_selection(Selection(Offset(1, 1), Offset(7, 1))) or ("", "")
        assert part == "Answer"
