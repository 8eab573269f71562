"""From an empty home directory to the first answer of any preset with two keys: a real terminal, a real engine."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.jobs import launch
from tests.backends.fake_hub import FakeHub, go_online

REPO = "me/small"
ASKED = "Say hello in one short sentence."


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, starter_gguf: Path, tmp_path: Path) -> Iterator[FakeHub]:
    """A Hugging Face that has the starter's file, under another name."""
    with FakeHub() as hub:
        go_online(monkeypatch, hub.root)
        hub.publish("small.gguf", starter_gguf.read_bytes(), tmp_path, REPO)
        yield hub
    for one in launch.survey():
        launch.stop(one.key, force=True)


@pytest.fixture
def small(home: Path) -> None:
    """A preset of the user's on F7 whose model is at that hub."""
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "small.toml").write_text(
        'title = "Small one"\nslot = 6\nbackend = "llama_cpp"\ncontext = 1024\n'
        '[model]\nfamily = "SmolLM2"\nquantization = "Q4_1"\nreasoning = "none"\nlicence = "Apache-2.0"\n'
        "[sampling]\nmax_tokens = 8\n"
        f'[backends.llama_cpp]\nsource = "hf:{REPO}/small.gguf"\ngpu_layers = 0\n'
    )


def answer_of(text: str, who: str) -> str:
    return text.rsplit(who, maxsplit=1)[-1]


def test_two_keys_from_an_empty_home_to_the_first_answer_of_a_preset(terminal, hub: FakeHub, small: None) -> None:
    hub.bytes_per_s = 25e6
    screen = terminal()
    screen.see(r"Starter 135M · llama\.cpp", 30)
    screen.press("f7")
    asked = screen.see(r"(?s)Small one is not here yet: fetch it\?.*Apache-2.0.*size +98 MB.*on the CPU", 20)
    assert f"from      127.0.0.1:{hub.root.rpartition(':')[2]}: {REPO}" in asked
    screen.press("enter")
    screen.see(r"▼ .*\d+/\d+ MB|▼ \d+ %", 10)
    screen.see(r"Small one · llama\.cpp · CPU", 40)
    screen.ask(ASKED)
    shown = screen.see(r"\d tok/s │ context \d+/1k │ .* │ saved", 60)
    assert re.search(r"[a-z]{2}", answer_of(shown, "Small one · llama.cpp"))
    screen.leave()


def test_the_starter_answers_while_a_model_is_fetched_which_is_then_one_key_away(
    terminal, hub: FakeHub, small: None
) -> None:
    hub.bytes_per_s = 8e6
    screen = terminal()
    screen.see(r"Starter 135M · llama\.cpp · CPU", 30)
    screen.press("f7")
    screen.see("fetch it")
    screen.press("enter")
    screen.see(r"fetching \d+ %")
    screen.press("f8")
    screen.see(r"(?s)The plan: what this machine can run.*▼ Small one \d+/98 MB · \d+(\.\d)? MB/s")
    screen.press("esc")
    screen.ask(ASKED)
    screen.see(r"Starter 135M · llama\.cpp +\d\d:\d\d", 30)
    screen.see(r"(?s)Small one is here.*F7 loads it\.", 40)
    screen.press("esc")
    screen.see("saved")
    screen.press("f7")
    screen.see(r"Small one · llama\.cpp · CPU", 30)
    screen.leave()


def test_a_fetch_goes_on_without_its_screen_and_the_next_one_shows_it(terminal, hub: FakeHub, small: None) -> None:
    hub.bytes_per_s = 8e6
    screen = terminal("-p", "small")
    screen.see("Small one is not here yet", 30)
    screen.press("enter")
    screen.see(r"fetching \d+ %")
    screen.leave()
    assert [view.running for view in launch.survey()] == [True]
    hub.bytes_per_s = 4e6
    again = terminal()
    again.see(r"fetching \d+ % · \d+(\.\d)? MB/s", 20)
    again.see(r"▼ Small one \d+/98 MB")
    again.press("^p")
    again.type("stop fetching")
    again.see("Stop fetching Small one")
    again.press("enter")
    again.see(r"(?s)Small one: stopped.*\d+ MB are here and stay: F7 goes on from there")
    again.see(r"stopped at \d+ %")
    deadline = time.monotonic() + 10
    while any(view.running for view in launch.survey()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    hub.bytes_per_s = None
    sent = hub.sent
    again.press("f7")
    again.see(r"of it are here from an earlier try")
    again.press("enter")
    again.see(r"Small one · llama\.cpp · CPU", 40)
    size = (Path(os.environ["DEEPSEEK_TUI_HOME"]) / "data/models/me/small/small.gguf").stat().st_size
    assert hub.sent - sent < size
    again.leave()
