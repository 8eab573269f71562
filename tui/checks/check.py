"""One finding of `doctor`, and the order in which findings are told: by the harm that they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import msgspec

State = Literal["ok", "warn", "fail"]
Harm = Literal[
    "lost", "no-start", "no-engine", "no-model", "no-preset", "unknown", "exposed", "killed", "card-idle", "spills",
    "memory-short", "disk-slow", "streams-slow", "processor-slow", "card-taken", "card-slow", "server-off",
    "server-fat", "disk-full", "old-host", "keys", "key-kept", "ugly", "no-copy", "energy", "none",
]  # fmt: skip

MEANS: Final[dict[Harm, str]] = {
    "lost": "What is said cannot be kept, so no chat can begin.",
    "no-start": "Nothing starts until this is mended.",
    "no-engine": "No model can run.",
    "no-model": "There is nothing to talk to yet.",
    "no-preset": "This preset cannot be used; the others can.",
    "unknown": "Whether this is in order is not known.",
    "exposed": "Others on this machine may read your conversations.",
    "killed": "An answer that is under way ends when you log out.",
    "card-idle": "Models run on the processor, several times slower than on the card.",
    "spills": "A model that does not fit never fails to load here: it only becomes very slow. No error is not a fit.",
    "memory-short": "A model may be read from the disk again and again, or the system may end it.",
    "disk-slow": "Loading a model takes long, and a preset that streams from the disk is of no use.",
    "streams-slow": "A preset that streams from the disk waits for it at every token; the others only load slower.",
    "processor-slow": "Answers that the processor works on come slower than it could.",
    "card-taken": "Fewer layers of a model fit on the card, so that it answers slower.",
    "card-slow": "The card answers slower than it could.",
    "server-off": "Presets that use this server or engine do not run.",
    "server-fat": "A conversation takes more of the card's memory than it has to.",
    "disk-full": "There is no room to download a model.",
    "old-host": "A model that is loaded is not used, or by an older version, until it is ended.",
    "keys": "A key does what it did before, and not what the settings say.",
    "key-kept": "Pressing this key may do nothing.",
    "ugly": "The screen looks worse than it could, or cannot be drawn.",
    "no-copy": "What you copy in the screen does not reach your own clipboard.",
    "energy": "Energy and its price are estimated or left out.",
    "none": "",
}
"""Every harm in words, the worst first."""

_STATES: Final[tuple[State, ...]] = ("fail", "warn", "ok")
_RANKS: Final = {harm: rank for rank, harm in enumerate(MEANS)}


class Check(msgspec.Struct, frozen=True):
    """One look: `found` says what there is, `fix` how to mend it where it is not "ok".

    `public` is what a report to strangers says instead of `found`, where that names what is the user's own.
    """

    name: str
    state: State
    found: str
    fix: str = ""
    harm: Harm = "none"
    public: str = ""


def in_order(checks: Iterable[Check]) -> list[Check]:
    """Return what fails, then the warnings, then what is in order; of each the most harmful first."""
    return sorted(checks, key=lambda check: (_STATES.index(check.state), _RANKS[check.harm]))


def guarded(name: str, check: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Run a check; one that breaks is itself a finding, and the others go on."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - a sick machine may make anything fail, and doctor must say so
        found = f"cannot be checked: {type(error).__name__}: {error}"
        fix = "Report this: deepseek-tui doctor --report"
        yield Check(name, "fail", found, fix, "unknown", f"cannot be checked: {type(error).__name__}")
