"""The terminal's profile: what an environment says, what a person asks for, and what Textual is told."""

from __future__ import annotations

import pytest

from tui.line.profile import Colours, Multiplexer, Profile, apply, decide

SSH = {"SSH_CONNECTION": "10.0.0.1 50000 10.0.0.2 22", "SSH_TTY": "/dev/pts/3"}


def test_a_terminal_at_this_machine_moves_by_lines_and_often() -> None:
    found = decide({"TERM": "xterm-256color", "COLORTERM": "truecolor"})
    assert found == Profile("local", colours="true")
    assert not found.over_line


def test_over_ssh_text_comes_in_larger_steps_and_esc_waits_for_a_key_that_comes_in_pieces() -> None:
    near, far = decide({}), decide(SSH)
    assert far.over_line
    assert far.feed_hz <= near.feed_hz
    assert far.scroll_step > near.scroll_step
    assert far.escape_ms > near.escape_ms


def test_a_person_knows_better() -> None:
    assert decide(SSH, "local").name == "local"
    assert decide({}, "ssh").over_line


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "linux"}, "16"),
        ({"TERM": "xterm"}, "16"),
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "tmux-256color", "COLORTERM": "truecolor"}, "true"),
        ({"TERM": "xterm-kitty"}, "true"),
        ({"TERM": "xterm-direct"}, "true"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "none"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "256"),  # no-color.org: an empty one does not count.
    ],
)
def test_colours_are_those_that_the_terminal_promises(environment: dict[str, str], expected: Colours) -> None:
    assert decide(environment).colours == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TMUX": "/tmp/tmux-1000/default,1,0", "TERM": "screen-256color"}, "tmux"),
        ({"STY": "1234.pts-0.box", "TERM": "screen"}, "screen"),
        ({"TERM": "screen.xterm-256color"}, "screen"),
        ({"TERM": "screen-256color"}, ""),  # A tmux at the near end, outside of the SSH line.
    ],
)
def test_what_stands_in_between_is_known(environment: dict[str, str], expected: Multiplexer) -> None:
    assert decide(environment).through == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [("15;0", True), ("0;15", False), ("0;default;15", False), ("12;8", True), ("", None), ("default;default", None)],
)
def test_dark_or_light_is_taken_from_what_the_terminal_says(told: str, expected: bool | None) -> None:
    assert decide({"COLORFGBG": told}).dark is expected


def test_textual_is_told_and_what_a_user_has_set_stays() -> None:
    environment = {**SSH, "TERM": "xterm-256color"}
    apply(decide(environment), environment)
    assert environment["TEXTUAL_ANIMATIONS"] == "none"
    assert environment["TEXTUAL_COLOR_SYSTEM"] == "256"
    assert int(environment["ESCDELAY"]) > 100
    chosen = {"TEXTUAL_ANIMATIONS": "full", "ESCDELAY": "25"}
    apply(decide(chosen), chosen)
    assert chosen == {"TEXTUAL_ANIMATIONS": "full", "ESCDELAY": "25"}
