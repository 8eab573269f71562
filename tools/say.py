"""What the set-up tells the person in front of it: plain lines, and trouble with a way out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Trouble(Exception):
    """The set-up cannot go on. `title` says what is wrong, `detail` where, `hint` what to do."""

    def __init__(self, title: str, detail: str = "", hint: str = "") -> None:
        super().__init__(title, detail, hint)
        self.title = title
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(part for part in (self.title, self.detail, self.hint) if part)


def line(text: str) -> None:
    """Print one line now, even into a pipe."""
    print(text, flush=True)


def loud(title: str, *lines: str) -> None:
    """Print what must not be overlooked, on standard error."""
    bar = "!" * 72
    print("\n".join((bar, title, *lines, bar)), file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print `title` before the work and how long it took after it."""
    started = time.monotonic()
    line(f"· {title} …")
    yield
    line(f"  done in {duration(time.monotonic() - started)}")


def duration(seconds: float) -> str:
    """Return seconds as a person says them: "8 s", "2 min 05 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
