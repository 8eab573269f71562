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
