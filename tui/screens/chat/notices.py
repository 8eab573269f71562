"""What nobody said: failures that belong to no message, the welcome, what an engine wants to be known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backends.errors import Problem
from backends.shown import printable, shown_path
from tui.chat import thrash
from tui.chat.switching import Refusal
from tui.keys.words import filled, slots
from tui.units import clock, memory
from tui.widgets.transcript.model import Entry
from tui.words import _

if TYPE_CHECKING:
    from backends.jobs.job import JobView
    from tui.chat.thrash import Short, Strain
    from tui.plans.preflight import Preflight

WELCOME = "welcome"


def problem_entry(number: int, problem: Problem) -> Entry:
    """Return a failure that belongs to no message as a notice."""
    text = "\n".join(part for part in (problem.detail, problem.hint) if part)
    return Entry(f"notice-{number}", "notice", f"✗ {problem.title}", clock(time.time()), text, footnote_kind="error")


def welcome_entry(*, starter: bool) -> Entry:
    """Return what somebody reads who has never asked anything here; `starter` is the model that answers first."""
    text = filled(
        _(
            "Type a question and press {composer.send}. {slots} choose a preset; {chat.lists} shows or hides the list, "
            "{move.next} goes to it.\n{program.help} shows every key."
        ),
        slots=slots(),
    )
    if starter:
        text += "\n" + _(
            "The starter is a tiny model that came with the program: good for trying things out, and often wrong."
        )
    return Entry(WELCOME, "notice", _("Welcome to deepseek-tui"), "", text)


def first_entry(told: Sequence[str]) -> Entry:
    """Return the welcome of the first start, once it is known what this machine can run."""
    return Entry(WELCOME, "notice", _("Welcome to deepseek-tui"), "", "\n".join(told))


def fetch_entry(view: JobView, key: str, loads: str = "", *, preset: bool) -> Entry:
    """Return how a fetch ended. `key` chooses its preset, if it is a `preset`'s; `loads` says when it is loaded."""
    title, progress, error = printable(view.spec.title, 80), view.progress, view.progress.error
    when = clock(progress.updated_at or time.time())  # It may have ended while no screen was there.
    choosing = _("choosing it loads it") if preset else _("`deepseek-tui presets new` uses it")
    if key:
        choosing = _("{key} loads it").format(key=key)
    if view.state == "done":
        # A hash that was right is no news; one that there is not is.
        note = progress.note if progress.note != "Verified." else ""
        text = " ".join(part for part in (_("{what}.").format(what=loads or choosing), note) if part)
        return Entry(f"fetch-{view.key}", "notice", "▼ " + _("{title} is here").format(title=title), when, text)
    again = _("{key} goes on from there.").format(key=key) if key else _("Fetching it again goes on from there.")
    here = ""
    if progress.done_bytes:
        here = _("{size} are here and stay: {again}").format(size=memory(progress.done_bytes), again=again)
    if view.state == "stopped":
        head = "▼ " + _("{title}: stopped").format(title=title)
        return Entry(f"fetch-{view.key}", "notice", head, when, here or _("Nothing of it is here yet."))
    killed = _("Its process was killed, or ended with the machine.")
    parts = (f"{error.title.removesuffix('.')}.", error.detail, error.hint) if error is not None else (killed,)
    text = "\n".join(printable(part, 2000) for part in (*parts, here) if part)
    return Entry(
        f"fetch-{view.key}", "notice", "✗ " + _("{title} was not fetched").format(title=title), when, text,
        footnote_kind="error",
    )  # fmt: skip


def work_entry(view: JobView, key: str, loads: str = "", *, preset: str = "") -> Entry:
    """Return how a job ended that fetches nothing: one that made a model, or measured one. `preset` uses the model."""
    title, progress, error = printable(view.spec.title, 80), view.progress, view.progress.error
    when, makes = clock(progress.updated_at or time.time()), view.spec.kind == "quantize"
    name = f"work-{view.key}"
    if view.state == "done":
        parts = [printable(progress.note, 2000)]
        if makes:
            parts.insert(0, _("{what}.").format(what=loads or _loading(key, preset)))
            parts.append(shown_path(Path(progress.result)) if progress.result else "")
        head = _("{title} is made") if makes else _("{title} is measured")
        text = "\n".join(part for part in parts if part)
        return Entry(name, "notice", "▸ " + head.format(title=title), when, text)
    if view.state == "stopped":
        text = (
            _("Nothing of it stays; its source does.")
            if makes
            else _("What is measured stays; measuring it again goes on from there.")
        )
        return Entry(name, "notice", "▸ " + _("{title}: stopped").format(title=title), when, text)
    killed = _("Its process was killed, or ended with the machine.")
    told = (f"{error.title.removesuffix('.')}.", error.detail, error.hint) if error is not None else (killed,)
    text = "\n".join(printable(part, 2000) for part in told if part)
    head = _("{title} was not made") if makes else _("{title} was not measured")
    return Entry(name, "notice", "✗ " + head.format(title=title), when, text, footnote_kind="error")


def _loading(key: str, preset: str) -> str:
    """Say what loads a model that was made."""
    if key:
        return _("{key} loads it").format(key=key)
    return _("Choosing {preset} loads it").format(preset=preset) if preset else _("`deepseek-tui presets new` uses it")


def notes_entry(title: str, notes: tuple[str, ...]) -> Entry:
    """Return what the engine says about a model it has loaded: a context it rounded, a card it cannot use."""
    return Entry(
        "notes", "notice", _("{title}: worth knowing").format(title=title), clock(time.time()), "\n".join(notes)
    )


def preflight_entry(title: str, found: Preflight) -> Entry:
    """Return what is to be known before a model is loaded."""
    return Entry(
        "preflight",
        "notice",
        _("{title}: before it loads").format(title=title),
        clock(time.time()),
        "\n".join(found.sentences),
    )


def engine_entry(note: str) -> Entry:
    """Return what an engine says about the answer on its way."""
    return Entry("engine", "notice", _("Worth knowing"), clock(time.time()), note)


def strain_entry(strain: Strain, short: Short) -> Entry:
    """Return what is seen of memory that is too small for the answer on its way, and what helps."""
    if short.limit_bytes is None:
        helps = _(
            "The answer goes on; {answer.stop} stops it. Close something, or take a smaller context or another preset: "
            "{program.plan} shows what each needs."
        )
    else:
        helps = _(
            "The answer goes on; {answer.stop} stops it. What other programs hold does not matter: raise that limit, "
            "or take a smaller context or another preset: {program.plan} shows what each needs."
        )
    text = f"{thrash.words(strain, short)}\n{filled(helps)}"
    return Entry("strain", "notice", _("Memory is too small now"), clock(time.time()), text)


def backends_entry(title: str, stays: str, refusals: tuple[Refusal, ...]) -> Entry:
    """Return which backends cannot run a preset now, and why; `stays` is the only one that can, "" if another did."""
    head = _("{title}: passed over").format(title=title)
    if stays:
        head = _("{title}: only {backend} can be used now").format(title=title, backend=stays)
    text = "\n".join(refusal.sentence for refusal in refusals)
    return Entry("backends", "notice", head, clock(time.time()), text)


def exported_entry(path: str) -> Entry:
    """Return where a chat was exported to."""
    text = _("This branch is in {path}\n`deepseek-tui chats export` writes all branches, thoughts, and other forms.")
    return Entry("exported", "notice", _("Exported"), clock(time.time()), text.format(path=path))
