"""What nobody said: failures that belong to no message, the welcome, what an engine wants to be known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from backends.errors import Problem
from tui.chat.switching import Refusal
from tui.units import clock
from tui.widgets.transcript.model import Entry

if TYPE_CHECKING:
    from tui.plans.preflight import Preflight


def problem_entry(number: int, problem: Problem) -> Entry:
    """Return a failure that belongs to no message as a notice."""
    text = "\n".join(part for part in (problem.detail, problem.hint) if part)
    return Entry(f"notice-{number}", "notice", f"✗ {problem.title}", clock(time.time()), text, footnote_kind="error")


def welcome_entry(*, starter: bool) -> Entry:
    """Return what somebody reads who has never asked anything here; `starter` is the model that answers first."""
    text = (
        "Type a question and press Enter. F2 to F7 choose a preset; ^l shows or hides the list, Tab goes to it.\n"
        "F1 shows every key."
    )
    if starter:
        text += "\nThe starter is a tiny model that came with the program: good for trying things out, and often wrong."
    return Entry("welcome", "notice", "Welcome to deepseek-tui", "", text)


def notes_entry(title: str, notes: tuple[str, ...]) -> Entry:
    """Return what the engine says about a model it has loaded: a context it rounded, a card it cannot use."""
    return Entry("notes", "notice", f"{title}: worth knowing", clock(time.time()), "\n".join(notes))


def preflight_entry(title: str, found: Preflight) -> Entry:
    """Return what is to be known before a model is loaded."""
    return Entry("preflight", "notice", f"{title}: before it loads", clock(time.time()), "\n".join(found.sentences))


def engine_entry(note: str) -> Entry:
    """Return what an engine says about the answer on its way."""
    return Entry("engine", "notice", "Worth knowing", clock(time.time()), note)


def backends_entry(title: str, stays: str, refusals: tuple[Refusal, ...]) -> Entry:
    """Return which backends cannot run a preset now, and why; `stays` is the only one that can, "" if another did."""
    head = f"{title}: only {stays} can be used now" if stays else f"{title}: passed over"
    text = "\n".join(refusal.sentence for refusal in refusals)
    return Entry("backends", "notice", head, clock(time.time()), text)
