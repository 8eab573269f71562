"""The transcript on a screen: following, moving, folding, resizing, selecting, and chats of any length."""

from __future__ import annotations

from itertools import pairwise

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tui.widgets.transcript import Entry, Transcript

PARAGRAPH = "Every generated token reads all the weights once, so decode is bound by memory bandwidth. "
THOUGHT = "\n".join(f"step {number} of the thought" for number in range(30))


class Screen(App[None]):
    """Nothing but a transcript, and what it told."""

    def __init__(self, *entries: Entry) -> None:
        super().__init__()
        self.entries = entries
        self.more: list[bool] = []

    def compose(self) -> ComposeResult:
        yield Transcript()

    def on_mount(self) -> None:
        self.transcript.scroll_step = 4
        self.transcript.show(self.entries)
        self.transcript.focus()

    def on_transcript_more(self, message: Transcript.More) -> None:
        self.more.append(message.below)

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    def lines(self) -> list[str]:
        transcript = self.transcript
        return [transcript.render_line(y).text[1:].rstrip() for y in range(transcript.size.height)]


def question(name: str, text: str = "Why?") -> Entry:
    return Entry(name, "user", "You", "21:04", text=text)


def answer(name: str, text: str = "", *, live: bool = False, reasoning: str = "", thinking: bool = False) -> Entry:
    thought = "thought for 41 s" if reasoning else ""
    return Entry(
        name, "assistant", "14B", "21:05", text=text, live=live, reasoning=reasoning, thinking=thinking, thought=thought
    )


def numbered(count: int) -> str:
    return "\n".join(f"line {number}" for number in range(count))


async def test_a_chat_opens_at_its_end() -> None:
    app = Screen(question("1"), answer("2", numbered(100)))
    async with app.run_test(size=(60, 10)):
        assert app.lines()[-1] == "line 99"
        assert app.transcript.following
        assert app.transcript.scroll_offset.y == app.transcript.max_scroll_y


async def test_a_short_chat_begins_at_the_top_with_title_and_time() -> None:
    app = Screen(question("1"), answer("2", "Because."))
    async with app.run_test(size=(60, 10)):
        lines = app.lines()
        assert lines[0].startswith("You")
        assert lines[0].endswith("21:04")
        assert lines[1:5] == ["Why?", "", lines[3], "Because."]
        assert app.transcript.scroll_offset.y == 0


async def stream(app: Screen, pilot: Pilot[None], text: str, size: int = 40) -> None:
    for end in range(size, len(text) + size, size):
        app.transcript.put(answer("2", text[:end], live=True))
        await pilot.pause()


async def test_a_running_answer_is_followed_in_steps_and_ends_at_its_last_row() -> None:
    app = Screen(question("1"), answer("2", live=True))
    async with app.run_test(size=(60, 10)) as pilot:
        positions = set()
        text = numbered(60)
        for end in range(20, len(text) + 20, 20):
            app.transcript.put(answer("2", text[:end], live=True))
            await pilot.pause()
            positions.add(app.transcript.scroll_offset.y)
            assert any(line and text[:end].rsplit("\n", 2)[-2].startswith(line) for line in app.lines())
        ordered = sorted(positions)
        assert all(after - before >= 4 for before, after in pairwise(ordered[1:]))
        app.transcript.put(answer("2", text))
        await pilot.pause()
        assert app.lines()[-1] == "line 59"
        assert app.transcript.virtual_size.height == 3 + 1 + 60


async def test_text_that_streamed_looks_as_if_it_had_been_there_at_once() -> None:
    text = f"# Title\n\n{PARAGRAPH * 3}\n\n- **a**\n- b\n\n```python\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    streamed, at_once = Screen(question("1")), Screen(question("1"), answer("2", text))
    async with streamed.run_test(size=(60, 40)) as pilot:
        await stream(streamed, pilot, text, 7)
        streamed.transcript.put(answer("2", text))
        await pilot.pause()
        shown = streamed.lines()
    async with at_once.run_test(size=(60, 40)):
        assert at_once.lines() == shown


async def test_what_is_on_the_terminal_is_what_a_full_repaint_would_draw() -> None:
    app = Screen(question("1"))
    text = f"{PARAGRAPH}中文 👩\u200d💻 **bold**\n\n```python\nfor x in y:\n    pass\n```\n\n- a\n- b\n" * 3
    async with app.run_test(size=(60, 20)) as pilot:
        for end in range(5, len(text), 5):
            app.transcript.put(answer("2", text[:end], live=True))
            await pilot.pause()
            width = app.transcript.scrollable_content_region.width
            kept = app.transcript.render_lines(app.transcript.size.region)  # through Textual's own line cache
            fresh = [app.transcript.render_line(y).text[:width] for y in range(20)]
            assert [line.text[:width] for line in kept] == fresh


