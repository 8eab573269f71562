"""Every failure is an expected event: what the screen says, and that nothing said is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

WORDS = " ".join(f"word{number}" for number in range(300))


@pytest.mark.parametrize(
    ("options", "shown_first", "doing"),
    [
        ({"load_s": 30.0}, "reading the model", "while loading the model"),
        ({"prefill_tokens_per_second": 5.0}, "Demo · echo", "while reading the prompt"),
        ({"tokens_per_second": 20.0, "text": WORDS}, "word10", "while answering"),
    ],
)
def test_a_killed_host_is_named_and_can_be_started_again(terminal, echo, hosts, options, shown_first, doing) -> None:
    echo(**options)
    screen = terminal("-p", "demo")
    screen.see("Ask anything")
    screen.ask("question " * 50)
    screen.see(shown_first)
    screen.read(0.5)
    for pid in hosts():
        os.kill(pid, signal.SIGKILL)
    screen.see(doing)
    if "text" in options:
        screen.see("word10")
    echo(text="alive again")
    screen.leave()
    screen = terminal("-p", "demo")
    screen.see(doing)
    screen.press("^r")
    screen.see("alive again")


def test_an_idle_host_that_dies_is_told_and_the_next_question_starts_another(terminal, echo, hosts) -> None:
    echo(text="yes")
    screen = terminal("-p", "demo")
    screen.ask("one")
    screen.see("yes")
    for pid in hosts():
        os.kill(pid, signal.SIGKILL)
    screen.see("not loaded")
    screen.ask("two")
    screen.see(r"(?s)two.*yes")


def test_hostile_output_is_harmless_text(terminal, echo) -> None:
    hostile = "a[/x]b \x1b[31mred \x1b]52;c;aGk=\x07 left\u202eright nul\x00 end"
    echo(text=hostile, reasoning=hostile)
    screen = terminal("-p", "demo")
    screen.ask("be evil")
    text = screen.see("saved")
    assert "a[/x]b" in text
    assert "␛[31mred" in text
    assert "nul␀ end" in text
    assert "⟨U+202E⟩right" in text
    assert "\x1b]52" not in screen.raw
    assert "\u202e" not in screen.raw
    assert "\x1b[31mred" not in screen.raw


def test_an_engine_that_fails_is_told_with_its_hint(terminal, echo) -> None:
    echo(fail="load")
    screen = terminal("-p", "demo")
    screen.see("✗ There is too little memory for this model")
    screen.see("Try a smaller one")
    screen.ask("anyway")
    screen.see("✗ There is too little memory.*try|What was|tries again")


def test_broken_presets_are_named_and_the_others_work(terminal, echo, home: Path) -> None:
    echo(text="still here")
    folder = home / "config" / "presets"
    (folder / "typo.toml").write_text('title = "Typo"\nbackend = "echo"\n[model]\nfamily = "x"\nquantisation = "y"\n')
    (folder / "syntax.toml").write_text("title = \n")
    screen = terminal("-p", "demo")
    text = screen.see("line 5: model.quantisation")
    assert "Did you mean model.quantization?" in text
    screen.see("syntax.*not valid TOML")
    screen.ask("hello")
    screen.see("still here")


@pytest.mark.parametrize(("name", "content"), [("truncated", None), ("text", b"this is no model at all\n" * 100)])
def test_a_model_file_that_is_none_is_told(terminal, home: Path, starter_gguf: Path, name: str, content) -> None:
    model = home.parent / f"{name}.gguf"
    model.write_bytes(content or starter_gguf.read_bytes()[:5_000_000])
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "bad.toml").write_text(
        'title = "Bad"\nslot = 6\nbackend = "llama_cpp"\n[model]\nfamily = "x"\nquantization = "y"\n'
        f'[backends.llama_cpp]\nsource = "file:{model}"\n'
    )
    screen = terminal("-p", "bad")
    screen.see(f"{name}.gguf", 30)
    screen.see(r"Bad · \S+ · not loaded")
    screen.press("f6")
    screen.see(r"Starter 135M · llama\.cpp · CPU", 30)


def test_two_screens_see_the_same_answer(terminal, echo) -> None:
    echo(text=WORDS, tokens_per_second=40)
    first = terminal("-p", "demo")
    first.ask("talk")
    first.see("word5")
    second = terminal()
    second.see(r"word\d+")
    second.see("word299", 20)
    first.see("word299", 20)
    second.see("saved")
    first.see("saved")
    second.ask("more")
    first.see("more", 10)


def test_a_small_terminal_and_back(terminal, echo) -> None:
    echo(text=WORDS, tokens_per_second=50)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("word10")
    screen.resize(40, 10)
    text = screen.see(r"word\d+")
    assert all(len(line) <= 40 for line in text.splitlines())
    screen.type("typed while small")
    screen.see("typed while small")
    screen.resize(120, 34)
    screen.see("Presets")
    screen.see("word299", 20)
    screen.see("typed while small")


def test_a_host_of_another_build_is_replaced_when_idle(terminal, echo, hosts, home: Path) -> None:
    import asyncio

    from backends.host import launch
    from backends.host.wire import HostSpec

    async def old_host() -> None:
        spec = HostSpec("echo", "older", {}, "Older", "0.0.1+old", 60.0)
        client = await launch.obtain(spec)
        await client.loaded()
        await client.close()

    asyncio.run(old_host())
    before = hosts()
    assert len(before) == 1
    echo(text="from the new one")
    screen = terminal("-p", "demo")
    screen.ask("hello")
    screen.see("from the new one")
    assert set(hosts()).isdisjoint(before)


def test_a_data_folder_that_cannot_be_used_is_told(terminal, echo, home: Path) -> None:
    echo()
    (home / "data").write_text("a file where a folder should be")
    screen = terminal("-p", "demo")
    screen.see("The conversations cannot be")
    screen.ask("lost?")
    screen.see("Your text stays here")
    screen.see("lost\\?")


def test_a_preset_with_a_hostile_title_does_no_harm_in_list_and_palette(terminal, echo) -> None:
    echo("evil", 6, title="[/x] \x1b]52;c;aGk=\x07 [bold]evil", text="tame")
    screen = terminal("-p", "evil")
    screen.see(r"\[/x\] ␛\]52")
    screen.press("^p")
    screen.type("evil")
    screen.see(r"Preset: \[/x\] ␛\]52")
    screen.press("enter")
    screen.see_gone("Preset: ")
    screen.ask("hello")
    screen.see("tame")
    assert "\x1b]52" not in screen.raw
