"""Other keys by config.toml, in a real terminal: they work, and nothing on the screen names the old ones."""

from __future__ import annotations

import os
import re
from pathlib import Path

OTHERS = """\
[keys]
answer.stop = "ctrl+g"
composer.editor = "ctrl+k"
answer.retry = "ctrl+n"
chat.new = "ctrl+r"
answer.resume = "f11"
answer.now = "f12"
program.plan = "ctrl+t"
answer.thought = "ctrl+v"
program.palette = "ctrl+o"
preset.backend = "ctrl+y"
preset.5 = "ctrl+d"
program.help = "ctrl+w"
chats.delete = "D"
"""
OLD = r"\bEsc (stops|gives)|\bF8\b|\bF6\b|\bF1\b|\^p\b|\^e\b|\^o backend|\^t thought|\^r (retry|tries)|\^n new"


def write(text: str) -> None:
    folder = Path(os.environ["DEEPSEEK_TUI_HOME"]) / "config"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(text)


def test_other_keys_work_and_no_old_key_is_named_anywhere(terminal, echo) -> None:
    echo(slot=5, text="word " * 400, tokens_per_second=20.0)
    write(OTHERS)
    screen = terminal("-p", "demo")
    seen = [screen.see(r"\^w help  \^q quit  F2 F3 F4 F5 \^d F7 preset")]
    seen.append(screen.see(r"\^d Demo"))
    screen.ask("one")
    screen.see("word word")
    screen.press("esc")
    screen.press("^g")
    seen.append(screen.see(r"Stopped\. \^n tries again, F11 goes on from here"))
    screen.press("^n")
    screen.see(r"‹2/2›")
    screen.press("^g")
    screen.see("Stopped")
    screen.press("^w")
    seen.append(screen.see("Esc closes"))
    assert "Ctrl+N" in seen[-1]
    screen.press("i")
    screen.see(r"Ctrl\+N +answer\.retry")
    screen.press("^w")
    screen.see_gone("answer.retry")
    screen.press("^t")
    seen.append(screen.see(r"The plan: what this machine can run"))
    screen.press("^t")
    screen.see_gone("The plan: what this machine can run")
    screen.press("^o")
    seen.append(screen.see("Search for commands|Search"))
    screen.type("plan")
    seen.append(screen.see(r"Ctrl\+T"))
    screen.press("esc")
    screen.see_gone(r"Ctrl\+T")
    screen.press("^r")
    seen.append(screen.see("New chat"))
    for text in seen:
        assert not re.search(OLD, text), re.search(OLD, text)
    screen.leave()


def test_wrong_keys_are_told_at_the_start_and_the_old_ones_still_work(terminal, echo) -> None:
    echo(text="Yes.")
    write('[keys]\nanswer.rety = "f12"\nprogram.quit = ""\nchat.new = "ctrl+q"\n')
    screen = terminal("-p", "demo")
    screen.see("Some of your keys cannot be used as they are")
    screen.see(r"(?s)line 2:.*answer\.rety.*Did you mean.*answer\.retry\?")
    screen.see(r"(?s)line 3:.*program\.quit")
    screen.see(r"(?s)line 4:.*chat\.new")
    screen.leave()


def test_alt_with_a_digit_and_ctrl_with_space_arrive_as_terminals_without_newer_protocols_send_them(
    terminal, echo
) -> None:
    echo(slot=5)
    echo("other", slot=6)
    write('[keys]\nchat.lists = "ctrl+space"\n')
    screen = terminal("-p", "demo")
    screen.see("F6 Demo +●")
    screen.press("\x1b6")
    text = screen.see("F7 Other +●")
    assert "§" not in text
    screen.press("\x00")
    screen.see_gone("F7 Other")
    screen.leave()
