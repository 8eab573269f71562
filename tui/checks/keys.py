"""What `doctor` says about keys: those of the settings that cannot be used, or may not arrive."""

from __future__ import annotations

from collections.abc import Iterator

from backends.errors import Problem
from tui.checks.check import Check
from tui.keys import reading
from tui.keys.table import KEYS
from tui.settings import load_settings


def keys() -> Iterator[Check]:
    """Each wished key that is none, and each that not every terminal sends."""
    try:
        wished = load_settings({}).keys
    except Problem:
        return  # That is a finding of its own.
    wrong = reading.take(wished)
    for problem in wrong:
        public = f"{problem.key if problem.key in KEYS else 'an id that there is not'}, line {problem.line or '–'}"
        yield Check("keys", "warn", problem.detail, problem.hint, "key-kept" if problem.used else "keys", public)
    if wished and not wrong:
        yield Check("keys", "ok", f"{len(wished)} of your own")