async def test_a_reader_who_moved_up_stays_there_and_is_told_that_there_is_more() -> None:
    app = Screen(question("1"), answer("2", numbered(60), live=True))
    async with app.run_test(size=(60, 10)) as pilot:
        await pilot.press("pageup")
        before = app.lines()
        assert app.more == [True]
        for count in range(61, 121):
            app.transcript.put(answer("2", numbered(count), live=True))
        await pilot.pause()
        assert app.lines() == before
        assert not app.transcript.following
        await pilot.press("end")
        assert app.transcript.following
        assert "line 119" in app.lines()
        await pilot.pause()
        assert app.more == [True, False]


async def test_one_line_up_in_a_running_answer_is_enough_to_stay() -> None:
    app = Screen(question("1"), answer("2", numbered(60), live=True))
    async with app.run_test(size=(60, 10)) as pilot:
        await stream(app, pilot, numbered(70))
        await pilot.press("k")
        assert not app.transcript.following


async def test_moving_down_to_the_end_follows_again() -> None:
    app = Screen(question("1"), answer("2", numbered(60)))
    async with app.run_test(size=(60, 10)) as pilot:
        await pilot.press("up", "k", "k")
        assert not app.transcript.following
        await pilot.press("down", "j")
        assert not app.transcript.following
        await pilot.press("j")
        assert app.transcript.following
        await pilot.press("pagedown", "j")
        assert app.lines()[-1] == "line 59"


async def test_home_and_end_and_pages_show_what_they_say() -> None:
    app = Screen(question("1", "First."), *(answer(str(number), numbered(30)) for number in range(2, 10)))
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.press("home")
        assert app.lines()[1] == "First."
        seen = []
        while not app.transcript.following:
            seen += app.lines()
            await pilot.press("pagedown")
        seen += app.lines()
        assert seen.count("line 7") >= 8
        assert app.lines()[-1] == "line 29"


async def test_page_by_page_upwards_no_line_is_skipped() -> None:
    entries = [answer(str(number), f"begin {number}\n\n" + PARAGRAPH * (number % 7)) for number in range(60)]
    app = Screen(*entries)
    async with app.run_test(size=(60, 12)) as pilot:
        pages = [app.lines()]
        while app.transcript.scroll_offset.y > 0:
            await pilot.press("pageup")
            above = app.lines()
            if app.transcript.scroll_offset.y > 0:
                assert above[-1] == pages[-1][0]
            pages.append(above)
        shown = {line for page in pages for line in page}
        assert {f"begin {number}" for number in range(60)} <= shown


async def test_a_thought_folds_and_unfolds_where_the_reader_looks() -> None:
    app = Screen(question("1"), answer("2", "Answer.", reasoning=THOUGHT))
    async with app.run_test(size=(60, 12)) as pilot:
        assert "▸ thought for 41 s" in app.lines()
        assert not any(line.startswith("│") for line in app.lines())
        row = app.lines().index("▸ thought for 41 s")
        app.transcript.toggle_thought()
        await pilot.pause()
        assert app.lines()[row : row + 2] == ["▾ thought for 41 s", "│ step 0 of the thought"]
        for _ in range(3):
            await pilot.press("pagedown")
        app.transcript.toggle_thought("2")
        await pilot.pause()
        assert "▸ thought for 41 s" in app.lines()
        assert "Answer." in app.lines()
        assert app.transcript.following


async def test_a_running_thought_shows_its_last_rows_and_folds_when_it_ends() -> None:
    app = Screen(question("1"))
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.put(answer("2", live=True, thinking=True, reasoning=THOUGHT))
        await pilot.pause()
        tail = [line for line in app.lines() if line.startswith("│")]
        assert 3 <= len(tail) <= 6
        assert tail[-1] == "│ step 29 of the thought"
        assert "▾ thought for 41 s" in app.lines()
        app.transcript.put(answer("2", "So:", live=True, reasoning=THOUGHT))
        await pilot.pause()
        assert "▸ thought for 41 s" in app.lines()
        assert not any(line.startswith("│") for line in app.lines())


async def test_an_unknown_thought_changes_nothing() -> None:
    app = Screen(question("1"), answer("2", "Answer."))
    async with app.run_test(size=(60, 12)):
        before = app.lines()
        app.transcript.toggle_thought()
        app.transcript.toggle_thought("no such entry")
        assert app.lines() == before


async def test_resizing_keeps_the_reading_position() -> None:
    entries = [answer(str(number), f"Begin of {number}.\n\n{PARAGRAPH * 8}") for number in range(40)]
    app = Screen(*entries)
    async with app.run_test(size=(100, 20)) as pilot:
        for _ in range(6):
            await pilot.press("pageup")
        top = app.transcript.entry_at_top()
        for width in (40, 140, 100):
            await pilot.resize_terminal(width, 20)
            await pilot.pause()
            assert app.transcript.entry_at_top() == top
        assert not app.transcript.following


