"""The check of the language that was wished for."""

from __future__ import annotations

from collections.abc import Iterator

from backends.shown import printable
from tui import words
from tui.checks.check import Check
from tui.settings import SettingsError, load_settings

_NAME = "language"


def language() -> Iterator[Check]:
    """Whether there is a catalogue for the language of the settings."""
    try:
        wish = load_settings().language
    except SettingsError:
        return  # Another check tells what is wrong with them.
    there = ", ".join(words.languages())
    if wish and not words.known(wish):
        found = f"there is no catalogue for {printable(wish, 40)!r}: English is spoken"
        yield Check(
            _NAME, "warn", found, f"In config.toml: language = one of {there}; or make one: docs/languages.md", "ugly"
        )
        return
    yield Check(_NAME, "ok", f"{words.would_speak(wish)} (there are {there})")
