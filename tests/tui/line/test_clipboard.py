"""Which way text goes to the clipboard, and what signals and titles are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.line import clipboard, outlet, profile, signals, tmux
from tui.line.clipboard import MOST_ENCODED, Plan, has_clipboard, plan
from tui.line.tmux import Tmux

ON, EXTERNAL = Tmux("on", "off", can_load=True), Tmux("external", "off", can_load=True)
PASSING, OLD = Tmux("external", "on", can_load=True), Tmux("external", "off", can_load=False)


@pytest.fixture
def said(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is written to the terminal."""
    for name in ("TMUX", "STY", "TERM_PROGRAM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    profile.choose(None)
    written: list[str] = []
    outlet.to(written.append)
    yield written
    outlet.to(None)
    clipboard.choose("auto")
    signals.choose("off", title=True)


@pytest.mark.parametrize(
    ("through", "setting", "tmux", "way"),
    [
        ("", "auto", None, "osc52"),
        ("tmux", "auto", ON, "osc52"),
        ("tmux", "auto", PASSING, "passthrough"),
        ("tmux", "auto", EXTERNAL, "buffer"),
        ("tmux", "auto", OLD, "file"),
        ("tmux", "auto", None, "osc52"),
        ("tmux", "osc52", EXTERNAL, "osc52"),
        ("tmux", "tmux", PASSING, "buffer"),
        ("", "tmux", None, "file"),
        ("screen", "auto", None, "screen"),
        ("screen", "file", None, "file"),
    ],
)
def test_a_text_takes_the_way_that_leads_to_the_terminal(through, setting, tmux, way) -> None:
    assert plan(100, through, setting, tmux, clipboard=True) == Plan(way)


@pytest.mark.parametrize(
    ("through", "tmux", "way"), [("", None, "file"), ("tmux", ON, "buffer"), ("screen", None, "file")]
)
def test_what_a_terminal_would_not_take_goes_elsewhere(through, tmux, way) -> None:
    assert plan(MOST_ENCODED + 1, through, "auto", tmux, clipboard=True) == Plan(way, too_large=True)
    assert plan(100, "", "auto", None, clipboard=False) == Plan("file")


def test_terminals_without_a_clipboard_are_known() -> None:
    assert has_clipboard({"TERM": "xterm-256color"})
    assert not has_clipboard({"TERM": "linux"})
    assert not has_clipboard({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"})


def test_a_text_is_cleaned_and_sent(said: list[str]) -> None:
    assert clipboard.deliver("a\x1b]52;c;?\a\n\tπ") == "sent to the terminal's clipboard"
    assert said == ["\x1b]52;c;YeKQm101MjtjOz/ikIcKCc+A\a"]


def test_a_tmux_at_the_other_end_of_the_line_is_named(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "tmux-256color")
    assert clipboard.deliver("x").endswith("set-clipboard on")
    assert said == ["\x1b]52;c;eA==\a"]


def test_a_text_that_is_too_large_is_in_a_file_for_its_owner_alone(said: list[str], home: Path) -> None:
    text = "long\n" * 20_000
    words = clipboard.deliver(text)
    assert words.startswith("too large for the clipboard (")
    file = home / "state" / "copied.txt"
    assert words.endswith("copied.txt")
    assert (file.read_text(), file.stat().st_mode & 0o777, said) == (text, 0o600, [])
    clipboard.choose("file")
    assert clipboard.deliver("short").startswith("it is in ")
    assert file.read_text() == "short"


def test_a_file_that_cannot_be_written_is_told(said: list[str], home: Path) -> None:
    (home / "state").write_text("in the way")
    clipboard.choose("file")
    with pytest.raises(clipboard.CannotCopy, match="Nothing was copied"):
        clipboard.deliver("x")


def test_a_tmux_that_hangs_holds_up_nothing_for_long(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmux").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "tmux").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("TMUX", "/nowhere,1,0")
    monkeypatch.setattr(tmux, "_PATIENCE_S", 0.1)
    assert clipboard.deliver("x") == "sent to the terminal's clipboard"
    assert len(said) == 1


@given(st.text(max_size=3000))
def test_screen_gets_pieces_that_it_takes_and_that_make_up_the_whole(text: str) -> None:
    pieces = re.findall(
        r"\x1bP((?:[^\x1b]|\x1b(?!\\))*)\x1b\\", outlet.passed_on("x" + text.replace("\x1b", ""), "screen")
    )
    assert "".join(pieces) == "x" + text.replace("\x1b", "")
    assert all(len(piece) <= 764 for piece in pieces)


@given(st.text(max_size=400), st.sampled_from(["osc9", "osc777"]))
def test_nothing_in_a_text_ends_or_splits_a_signal(text: str, setting) -> None:
    found = signals.signal(setting, text, "")
    start = {"osc9": "\x1b]9;", "osc777": "\x1b]777;notify;deepseek-tui;"}[setting]
    body = found.removeprefix(start).removesuffix("\a")
    assert found.startswith(start)
    assert found.endswith("\a")
    assert len(body) <= 200
    assert not re.search(r"[\x00-\x1f\x7f-\x9f;]", body)


def test_a_signal_goes_through_a_multiplexer_and_a_bell_needs_none() -> None:
    assert signals.signal("osc9", "done", "tmux") == "\x1bPtmux;\x1b\x1b]9;done\a\x1b\\"
    assert signals.signal("bell", "done", "tmux") == "\a"
    assert signals.signal("off", "done", "") == ""


def test_only_a_long_answer_or_one_that_nobody_sees_is_signalled(said: list[str]) -> None:
    signals.choose("bell", title=True)
    signals.ended("quick", 2.0, looking=True)
    assert said == []
    signals.ended("quick", 2.0, looking=False)
    signals.ended("long", 11.0, looking=True)
    assert said == ["\a", "\a"]


def test_inside_a_tmux_that_does_not_answer_the_signal_is_a_bell(
    said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMUX", "/nowhere,1,0")
    monkeypatch.setenv("PATH", str(tmp_path))
    signals.choose("osc9", title=True)
    signals.ended("long", 11.0, looking=True)
    assert said == ["\a"]


def test_a_console_has_no_window_to_give_a_title(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "linux")
    signals.show_title("a title")
    signals.give_title_back()
    assert said == []


def test_a_title_is_written_once_for_each_change_and_given_back(said: list[str]) -> None:
    signals.show_title("a;b\x1b\n" + "long " * 40)
    signals.show_title("a;b\x1b\n" + "long " * 40)
    signals.show_title("other")
    assert signals.old_title() == "\x1b[23;0t"
    signals.give_title_back()
    assert signals.old_title() == ""
    signals.give_title_back()
    title = ("a,b␛ " + "long " * 40)[:79] + "…"
    assert said == [f"\x1b[22;0t\x1b]2;{title}\a", "\x1b]2;other\a", "\x1b[23;0t"]
    signals.choose("off", title=False)
    signals.show_title("more")
    assert len(said) == 3
