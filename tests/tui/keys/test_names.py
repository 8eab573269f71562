"""The keys that every terminal sends arrive under the names that settings call them by."""

from __future__ import annotations

import string
import time
from functools import cache

import pytest
from textual import constants
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._xterm_parser import XTermParser
from textual.events import Key

import tui.line.driver  # noqa: F401 - mends what Textual takes some sequences for
from tui.keys import names

MODIFIERS = ("", "ctrl+", "alt+", "shift+", "ctrl+shift+", "alt+shift+", "alt+ctrl+")
SENT = sorted(
    {
        key
        for modifiers in MODIFIERS
        for base in (*string.ascii_letters, *string.digits, *names.ALL)
        if (key := names.canonical(modifiers + base)) is not None and names.sent(key)
    }
)


@cache
def arriving() -> set[str]:
    """The names of all that terminals without any newer protocol send: single bytes, with Escape, and sequences."""
    typed = [chr(code) for code in range(128)]
    found = {"ctrl+space"}  # The driver's name of what Textual calls ctrl+@.
    parsers = []
    for sequence in (*typed, *(f"\x1b{one}" for one in typed if one.isalnum()), *ANSI_SEQUENCES_KEYS):
        parser = XTermParser()
        found.update(key.key for key in parser.feed(sequence) if isinstance(key, Key))
        parsers.append(parser)
    time.sleep(constants.ESCAPE_DELAY + 0.05)  # Nothing more comes: then Escape was Alt.
    for parser in parsers:
        found.update(key.key for key in parser.tick() if isinstance(key, Key))
    return found


@pytest.mark.parametrize("key", SENT)
def test_a_key_that_every_terminal_sends_arrives(key: str) -> None:
    assert key in arriving()


@pytest.mark.parametrize("key", ["f13", "ctrl+f20", "alt+f", "shift+insert", "ctrl+1", "alt+left", "ctrl+shift+a"])
def test_a_key_that_few_terminals_send_is_known(key: str) -> None:
    assert not names.sent(key)
