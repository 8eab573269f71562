"""The terminal's profile: what an environment says, what a person asks for, and what Textual is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tui.line.profile import Colours, Multiplexer, Profile, apply, decide
from tui.settings import SettingsError, load_settings

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


def test_what_is_known_otherwise_goes_before_the_environment_and_a_wish_before_both() -> None:
    assert decide({}, far=True).over_line
    assert not decide(SSH, far=False).over_line
    assert decide({}, "local", far=True).name == "local"
    assert decide({"NO_COLOR": "1", "TERM": "linux"}, palette="true").colours == "true"


CASES: list[tuple[dict[str, str], Profile, dict[str, object]]] = [
    ({}, Profile("local"), {"COLOR_SYSTEM": "truecolor", "SMOOTH_SCROLL": True, "ESCAPE_DELAY": 0.1}),
    ({}, Profile("ssh", escape_ms=300), {"SMOOTH_SCROLL": False, "ESCAPE_DELAY": 0.3, "MAX_FPS": 120}),
    ({}, Profile("local", colours="256"), {"COLOR_SYSTEM": "256"}),
    ({}, Profile("local", colours="16"), {"COLOR_SYSTEM": "standard"}),
    ({}, Profile("local"), {"TEXTUAL_ANIMATIONS": "none", "MAX_FPS": 60}),
    # What a user has set stays.
    ({"TEXTUAL_ANIMATIONS": "full", "ESCDELAY": "25"}, Profile("ssh"), {"TEXTUAL_ANIMATIONS": "full"}),
    ({"TEXTUAL_FPS": "15", "ESCDELAY": "25"}, Profile("ssh"), {"MAX_FPS": 15, "ESCAPE_DELAY": 0.025}),
]


@pytest.mark.parametrize(("environment", "profile", "expected"), CASES)
def test_textual_is_told_before_it_is_imported(
    environment: dict[str, str], profile: Profile, expected: dict[str, object]
) -> None:
    program = (
        "import json, sys, msgspec; from tui.line import profile\n"
        "profile.choose(msgspec.json.decode(sys.argv[1], type=profile.Profile))\n"
        "import tui.app; from textual import constants\n"
        "print(json.dumps({name: getattr(constants, name) for name in sys.argv[2:]}))"
    )
    command = [sys.executable, "-c", program, msgspec.json.encode(profile).decode(), *expected]
    # What a screen of this process was told before must not count for that one.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("TEXTUAL_", "ESCDELAY"))}
    done = subprocess.run(command, capture_output=True, text=True, env=own | environment, check=True)
    assert json.loads(done.stdout) == expected


@pytest.mark.parametrize(
    ("colours", "before", "after"),
    [("none", {}, "1"), ("true", {"NO_COLOR": "1"}, None), ("256", {"NO_COLOR": ""}, None)],
)
def test_no_color_is_told_as_it_was_decided(colours: Colours, before: dict[str, str], after: str | None) -> None:
    environment = dict(before)
    apply(Profile("local", colours=colours), environment)
    assert environment.get("NO_COLOR") == after


@pytest.mark.parametrize(("key", "written"), [("profile", '"shh"'), ("colours", '"65536"'), ("mouse", '"off"')])
def test_a_word_that_nobody_knows_is_told_with_its_place(home: Path, key: str, written: str) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(f'theme = "nord"\n{key} = {written}\n')
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert (raised.value.key, raised.value.line) == (key, 2)


def test_a_variable_that_nobody_understands_is_named(home: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"DEEPSEEK_TUI_PROFILE": "shh"})
    assert raised.value.source == "DEEPSEEK_TUI_PROFILE"
