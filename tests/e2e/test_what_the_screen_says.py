"""What the lines and notices of the screen say: true, and long enough to be read."""

from __future__ import annotations

import re
from pathlib import Path

WORDS = " ".join(f"word{number}" for number in range(900))


def test_the_welcome_goes_with_the_first_question(terminal, echo) -> None:
    echo(text="good morning")
    screen = terminal("-p", "demo")
    screen.see("Welcome to deepseek-tui")
    screen.ask("hello")
    assert "Welcome" not in screen.see("(?s)good morning.*saved")


def test_what_is_said_in_passing_stays_while_an_answer_runs_and_then_goes(terminal, echo) -> None:
    echo(text=WORDS, tokens_per_second=30)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("word5")
    screen.ask("/exprot")
    screen.see("Not sent: no command /exprot, but /export")
    screen.read(1.5)
    assert "Not sent" in screen.text
    screen.see_gone("Not sent", 6)
    assert "> /exprot" in screen.text


def test_the_footer_names_the_model_that_answers_not_the_next_one(terminal, echo) -> None:
    echo("one", 5, text=WORDS, tokens_per_second=30)
    echo("two", 6)
    screen = terminal("-p", "one")
    screen.ask("talk")
    screen.see("word5")
    screen.press("f7")
    screen.see("Two comes when this answer is done")
    assert screen.text.splitlines()[-2].startswith(" One · echo │")
    screen.press("esc")
    screen.see("Two · echo │")


def test_a_second_screen_says_that_an_answer_is_on_its_way_before_its_first_word(terminal, echo) -> None:
    echo(load_s=6.0, text="at last")
    first = terminal("-p", "demo")
    first.see("reading the model")
    first.ask("talk")
    first.see("(?s)Demo · echo.*reading the model")
    second = terminal()
    second.see("The answer is on its way and shows here as it comes")
    second.see("at last")
    second.see_gone("on its way")


def test_pages_and_the_end_are_reached_from_the_composer(terminal, echo) -> None:
    echo(text=WORDS)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("word899")
    screen.see("saved")
    screen.type("half a thought")
    screen.type("\x1b[5~")
    screen.see("more below · End goes there")
    screen.see_gone("word899")
    screen.press("end")
    screen.see("word899")
    screen.see_gone("more below")
    assert "half a thought" in screen.text


def test_t_unfolds_the_thought_in_the_messages(terminal, echo) -> None:
    echo(reasoning="deep inside", text="fine")
    screen = terminal("-p", "demo")
    screen.ask("think")
    screen.see("(?s)thought for.*fine.*saved")
    assert "deep inside" not in screen.text
    screen.press("tab", "tab", "tab", "t")
    screen.see("deep inside")
    screen.press("t")
    screen.see_gone("deep inside")


def test_the_lists_begin_at_what_is_in_use(terminal, echo) -> None:
    echo("one", 5)
    echo("two", 6, text="I am two")
    screen = terminal("-p", "one")
    screen.see("One · echo │")
    screen.press("tab", "\x1b[B", "enter")
    screen.see("Two · echo │")


def test_without_any_model_the_way_to_one_is_told(terminal, home: Path) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "starter.toml").write_text(
        'title = "Starter"\nslot = 5\nbackend = "llama_cpp"\n[model]\nfamily = "x"\nquantization = "y"\n'
        '[backends.llama_cpp]\nsource = "file:/nowhere/x.gguf"\n'
    )
    screen = terminal()
    screen.see("(?s)No model is here yet.*deepseek-tui pull")
    assert "tiny model" not in screen.text


def test_the_key_line_has_only_whole_keys(terminal, echo) -> None:
    echo()
    screen = terminal("-p", "demo", width=80, height=24)
    screen.see("Demo · echo │")
    assert screen.text.splitlines()[-1].endswith("^n new  ^f find  ^l lists")


def test_without_colours_nothing_is_coloured(terminal, echo) -> None:
    echo(text="plain")
    screen = terminal("-p", "demo", TERM="xterm-16color", NO_COLOR="1", COLORTERM="")
    screen.ask("hello")
    screen.see("(?s)plain.*saved")
    before = len(screen.raw)
    screen.press("tab")
    screen.see("┏━ Presets")
    assert re.search(r"\x1b\[[0-9;]*\b4\b[0-9;]*m", screen.raw[before:]), "the chosen line is underlined"
    codes = {code for run in re.findall(r"\x1b\[([0-9;]*)m", screen.raw) for code in run.split(";")}
    assert not codes & {str(code) for code in (*range(30, 39), *range(40, 49), *range(90, 98), *range(100, 108))}