async def test_resizing_at_the_end_stays_at_the_end() -> None:
    app = Screen(question("1"), answer("2", PARAGRAPH * 40 + "\n\nlast line"))
    async with app.run_test(size=(100, 20)) as pilot:
        for size in ((40, 10), (120, 34), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert app.lines()[-1] == "last line"


HOSTILE = "[/x] [bold]b[/] \x1b[31mred\x1b]52;c;cm0=\x07 \u202egnp.exe \x00 \x9b2J &#x202e;"


async def test_hostile_text_is_harmless_wherever_it_stands() -> None:
    entry = Entry(
        "h",
        "assistant",
        HOSTILE,
        HOSTILE,
        text=f"{HOSTILE}\n\n```\n{HOSTILE}\n```\n\n- {HOSTILE}\n\n| {HOSTILE} | b |\n|---|---|\n| {HOSTILE} | c |",
        reasoning=HOSTILE,
        thought=HOSTILE,
        footnote=HOSTILE,
        footnote_kind="error",
    )
    app = Screen(Entry("u", "user", "You\n\x1b[2J", text=HOSTILE), entry)
    async with app.run_test(size=(200, 40)) as pilot:
        app.transcript.toggle_thought("h")
        await pilot.pause()
        shown = "".join(app.lines())
        assert not set(shown) & set("\x1b\x00\x07\x9b\u202e\n\r")
        assert shown.count("[/x]") >= 8
        assert "␛[31mred␛]52;c;cm0=␇ ⟨U+202E⟩gnp.exe ␀ ⟨U+009B⟩2J" in shown


async def test_opening_a_huge_chat_shows_its_end_at_once_and_keeps_few_rows() -> None:
    text = f"## Title\n\n{PARAGRAPH * 3}\n\n- **one**\n- two\n\n```python\nx = 1\n```\n"
    entries = [e for n in range(2500) for e in (question(f"q{n}"), answer(f"a{n}", f"Answer {n}.\n\n{text}"))]
    app = Screen()
    async with app.run_test(size=(120, 34)) as pilot:
        app.transcript.show([answer("warm", text)])
        app.transcript.show(entries)
        lines = app.lines()
        assert any(line.startswith("Answer 2499.") for line in lines)

        def kept() -> int:
            return sum(layout.rows is not None for layout in app.transcript._column.layouts)

        assert kept() < 20
        for _ in range(30):
            await pilot.press("pageup")
            assert kept() < 40
        await pilot.press("home")
        assert app.lines()[0].startswith("You")
        await pilot.press("end")
        assert kept() < 40
        app.transcript.put(answer("new", "x", live=True))
        assert kept() < 40


async def test_an_entry_that_changes_above_the_view_does_not_move_it() -> None:
    entries = [answer(str(number), numbered(20)) for number in range(6)]
    app = Screen(*entries)
    async with app.run_test(size=(60, 10)) as pilot:
        for _ in range(4):
            await pilot.press("pageup")
        before = app.lines()
        app.transcript.put(answer("0", numbered(50)))
        await pilot.pause()
        assert app.lines() == before


async def test_an_entry_taken_out_is_gone_and_an_unknown_one_is_ignored() -> None:
    app = Screen(question("1"), answer("2", "Gone."), question("3", "Stays."))
    async with app.run_test(size=(60, 12)) as pilot:
        app.transcript.take_out("2")
        app.transcript.take_out("no such entry")
        await pilot.pause()
        assert "Gone." not in app.lines()
        assert "Stays." in app.lines()
        app.transcript.take_out("1")
        app.transcript.take_out("3")
        await pilot.pause()
        assert not any(app.lines())


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark", "nord"])
async def test_every_theme_gives_titles_and_text_different_looks(theme: str) -> None:
    app = Screen(question("1"), answer("2", "Plain `code`.", reasoning=THOUGHT))
    async with app.run_test(size=(60, 12)) as pilot:
        app.theme = theme
        await pilot.pause()
        title, plain = (list(app.transcript.render_line(y))[1 - y].style for y in (0, 1))
        assert title is not None
        assert plain is not None
        assert title.bold
        assert title.color != plain.color


async def test_a_change_of_theme_repaints_what_is_laid_out() -> None:
    app = Screen(question("1"))
    async with app.run_test(size=(60, 12)) as pilot:
        app.theme = "textual-dark"
        await pilot.pause()
        dark = list(app.transcript.render_line(0))[1].style
        app.theme = "textual-light"
        await pilot.pause()
        assert list(app.transcript.render_line(0))[1].style != dark


async def test_a_very_small_screen_and_back_does_no_harm() -> None:
    app = Screen(question("1", PARAGRAPH), answer("2", f"- {PARAGRAPH}\n\n> {PARAGRAPH}", reasoning=THOUGHT))
    async with app.run_test(size=(80, 24)) as pilot:
        before = app.lines()
        for size in ((6, 3), (1, 1), (40, 10), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert app.lines() == before
