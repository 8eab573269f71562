"""Standing on a message of the transcript: what is marked, what a key works on, and what was found."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from tests.tui.test_transcript import Screen, answer, numbered, question
from tui.widgets.transcript import Entry, Transcript
from tui.widgets.transcript.painting import MARK

NOTICE = Entry("n", "notice", "Worth knowing", text="nobody said this")


class Working(Screen):
    """Takes note of what is asked for."""

    def __init__(self, *entries: Entry) -> None:
        super().__init__(*entries)
        self.work: list[tuple[str, str | None]] = []

    def on_transcript_worked(self, message: Transcript.Worked) -> None:
        self.work.append((message.what, message.transcript.stood))

    def marked(self) -> list[str]:
        """The rows with the mark at their left edge."""
        rows = [self.transcript.render_line(y).text for y in range(self.transcript.size.height)]
        return [row[1:].strip() for row in rows if row.startswith(MARK)]


def words(wanted: str) -> object:
    def marks(line: str) -> Sequence[tuple[int, int]]:
        return [match.span() for match in re.finditer(wanted, line)]

    return marks


def bold(app: Screen, text: str) -> list[str]:
    """The pieces of the row with this text that stand out."""
    rows = [app.transcript.render_line(y) for y in range(app.transcript.size.height)]
    strip = next(row for row in rows if text in row.text)
    return [piece.text for piece in strip if piece.style is not None and piece.style.underline]


CHAT = (question("1", "One?"), answer("2", "First."), question("3", "Two?"), answer("4", "Second."))


async def test_with_focus_one_stands_on_the_last_message_and_goes_from_one_to_the_next() -> None:
    app = Working(*CHAT)
    async with app.run_test(size=(40, 20)) as pilot:
        assert app.marked() == ["14B" + " " * 30 + "21:05", "Second."]
        for key, stood in (("left_square_bracket", "3"), ("p", "2"), ("right_square_bracket", "3"), ("n", "4")):
            await pilot.press(key)
            assert app.transcript.stood == stood
        await pilot.press("n")
        assert app.transcript.stood == "4"
        app.set_focus(None)
        await pilot.pause()
        assert app.marked() == []
        assert app.transcript.stood is None
        app.transcript.focus()
        await pilot.pause()
        assert app.transcript.stood == "4"


async def test_nobody_stands_on_a_notice() -> None:
    app = Working(*CHAT, NOTICE)
    async with app.run_test(size=(40, 20)) as pilot:
        assert app.transcript.stood == "4"
        await pilot.press("n")
        assert app.transcript.stood == "4"
    alone = Working(NOTICE)
    async with alone.run_test(size=(40, 20)) as pilot:
        await pilot.press("p", "e")
        assert alone.work == [("edit", None)]


async def test_each_key_says_what_to_do_with_the_message_stood_on() -> None:
    app = Working(*CHAT)
    async with app.run_test(size=(40, 20)) as pilot:
        await pilot.press("p", "e", "r", "d", "u", "x", "left", "right")
        await pilot.pause()
        wanted = ["edit", "retry", "delete", "undo", "export", "before", "after"]
        assert app.work == [(what, "3") for what in wanted]


async def test_what_one_stands_on_is_always_in_view() -> None:
    app = Working(*[answer(str(number), numbered(6)) for number in range(20)])
    async with app.run_test(size=(40, 12)) as pilot:
        for key in [*("k",) * 8, *("j",) * 4, "pageup", "pageup", "home", "pagedown", "end"]:
            await pilot.press(key)
            assert app.marked(), key
        assert app.transcript.stood == "19"
        await pilot.press("p", "p", "p")
        assert app.transcript.stood == "16"
        assert app.lines()[0].startswith("14B")
        assert app.marked()[-1] == "line 5"


async def test_the_mark_grows_with_a_running_answer_and_is_never_left_behind() -> None:
    app = Working(question("1"))
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.press("n")
        app.transcript.put(answer("2", "line 0", live=True))
        await pilot.press("n")
        for rows in range(2, 9):
            app.transcript.put(answer("2", numbered(rows), live=True))
            await pilot.pause()
            kept = app.transcript.render_lines(app.transcript.size.region)  # through Textual's own line cache
            assert sum(line.text.startswith(MARK) for line in kept) == rows + 1
        await pilot.press("p")
        kept = app.transcript.render_lines(app.transcript.size.region)
        assert [line.text.startswith(MARK) for line in kept[:4]] == [True, True, False, False]
        assert sum(line.text.startswith(MARK) for line in kept) == 2


async def test_moving_the_mark_paints_the_left_edge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Working(*CHAT)
    async with app.run_test(size=(40, 20)) as pilot:
        painted: list[int] = []
        transcript = app.transcript
        refresh = transcript.refresh

        def watched(*regions: object, **more: bool) -> object:
            painted.extend(region.width for region in regions)
            assert regions
            return refresh(*regions, **more)

        with monkeypatch.context() as patch:
            patch.setattr(transcript, "refresh", watched)
            await pilot.press("p")
        assert painted == [1, 1]


async def test_t_folds_the_thought_of_the_message_stood_on() -> None:
    app = Working(answer("1", "a", reasoning="first thought"), answer("2", "b", reasoning="second thought"))
    async with app.run_test(size=(40, 20)) as pilot:
        await pilot.press("p", "t")
        assert "│ first thought" in app.lines()
        assert "│ second thought" not in app.lines()


async def test_another_branch_keeps_the_place_of_the_reader() -> None:
    before = [answer(str(number), numbered(4)) for number in range(30)]
    app = Working(*before)
    async with app.run_test(size=(40, 12)) as pilot:
        for _ in range(60):
            app.transcript.action_line(-1)
        await pilot.pause()
        shown = app.lines()
        top = int(app.transcript.entry_at_top() or 0)
        app.transcript.change([*before[: top + 4], answer("x", numbered(50)), answer("y")])
        await pilot.pause()
        assert app.lines() == shown
        app.transcript.change(before[:2])
        await pilot.pause()
        assert app.lines()[-2:] == ["line 3", ""]


async def test_one_who_follows_sees_the_end_of_another_branch() -> None:
    app = Working(*[answer(str(number), numbered(4)) for number in range(9)])
    async with app.run_test(size=(40, 12)) as pilot:
        app.transcript.change([answer("0", numbered(4)), answer("x", numbered(30))])
        await pilot.pause()
        assert app.lines()[-1] == "line 29"
        assert app.transcript.following


async def test_a_found_word_is_marked_and_in_view_also_far_down_and_in_a_thought() -> None:
    chat = [answer(str(number), numbered(60), reasoning="so it is like that") for number in range(40)]
    app = Working(*chat)
    async with app.run_test(size=(60, 12)) as pilot:
        app.transcript.find("7", words("line 44"))
        await pilot.pause()
        assert app.transcript.stood == "7"
        assert bold(app, "line 44") == ["line 44"]
        app.transcript.find("30", words("like"), thought=True)
        await pilot.pause()
        assert bold(app, "so it is like that") == ["like"]
        assert app.lines()[0].startswith("14B")
        app.transcript.forget_found()
        await pilot.pause()
        assert bold(app, "so it is like that") == []
        app.transcript.find("nowhere", words("x"))
        app.transcript.stand("nowhere")
        assert app.transcript.stood == "30"


async def test_a_word_that_is_not_to_be_seen_shows_the_message_from_its_top() -> None:
    app = Working(*[answer(str(number), numbered(30)) for number in range(9)])
    async with app.run_test(size=(60, 12)) as pilot:
        app.transcript.find("4", words("hidden in a link"))
        await pilot.pause()
        assert app.lines()[0].startswith("14B")
        assert app.transcript.stood == "4"


async def test_scrolling_through_five_thousand_messages_lays_out_few_at_a_time() -> None:
    entries = [question(str(n)) if n % 2 else answer(str(n), numbered(9)) for n in range(5000)]
    app = Working(*entries)
    async with app.run_test(size=(60, 24)) as pilot:
        layouts = app.transcript._column.layouts
        counts = [sum(layout.rows is not None for layout in layouts)]
        for _ in range(100):
            app.transcript.action_page(-1)
            counts.append(sum(layout.rows is not None for layout in layouts))
        await pilot.pause()
        assert 1 < max(counts) < 40
        assert sum(layout.height is not None for layout in layouts) < 700
