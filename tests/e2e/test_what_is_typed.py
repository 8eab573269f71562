"""What is typed and not sent outlives the program, however that ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path

WORDS = " ".join(f"word{number}" for number in range(120))


def drafts(home: Path) -> dict[str, dict[str, object]]:
    return {file.stem: json.loads(file.read_text()) for file in (home / "state" / "drafts").glob("*.json")}


def test_a_killed_screen_leaves_what_was_typed_half_a_second_ago_to_the_next_start(terminal, echo, home) -> None:
    echo(text="fine")
    screen = terminal("-p", "demo")
    screen.ask("hello")
    screen.see("saved")
    screen.type("half a thou")
    screen.read(1.2)
    screen.child.kill(signal.SIGKILL)
    again = terminal("-p", "demo")
    again.see("> half a thou")
    again.type("ght")
    again.see("> half a thought")
    again.press("enter")
    again.see("half a thought")
    again.leave()
    assert drafts(home) == {}


def test_when_the_line_is_cut_the_last_letter_is_kept(terminal, echo, home) -> None:
    echo(text="fine")
    screen = terminal("-p", "demo")
    screen.see("Demo · echo │")
    screen.type("to the last letter")
    screen.see("last letter")
    screen.cut()
    screen.gone()
    assert drafts(home)["new"]["text"] == "to the last letter"
    terminal("-p", "demo").see("> to the last letter")


def test_a_queued_question_is_a_draft_for_one_who_leaves_and_after_a_kill(terminal, echo, home) -> None:
    echo(text=WORDS, tokens_per_second=15)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("word1")
    screen.ask("what comes next")
    screen.see("Next: what comes next")
    screen.child.kill(signal.SIGKILL)
    again = terminal("-p", "demo")
    again.see("> what comes next")
    again.press("enter")
    again.see("Next: what comes next")
    again.press("^q")
    again.ended()
    assert "stays as a draft" in again.raw
    assert [draft["queued"] for draft in drafts(home).values()] == [["what comes next"]]


def editor(home: Path, script: str) -> str:
    """Return the path of an editor that does what `script` says with its file $1."""
    path = home / "an editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"'{path}'"


def test_an_editor_gets_what_is_typed_and_the_answer_goes_on_meanwhile(terminal, echo, home) -> None:
    echo(text=WORDS, tokens_per_second=60)
    command = editor(
        home, "printf '\\033[2J\\033[Hin the editor'; read word; printf '%s\\nand more' \"$word\" >> \"$1\""
    )
    screen = terminal("-p", "demo", EDITOR=command)
    screen.ask("talk")
    screen.see("word1")
    screen.type("first line")
    screen.see("> first line")
    screen.press("^g")
    screen.see("in the editor")
    screen.read(2.5)  # The answer ends in here.
    assert "word" not in screen.text
    screen.press("^c")  # Ends the editor at most.
    screen.see("ended with an error")
    screen.see("> first line")
    screen.press("^g")
    screen.see("in the editor")
    screen.type("second line\n")
    text = screen.see("and more")
    assert "first line" in text
    assert "second line" in text
    screen.see("word119")
    screen.press("enter")
    screen.see("second line")
    assert not [file for file in (home / "state" / "drafts").iterdir() if file.suffix == ".md"]


def test_an_editor_that_fails_or_is_not_there_leaves_the_text(terminal, echo, home) -> None:
    echo(text="fine")
    screen = terminal("-p", "demo", EDITOR=editor(home, ': > "$1"'))
    screen.see("Demo · echo │")
    screen.type("mine")
    screen.see("> mine")
    screen.press("^g")
    screen.see("Nothing came back")
    screen.see("> mine")
    (home / "an editor").unlink()
    screen.press("^g")
    screen.see("there is no program")
    screen.see("> mine")


def test_when_the_line_is_cut_in_an_editor_what_it_saved_is_typed_at_the_next_start(terminal, echo, home) -> None:
    echo(text="fine")
    screen = terminal("-p", "demo", EDITOR=editor(home, 'echo saved in there > "$1"; echo now editing; sleep 9'))
    screen.see("Demo · echo │")
    screen.type("typed")
    screen.see("> typed")
    screen.press("^g")
    screen.see("now editing")
    screen.cut()
    screen.gone()
    terminal("-p", "demo").see("> saved in there")
