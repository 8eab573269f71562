"""The transcript without a screen: wrapping, blocks, formatting, and answers that grow."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from tui.widgets.transcript.blocks import Block, split
from tui.widgets.transcript.flow import AnswerFlow
from tui.widgets.transcript.markdown import Formatter
from tui.widgets.transcript.palette import NAMES, Palette
from tui.widgets.transcript.rows import Row, changed_cells, copied, row
from tui.widgets.transcript.wrap import PlainFlow, fold, wrap

PALETTE = Palette(**{name: Style(color=f"color({20 + number})") for number, name in enumerate(NAMES)})

WORDS = st.text(st.sampled_from("ab  é中文。，👩\u200d💻\ufe0fe\u0301-"), max_size=120)
MARKDOWN = st.lists(
    st.sampled_from(
        [
            *("# Title", "text **bold** `code`", "", "", "- item", "  - nested", "1. one", "2. two", "   more", "***"),
            *("```python", "def f():", "    return 1", "```", "~~~", "~~~", "> quote", "> - in it", "| a | b |"),
            *("|---|--:|", "| 1 | 2 |", "===", "---", "    code", "中文字符。还有更多的字", "[x](http://e.x/a) <b>"),
            *("\x1b[31m", "&#x202e;", "\\[ x_1 \\]", "long " * 30, "\t tab", "![pic](p.png)", "lone \r return\r"),
        ]
    ),
    max_size=25,
).map("\n".join)


def lay(text: str, width: int = 40) -> list[Row]:
    flow = AnswerFlow(Formatter(PALETTE, width))
    flow.append(text)
    flow.finish()
    return flow.rows()


def texts(rows: list[Row]) -> list[str]:
    return [laid.strip.text for laid in rows]


# Wrapping


@given(WORDS, st.integers(2, 30))
@example("\u200d\u200da。", 2)
def test_no_row_is_wider_than_the_width(text: str, width: int) -> None:
    assert all(cell_len(shown) <= width for shown, _ in wrap(text, width))
    assert all(cell_len(shown) <= width for shown, _ in fold(text, width))


@given(WORDS, st.integers(2, 30))
def test_wrapping_loses_nothing_but_spaces_at_the_end(text: str, width: int) -> None:
    pieces = wrap(text, width)
    joined = "".join(joint + shown for shown, joint in pieces)
    assert text.startswith(joined)
    assert not text[len(joined) :].strip(" ")
    assert "".join(shown for shown, _ in fold(text, width)) == text


@given(st.lists(st.text(st.sampled_from("ab  é中。👩\n"), max_size=20), max_size=12), st.integers(2, 20))
def test_text_that_grows_is_cut_as_if_it_had_come_at_once(chunks: list[str], width: int) -> None:
    for cut in (wrap, fold):
        growing, at_once = PlainFlow(width, cut), PlainFlow(width, cut)
        for chunk in chunks:
            growing.append(chunk)
        at_once.append("".join(chunks))
        assert growing.pieces() == at_once.pieces()


def test_words_are_kept_whole_and_chinese_breaks_anywhere_but_before_closing_marks() -> None:
    assert wrap("one two three", 8) == [("one two", ""), ("three", " ")]
    assert [shown for shown, _ in wrap("中文字符。中文", 8)] == ["中文字", "符。中文"]


def test_a_family_of_emoji_is_never_cut_in_two() -> None:
    assert [shown for shown, _ in fold("ab👩\u200d💻", 3)] == ["ab", "👩\u200d💻"]


# Blocks


def kinds(text: str) -> list[str]:
    return [block.kind for block in split(text)]


def test_each_kind_of_block_is_told_apart() -> None:
    text = "# T\ntext\n\n- a\n- b\n\n> q\n\n```py\n\nx\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n\n***\n\n    code"
    assert kinds(text) == ["heading", "text", "item", "item", "quote", "fence", "table", "rule", "code"]


def test_a_fence_right_after_text_keeps_its_empty_lines() -> None:
    fence = split("Here:\n```\na\n\n\nb\n```\nafter")[1]
    assert fence == Block("fence", ("```", "a", "", "", "b", "```"))


def test_a_fence_is_closed_only_by_as_many_of_its_own_marks() -> None:
    assert kinds("````\n```\n~~~~\n````\nafter") == ["fence", "text"]
    assert kinds("~~~\n```\n~~~\nafter") == ["fence", "text"]


def test_a_fence_inside_an_item_belongs_to_it_even_without_its_indent() -> None:
    assert kinds("1. Install:\n   ```sh\npip install x\n\n   ```\n2. Run") == ["item", "item"]


def test_lists_of_ones_are_counted_and_a_list_after_code_keeps_its_numbers() -> None:
    assert [block.number for block in split("1. a\n1. b\n\n1. c")] == [1, 2, 3]
    assert [block.number for block in split("1. a\n```\nx\n```\n2. b")] == [1, None, 2]


def test_a_year_at_the_start_of_a_line_is_no_list() -> None:
    assert kinds("It was\n2024. A year.") == ["text"]


@given(MARKDOWN)
def test_every_line_that_says_something_is_in_exactly_one_block(text: str) -> None:
    lines = [line for line in text.split("\n") if line.strip()]
    assert [line for block in split(text) for line in block.lines if line.strip()] == lines


# Formatting


def test_emphasis_code_and_links_are_styled_and_their_marks_gone() -> None:
    (line,) = lay("a **b** `c` [d](http://e.x)", 60)
    assert line.strip.text == "a b c d (http://e.x)"
    styles = {segment.text: segment.style for segment in line.strip if segment.style}
    assert styles["b"].bold
    assert styles["c"].color == PALETTE.code.color
    assert all(not segment.style or segment.style.link is None for segment in line.strip)


def test_html_entities_definitions_and_latex_show_as_they_are_or_as_harmless_text() -> None:
    text = "<b>x</b> &lt; &#x202e; &#27; \\[ \\a \\] \\*\n\n[ref]: http://e.x"
    assert texts(lay(text, 60)) == ["<b>x</b> < ⟨U+202E⟩ \ufffd \\[ \\a \\] *", "", "[ref]: http://e.x"]


def test_an_image_is_text() -> None:
    assert texts(lay("![a cat](http://e.x/cat.png)", 60)) == ["[image: a cat](http://e.x/cat.png)"]


def test_code_keeps_its_spaces_and_folds_long_lines_without_loss() -> None:
    code = "def f():\n    return  1  # " + "x" * 50
    rows = lay(f"```python\n{code}\n```", 30)
    assert copied(rows) == f"```python\n{code}\n```"
    assert all(line.strip.cell_length <= 30 for line in rows)


def test_known_languages_are_coloured_and_unknown_ones_are_not() -> None:
    assert len(lay("```python\ndef f(): pass\n```")[1].strip) > 1
    assert len(lay("```nosuchlanguage\ndef f(): pass\n```")[1].strip) == 1


def test_a_table_is_aligned_and_folds_words_that_are_too_long() -> None:
    rows = texts(lay("| name | size |\n|---|--:|\n| **a** | 5 |\n| " + "w" * 60 + " | 12 |", 40))
    assert rows[0].split() == ["name", "size"]
    assert "".join(rows).count("w") == 60
    assert rows[2].index("5") == rows[0].index("size") + 3


def test_a_table_too_wide_for_the_screen_shows_its_source() -> None:
    header = "|" + "|".join("abcdefghij") + "|"
    rows = lay(header + "\n|" + "-|" * 10 + "\n" + header, 20)
    assert "".join(texts(rows)).startswith(header)


def test_lists_quotes_and_code_nest() -> None:
    rows = texts(lay("1. one\n   - two\n\n     ```\n      x\n     ```\n> quoted\n> - item"))
    assert rows == [
        " 1. one",
        "     • two",
        "       ",
        "       ```",
        "        x",
        "       ```",
        "▌ quoted",
        "▌  • item",
    ]


def test_a_thousand_nested_quotes_or_brackets_do_no_harm() -> None:
    assert ">" in texts(lay(">" * 3000 + " x"))[0]
    assert lay("[" * 3000)
    assert lay("- " * 2000 + "x")


def test_a_copy_leaves_out_soft_breaks_and_margins() -> None:
    rows = lay("- one two three four five six seven eight nine ten eleven", 24)
    assert len(rows) > 2
    assert copied(rows) == " • one two three four five six seven eight nine ten eleven"


# Growing


@settings(max_examples=150, deadline=None)
@given(MARKDOWN, st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_an_answer_in_any_chunks_ends_as_the_same_rows(text: str, sizes: list[int]) -> None:
    flow = AnswerFlow(Formatter(PALETTE, 40))
    position = 0
    for size in sizes:
        flow.append(text[position : position + size])
        flow.rows()
        position += size
    flow.append(text[position:])
    flow.finish()
    assert flow.rows() == lay(text)


@settings(max_examples=80, deadline=None)
@given(MARKDOWN, st.integers(4, 60))
def test_no_row_of_an_answer_is_wider_than_the_screen(text: str, width: int) -> None:
    flow = AnswerFlow(Formatter(PALETTE, width))
    for character in text:
        flow.append(character)
    assert all(laid.strip.cell_length <= width for laid in [*flow.rows(), *lay(text, width)])


def test_an_open_fence_streams_as_plain_lines_and_is_coloured_when_closed() -> None:
    flow = AnswerFlow(Formatter(PALETTE, 40))
    flow.append("```python\ndef f():\n    pass")
    before = flow.rows()
    assert texts(before) == ["```python", "def f():", "    pass"]
    assert len(before[1].strip) == 1
    flow.append("\n```\n")
    assert texts(flow.rows())[:3] == texts(before)
    assert len(flow.rows()[1].strip) > 1


def test_a_line_that_may_become_anything_is_held_back() -> None:
    flow = AnswerFlow(Formatter(PALETTE, 40))
    flow.append("text\n--")
    assert texts(flow.rows()) == ["text"]
    flow.append(" or so")
    assert texts(flow.rows()) == ["text", "-- or so"]


def test_an_endless_fence_costs_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = AnswerFlow(Formatter(PALETTE, 40))
    flow.append("```\n" + "some line of code\n" * 2000)
    flow.rows()
    cut: list[str] = []
    monkeypatch.setattr("tui.widgets.transcript.wrap.PlainFlow._grow", lambda self, text: cut.append(text))
    flow.append("one more\nand the next\n")
    flow.rows()
    assert len(cut) <= 4


@given(WORDS, WORDS)
def test_what_changed_between_two_rows_lies_in_the_cells_told(old: str, new: str) -> None:
    cells = changed_cells(row(old).strip, row(new).strip)
    if cells is None:
        assert old == new
        return
    first, end = cells
    if first:
        assert row(old).strip.crop(0, first).text == row(new).strip.crop(0, first).text
    assert end >= max(cell_len(old), cell_len(new))


def test_importing_the_transcript_loads_neither_parser_nor_highlighter() -> None:
    code = (
        "import sys; before = {m.partition('.')[0] for m in sys.modules};"
        "import textual.app, textual.scroll_view; base = set(sys.modules);"
        "import tui.widgets.transcript; new = set(sys.modules) - base;"
        "bad = [m for m in new if m.split('.')[0] in {'markdown_it', 'pygments', 'mdurl'}"
        " or m in {'rich.markdown', 'rich.syntax', 'rich.table'}];"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_long_table_or_fence_that_closes_holds_nothing_up() -> None:
    table = "| a | b |\n|---|--:|\n" + "".join(f"| **{n}** some words | `{n}` |\n" for n in range(150))
    fence = "```python\n" + "".join(f"value_{n} = compute({n}, 'text')  # why\n" for n in range(400)) + "```\n"
    lay("| a |\n|---|\n\n```python\nx\n```")  # Loads what is needed.
    for text in (table, fence):
        spent = time.thread_time()
        lay(text, 120)
        assert time.thread_time() - spent < 0.25  # It is a quarter of this on a machine with nothing else to do.


def test_the_cells_of_a_table_are_wrapped_in_their_columns_and_numbers_flush_right() -> None:
    text = "| name | a long note | n |\n|---|---|--:|\n" + (
        "| one | several words that have no room here | 5 |\n| 中文 | x | 12 |"
    )
    assert [line.rstrip() for line in texts(lay(text, 34))] == [
        "name   a long note               n",
        "──────────────────────────────────",
        "one    several words that        5",
        "       have no room here",
        "中文   x                        12",
    ]
