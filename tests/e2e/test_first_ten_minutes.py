"""What a new user does first, in a real terminal."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

WORDS = " ".join(f"word{number}" for number in range(300))


def test_a_real_answer_streams_in_and_is_there_again_after_a_restart(terminal) -> None:
    screen = terminal("-p", "starter")
    screen.see("Ask anything")
    screen.ask("Say hello in one short sentence.")
    screen.see(r"tok/s │ context \d+/\dk? │ .* │ saving|saved", 60)
    text = screen.see(r"\d tok/s │ context \d+/[\dk.]+ │ .* │ saved", 60)
    answer = text.split("Starter 135M · llama.cpp")[-1]
    assert re.search(r"[a-z]{2}", answer)
    screen.leave()

    again = terminal()
    again.see("Say hello in one short sentence.")
    again.see("Starter 135M · llama.cpp")
    again.leave()


def test_the_readmes_second_preset_is_a_switch_to_another_real_model_and_back(terminal, home: Path) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    text = 'extends = "starter"\ntitle = "Starter, bolder"\nslot = 6\nsampling.temperature = 1.2\ncontext = 1024\n'
    (folder / "bolder.toml").write_text(text)
    screen = terminal("-p", "starter")
    screen.see(r"Starter 135M · llama\.cpp · CPU", 30)
    screen.press("f7")
    screen.see(r"Starter, bolder · llama\.cpp · CPU.*context –/1k", 30)
    screen.ask("Say hello in one short sentence.")
    screen.see(r"Starter, bolder · llama.cpp")
    screen.see(r"\d tok/s │ context [\d.k]+/1k │ .* │ saved", 60)
    screen.press("f6")
    screen.see(r"Starter 135M · llama\.cpp · CPU", 30)
    screen.ask("And again.")
    screen.see(r"(?s)And again\..*Starter 135M · llama\.cpp")
    screen.see(r"\d tok/s │ context [\d.k]+/2k │ .* │ saved", 60)


def test_switching_to_another_preset_and_back_keeps_what_is_typed(terminal, echo) -> None:
    echo("one", 5, load_s=0.5, text="I am one.")
    echo("two", 6, load_s=3.0, text="I am two.")
    screen = terminal("-p", "one")
    screen.ask("who?")
    screen.see("I am one.")
    screen.type("half a sen")
    screen.press("f7")
    screen.see(r"Two: reading the model ▕.*▏ +\d+%")
    screen.see("half a sen")
    screen.see_gone("reading the model")
    screen.type("tence")
    screen.press("enter")
    screen.see("I am two.")
    screen.see("half a sentence")
    screen.press("f6")
    screen.see_gone("reading|starting|ending")
    screen.ask("and now?")
    screen.see(r"(?s)I am two\..*I am one\.")


def test_loading_can_be_stopped(terminal, echo, hosts) -> None:
    echo("slow", 6, load_s=60.0)
    screen = terminal("-p", "slow")
    screen.see("Slow: reading the model")
    screen.press("esc")
    screen.see("Slow · echo · not loaded")
    deadline = time.monotonic() + 10
    while hosts():
        assert time.monotonic() < deadline
        screen.read(0.1)


def test_leaving_in_mid_answer_loses_nothing_and_the_rest_streams_in_again(terminal, echo) -> None:
    echo(text=WORDS, tokens_per_second=40)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("word40")
    screen.press("^q")
    assert screen.ended() == 0
    assert "The answer goes on" in screen.raw

    again = terminal()
    text = again.see(r"word\d+")
    first = max(int(number) for number in re.findall(r"word(\d+)", text))
    assert first < 299, "it was to be found in the middle"
    again.see("word299", 20)
    again.see("saved")


def test_two_presses_of_quit_end_the_answer_too(terminal, echo) -> None:
    echo(text=WORDS, tokens_per_second=20)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("word5")
    screen.press("^q", "^q")
    assert screen.ended() == 0
    again = terminal()
    again.see("Stopped")


def test_a_lost_line_ends_the_screen_at_once_and_the_answer_goes_on(terminal, echo) -> None:
    echo(text=WORDS, tokens_per_second=100)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("word20")
    hung_up = time.monotonic()
    os.kill(screen.child.pid, signal.SIGHUP)
    screen.ended(2)
    assert time.monotonic() - hung_up < 2
    again = terminal()
    again.see("word299", 20)
    again.see("saved")


def test_stop_keeps_what_was_said_and_retry_and_resume_go_on(terminal, echo) -> None:
    echo(text=WORDS, tokens_per_second=60)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("word20")
    screen.press("esc")
    screen.see("Stopped")
    screen.see("word20")
    screen.press("^e")
    screen.see("word299", 20)
    screen.see("saved")
    screen.press("^r")
    screen.see("saving")
    screen.press("esc")
    screen.see("Stopped")


def test_enter_typed_with_the_text_sends_it(terminal, echo) -> None:
    echo(text="got it")
    screen = terminal("-p", "demo")
    screen.see("Ask anything")
    screen.type("all at once\r")
    screen.see("got it")


def test_a_new_chat_and_the_list_of_chats(terminal, echo) -> None:
    echo(text="fine")
    screen = terminal("-p", "demo")
    screen.ask("first question")
    screen.see("fine")
    screen.press("^n")
    screen.see_gone("fine")
    screen.ask("second question")
    text = screen.see("fine")
    sidebar = [line[:32] for line in text.splitlines()]
    assert any("first question" in line for line in sidebar)
    assert any("second question" in line for line in sidebar)


def test_help_shows_every_key(terminal, echo) -> None:
    echo()
    screen = terminal("-p", "demo")
    screen.see("Ask anything")
    screen.press("f1")
    screen.see("Begin a new chat")
    screen.press("esc")
    screen.see_gone("Begin a new chat")


def test_without_a_terminal_worth_the_name_the_way_to_ask_is_told(terminal) -> None:
    screen = terminal(TERM="dumb")
    assert screen.ended() == 2
    assert "ask" in screen.raw


def test_a_home_of_150_characters_works(terminal, echo, long_home: Path) -> None:
    echo(text="deep down")
    screen = terminal("-p", "demo")
    screen.ask("hello")
    screen.see("deep down")
    screen.see("saved")
