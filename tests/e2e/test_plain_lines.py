"""The program in plain lines, as somebody with a screen reader uses it: in a real terminal, on the echo backend."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Terminal


@pytest.fixture
def plain(terminal: Callable[..., Terminal], echo: Callable[..., None]) -> Callable[..., Terminal]:
    """Start a plain conversation with an echo preset of these options, and wait for its prompt."""

    def start(*arguments: str, environment: dict[str, str] | None = None, **options: object) -> Terminal:
        if options:
            echo(**options)
        one = terminal("--profile", "plain", "-p", "demo", *arguments, **(environment or {}))
        prompted(one)
        return one

    return start


def words(count: int) -> str:
    """Return so many words, in sentences of ten."""
    return " ".join(f"word{number}" + ("." if number % 10 == 9 else "") for number in range(count))


def prompted(one: Terminal, seconds: float = 15.0) -> None:
    """Wait for the prompt, with nothing typed behind it."""
    deadline = time.monotonic() + seconds
    while not re.search(r"You:$", one.text.rstrip()):
        assert time.monotonic() < deadline, f"no prompt:\n{one.text}"
        one.read()


def said(one: Terminal, text: str, pattern: str = "Done|Stopped|Problem") -> str:
    """Say something, wait for what is to come and for the next prompt, and return what was written between."""
    begun = len(one.raw)
    one.child.send(text + "\r")
    deadline = time.monotonic() + 20.0
    while not re.search(pattern, one.raw[begun:], re.DOTALL) or not one.text.rstrip().endswith("You:"):
        assert time.monotonic() < deadline, f"{text}: {pattern!r} did not come:\n{one.text}"
        one.read()
    return one.raw[begun:]


def answers(home: Path) -> list[tuple[str, str]]:
    """What is in the store of all answers: the state and the text."""
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        return db.execute("SELECT state, text FROM message WHERE role = 'assistant' ORDER BY created_at").fetchall()


def test_a_question_is_answered_in_whole_lines_and_nothing_is_written_over(plain: Callable[..., Terminal]) -> None:
    text = "The first line.\n\nThe second one is here."
    one = plain(reasoning="A moment. " * 5, text=text, tokens_per_second=20.0)
    written = said(one, "Why?")
    plain_text = re.sub(r"\x1b\[\?2004[hl]\r?", "", written)
    assert "\x1b" not in plain_text, plain_text
    answer = plain_text.partition("Why?")[2]
    assert re.search(r"Thinking …\r\n.*Thought for [\d.]+ s, \d+ tokens\.\r\n.*The first line\.\r\n", answer, re.DOTALL)
    assert re.search(r"here\.\r\nDone: [\d.]+ tokens a second.*\.\r\nYou: $", answer, re.DOTALL)
    assert "\r" not in answer.replace("\r\n", ""), "a line was written over"


def test_ctrl_c_stops_the_answer_and_at_an_empty_prompt_twice_leaves(plain: Callable[..., Terminal]) -> None:
    one = plain(text=words(400), tokens_per_second=30.0)
    one.child.send("Go on\r")
    one.see("word1 word2")
    one.press("^c")
    one.see("Stopped")
    prompted(one)
    one.press("^c")
    one.see("Ctrl.C again, or Ctrl.D, leaves")
    one.press("^c")
    assert one.ended() == 0


def test_ctrl_d_leaves_and_the_answer_goes_on(plain: Callable[..., Terminal], home: Path) -> None:
    one = plain(text=words(60), tokens_per_second=30.0)
    one.child.send("Go on\r")
    one.see("word1 word2")
    one.press("^d")
    assert one.ended() == 0
    assert "The answer goes on" in one.raw
    again = plain()  # which follows it to its end
    assert "word59" in again.text
    assert answers(home) == [("done", words(60))]


def test_a_line_that_is_cut_loses_nothing(plain: Callable[..., Terminal], home: Path) -> None:
    one = plain(text=words(60), tokens_per_second=40.0)
    one.child.send("Go on\r")
    one.see("word1 word2")
    one.cut()
    assert one.gone(3.0) < 2.5
    plain()
    assert answers(home) == [("done", words(60))]


def test_a_question_on_its_way_when_the_line_is_cut_is_kept(plain: Callable[..., Terminal], home: Path) -> None:
    one = plain(text="Here it is.", load_s=1.0)
    one.child.send("Still there?\r")
    time.sleep(0.2)
    one.cut()
    one.gone(3.0)
    again = plain()
    again.see("Here it is[.]|Interrupted|/retry")
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        assert db.execute("SELECT text FROM message WHERE role = 'user'").fetchall() == [("Still there?",)]


def test_a_pasted_newline_sends_nothing(plain: Callable[..., Terminal], home: Path) -> None:
    one = plain(text="Two lines.")
    one.child.send("\x1b[200~first\rsecond\r\x1b[201~")
    one.read(0.5)
    assert not (home / "data" / "chats.sqlite3").exists() or answers(home) == []
    one.child.send("\r")
    one.see("Done")
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        assert db.execute("SELECT text FROM message WHERE role = 'user'").fetchall() == [("first\nsecond",)]


def test_a_paste_that_no_terminal_marks_is_sent_by_one_more_enter(plain: Callable[..., Terminal], home: Path) -> None:
    one = plain(environment={"TERM": "dumb"}, text="Three lines.")
    one.child.send("first\rsecond\rthird\r")
    one.see("3 lines pasted. Enter sends them")
    assert answers(home) == []
    one.child.send("\r")
    one.see("Done")
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        assert db.execute("SELECT text FROM message WHERE role = 'user'").fetchall() == [("first\nsecond\nthird",)]


def test_lines_go_on_after_a_backslash_and_in_a_block(plain: Callable[..., Terminal], home: Path) -> None:
    one = plain(text="Well.")
    for line in ("one \\", "two"):
        one.child.send(line + "\r")
        one.read(0.2)
    one.see("Done")
    prompted(one)
    for line in ('"""', "three", "", "four", '"""'):
        one.child.send(line + "\r")
        one.read(0.2)
    one.see("Done(.|\n)*Done")
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        asked = [text for (text,) in db.execute("SELECT text FROM message WHERE role = 'user' ORDER BY created_at")]
    assert asked == ["one \ntwo", "three\n\nfour"]


def test_what_is_typed_meanwhile_stands_at_the_next_prompt(plain: Callable[..., Terminal]) -> None:
    one = plain(text=words(30), tokens_per_second=30.0)
    one.child.send("Go on\r")
    one.see("word")
    one.child.send("and then?")
    one.see(r"Done(.|\n)*You: and then\?")
    assert "and then?" not in one.text.partition("Done")[0], "it was shown between the lines"


def test_an_escape_sequence_of_the_model_is_only_a_sign(plain: Callable[..., Terminal]) -> None:
    one = plain(text="a\x1b[2Jb\x07 and more.")
    assert "␛[2Jb␇" in said(one, "Why?")


def test_each_command_says_something_and_an_unknown_one_is_told(plain: Callable[..., Terminal]) -> None:
    one = plain(reasoning="Well.", text="Blue light.")
    said(one, "Why is the sky blue?")
    for command, told in (
        ("/help", "/new: begin a new chat"),
        ("/presets", "demo: Demo, .*It answers now"),
        ("/thought", "Well"),
        ("/retry", "Blue light(.|\n)*Done"),
        ("/before", "Version 1 of 2"),
        ("/after", "Version 2 of 2"),
        ("/resume", "Done|Problem"),
        ("/chats", "1. Why is the sky blue"),
        ("/find blue", "1. Why is"),
        ("/chat 1", "2 messages"),
        ("/chat blue sky", "2 messages"),
        ("/rename Of the sky", "The title is Of the sky"),
        ("/copy", "The message: sent to the terminal's clipboard"),
        ("/code", "There is no code"),
        ("/copy-all", "The chat: sent to the terminal's clipboard"),
        ("/system Be brief.", "It holds from the next question on"),
        ("/system", "System prompt: Be brief"),
        ("/sampling temperature 0.2", "It holds"),
        ("/sampling", "temperature: 0.2(.|\n)*seed: as the preset says"),
        ("/sampling seed x", "Problem: seed cannot be used"),
        ("/system none", "It holds"),
        ("/read", "You, "),
        ("/backend", "Demo has only echo"),
        ("/plan", "LAYERS"),
        ("/usage", "ANSWERS"),
        ("/preset demo", "Demo answers from now on"),
        ("/free", "The memory is free"),
        ("/new", "A new chat"),
        ("/nwe", "There is no command /nwe, and nothing was sent. Did you mean /new"),
        ("/chat nothing", "Problem: "),
    ):
        said(one, command, told)
    one.child.send("/quit\r")
    assert one.ended() == 0


def test_an_edited_question_is_asked_beside_the_old_one(plain: Callable[..., Terminal], home: Path) -> None:
    one = plain(text="Well.")
    said(one, "Why")
    one.child.send("/edit\r")
    one.see(r"You: Why\n")
    one.child.send(" not?\r")
    one.see("Done(.|\n)*Done")
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        rows = db.execute("SELECT text, parent FROM message WHERE role = 'user' ORDER BY created_at").fetchall()
    assert rows == [("Why", None), ("Why not?", None)]


def test_who_leaves_a_question_unedited_asks_the_next_one_behind_it(plain: Callable[..., Terminal], home: Path) -> None:
    one = plain(text="Well.")
    said(one, "Why")
    one.child.send("/edit\r")
    one.see(r"You: Why\n")
    one.press("^c")
    one.see("stays as it was")
    said(one, "What else?")
    one.child.send("/edit\r")
    one.see(r"You: What else[?]\n")
    one.press("^u")
    said(one, "/copy", "Clipboard|clipboard|copied")
    said(one, "And then?")
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        rows = db.execute("SELECT text, parent IS NULL FROM message WHERE role = 'user' ORDER BY created_at").fetchall()
    assert rows == [("Why", 1), ("What else?", 0), ("And then?", 0)]


def test_a_shell_that_stops_it_and_lets_it_go_on_changes_nothing(plain: Callable[..., Terminal]) -> None:
    def stop_and_go_on(one: Terminal) -> None:
        before = termios.tcgetattr(one.child.child_fd)
        one.child.kill(signal.SIGSTOP)
        time.sleep(0.2)
        shells = termios.tcgetattr(one.child.child_fd)
        shells[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(one.child.child_fd, termios.TCSANOW, shells)
        one.child.kill(signal.SIGCONT)
        deadline = time.monotonic() + 3.0
        while termios.tcgetattr(one.child.child_fd)[3] != before[3]:
            assert time.monotonic() < deadline, "its modes are those of the shell"
            one.read()

    one = plain(text=words(400), tokens_per_second=30.0)
    one.child.send("Half")
    one.see("You: Half")
    stop_and_go_on(one)
    one.see("You: Half(.|\n)*You: Half")
    one.child.send(" of it\r")
    one.see("word1 word2")
    stop_and_go_on(one)
    one.press("^d")
    one.see("The answer goes on")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_what_stands_at_the_prompt_outlives_the_program(
    plain: Callable[..., Terminal], terminal: Callable[..., Terminal], home: Path, number: int
) -> None:
    one = plain(text="Well.")
    one.child.send("the first line \\\r")
    one.see(r"(?m)^\.$")
    one.child.send("and half of a")
    one.see("half of a")
    one.child.kill(number)
    one.gone(3.0)
    assert "and half of a" in (home / "state" / "drafts" / "new.json").read_text()
    again = terminal("--profile", "plain", "-p", "demo")
    again.see("half of a")
    again.child.send(" sentence\r")
    again.see("Done")
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        assert db.execute("SELECT text FROM message WHERE role = 'user'").fetchall() == [
            ("the first line \nand half of a sentence",)
        ]
    assert not list((home / "state" / "drafts").glob("*.json"))


def test_what_was_asked_comes_back_by_the_arrow_at_the_next_start(plain: Callable[..., Terminal]) -> None:
    said(plain(text="Well."), "Why is the sky blue?")
    again = plain()
    again.press("up")
    again.see("You: Why is the sky blue[?]")


def test_a_file_goes_along_with_a_question(plain: Callable[..., Terminal], home: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("It is blue.\n")
    one = plain(text="Well.")
    assert "Goes along: " in said(one, f"What says @{tmp_path}/notes.txt ?")
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        ((text,),) = db.execute("SELECT text FROM message WHERE role = 'user'").fetchall()
    assert "It is blue." in text
    one.child.send("And @/nowhere/at/all.txt ?\r")
    one.see("no such file(.|\n)*as it is")
    one.child.send("n\r")
    one.see(r"You: And @/nowhere/at/all.txt [?]\s*$")  # To be corrected.
    one.child.send("\r")
    one.see("(as it is(.|\n)*){2}")
    said(one, "y")
    with sqlite3.connect(home / "data" / "chats.sqlite3") as db:
        texts = db.execute("SELECT text FROM message WHERE role = 'user' ORDER BY created_at").fetchall()
    assert texts[1:] == [("And @/nowhere/at/all.txt ?",)]


def test_a_question_is_written_in_the_own_editor(plain: Callable[..., Terminal]) -> None:
    one = plain(text="Well.", environment={"VISUAL": "sh -c 'echo \"From the editor\" > $0'"})
    one.child.send("/editor\r")
    one.see("You: From the editor")
    one.child.send("\r")
    one.see("Done")


def test_a_path_at_the_beginning_is_no_command(plain: Callable[..., Terminal]) -> None:
    said(plain(text="Well."), "/etc/fstab is what?", "Done")


def test_a_conversation_that_is_too_long_is_asked_about(plain: Callable[..., Terminal]) -> None:
    one = plain(context=300, text="said " * 60)
    said(one, "first " + "word " * 100)
    one.child.send("second " + "word " * 100 + "\r")
    one.see("(?s)no longer fits.*1[.] Go on without the oldest 2.*2[.] Load.*What is to be done[?]")
    one.child.send("1\r")
    one.see("(?s)What is to be done[?] 1.*said said.*Done")
    prompted(one)
    one.child.send("/quit\r")
    assert one.ended() == 0


def test_a_model_that_fails_says_what_to_do_and_the_prompt_is_back(plain: Callable[..., Terminal]) -> None:
    one = plain(text=words(20), fail="decode")
    one.child.send("Why?\r")
    one.see("(?s)word.*Problem: The engine failed.*Try again.*/resume goes on from here, /retry begins anew")
    prompted(one)


def test_a_dead_engine_is_told_and_another_one_answers(
    plain: Callable[..., Terminal], hosts: Callable[[], list[int]], echo: Callable[..., None]
) -> None:
    one = plain(text="Still here.")
    said(one, "Why?")
    for pid in hosts():
        os.kill(pid, signal.SIGKILL)
    one.read(0.3)
    assert "Still here." in said(one, "And now?")


def test_without_somebody_at_a_terminal_it_points_to_ask(home: Path) -> None:
    program = [sys.executable, "-P", "-m", "tui", "--profile", "plain"]
    ended = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert 'deepseek-tui ask "Why is the sky blue?"' in ended.stderr


def test_a_terminal_that_can_do_nothing_is_told_of_plain_lines(terminal: Callable[..., Terminal]) -> None:
    one = terminal(TERM="dumb")
    assert one.ended() == 2
    assert "deepseek-tui --profile plain" in one.text


def test_a_signal_to_end_leaves_the_terminal_as_it_was(plain: Callable[..., Terminal]) -> None:
    one = plain(text=words(100), tokens_per_second=20.0)
    one.child.send("Go on\r")
    one.see("word")
    os.kill(one.child.pid, signal.SIGTERM)
    one.ended()
    assert one.child.exitstatus == 128 + signal.SIGTERM


def test_a_terminal_that_reads_no_more_keeps_nobody(plain: Callable[..., Terminal], home: Path) -> None:
    line = "A line of words that goes on and ends here.\n"
    one = plain(text=line * 40, repeat=100, tokens_per_second=20_000.0, context=200_000)
    one.child.send("Go on\r")
    time.sleep(2.0)  # Nobody reads, and more comes than a terminal holds.
    os.kill(one.child.pid, signal.SIGTERM)
    assert one.gone(2.5) < 2.5
    plain()
    ((state, text),) = answers(home)
    assert (state, len(text)) == ("done", len(line * 40 * 100))
