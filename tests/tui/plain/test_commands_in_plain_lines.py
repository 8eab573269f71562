"""The commands of the plain lines: named as on the screen, helped and completed from one table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tui.chat import slash
from tui.plain import prompt
from tui.plain.commands import COMMANDS, complete

ONLY_HERE = {"chats", "presets", "read", "sampling"}
"""What the screen shows all the time, or in a view of its own."""


def test_a_command_is_called_as_on_the_screen() -> None:
    assert {command.name for command in COMMANDS} - set(slash.BY_NAME) == ONLY_HERE


def test_each_command_has_a_name_and_a_help_of_its_own() -> None:
    assert len({command.name for command in COMMANDS}) == len({command.help for command in COMMANDS}) == len(COMMANDS)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/pl", ["/plan "]),
        ("/preset s", ["/preset starter"]),
        ("/he", ["/help"]),
        ("hello", []),
        ("/nothing", []),
    ],
)
def test_a_line_that_is_begun_is_completed(line: str, found: list[str]) -> None:
    talk: Any = SimpleNamespace(catalog=SimpleNamespace(entries=[SimpleNamespace(name="starter")]))
    assert list(complete(talk, line)) == found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("20", 20),
        ("21", None),
        ("0", None),
        ("-1", None),
        ("²", None),
        ("", None),
        ("x", None),
        ("9" * 5000, None),
    ],
)
def test_a_number_counts_only_if_there_is_one_like_it(text: str, number: int | None) -> None:
    assert prompt.number(text, 20) == number
