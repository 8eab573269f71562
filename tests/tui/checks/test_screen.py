"""`doctor` says how the screen is drawn on this terminal, and why so."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tui.checks.screen import screen

GOOD = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


@pytest.fixture
def told(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Return what is told about a terminal with these variables."""
    far, near = pty.openpty()
    kept = [os.dup(0), os.dup(1)]

    def tell(**environment: str) -> str:
        for name, value in (GOOD | environment).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("tui.line.whence.parents", lambda: iter(["sh"]))
        monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((100, 30)))
        monkeypatch.setattr(sys, "stdout", open(1, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        os.dup2(near, 0)
        os.dup2(near, 1)
        try:
            (check,) = [check for check in screen() if check.name == "terminal"]
        finally:
            os.dup2(kept[0], 0)
            os.dup2(kept[1], 1)
        return check.found

    yield tell
    for descriptor in (far, near, *kept):
        os.close(descriptor)


def settings(home: Path, text: str) -> None:
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "config.toml").write_text(text)


def test_a_terminal_here(told) -> None:
    assert told() == "TERM=xterm-256color, 16 million colours, UTF-8, 100 × 30, profile local"


def test_one_over_ssh_in_screen_and_light(told) -> None:
    about = told(SSH_CONNECTION="10.0.0.1 5 10.0.0.2 22", STY="1.pts-0.box", COLORFGBG="0;15")
    assert about.endswith("light (COLORFGBG), UTF-8, 100 × 30, profile ssh, SSH_CONNECTION is set, inside screen")
    assert "10.0.0" not in about


def test_what_a_person_has_said_goes_before_all_and_is_named(told, home: Path) -> None:
    settings(home, 'profile = "local"\ncolours = "256"\n')
    about = told(SSH_CONNECTION="10.0.0.1 5 10.0.0.2 22", NO_COLOR="1")
    assert "256 colours (by the settings)" in about
    assert about.endswith("profile local (by the settings)")
    assert told(DEEPSEEK_TUI_PROFILE="ssh").endswith("profile ssh (by DEEPSEEK_TUI_PROFILE)")


def test_no_colours_are_said_to_be_none(told) -> None:
    about = told(NO_COLOR="1")
    assert "no colours" in about
    assert about.endswith("profile local, NO_COLOR is set")


def test_wrong_settings_leave_it_to_the_terminal(told, home: Path) -> None:
    settings(home, 'profile = "shh"\n')
    assert told().endswith("profile local")
