"""What a chat asks of its model as fields of text, and back; and what is to be known of what was typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from backends.base import Sampling
from tui.chat import asking
from tui.chat.asking import NOTHING, NUMBERS, Asking, BadAsking, plain, read_number, read_system
from tui.chat.clean import clean_line
from tui.words import N_, _

SYSTEM = "system"
KEYS = (SYSTEM, *NUMBERS)
ADVISED_TEMPERATURE = (0.5, 0.7)
ADVISED_TOP_P = 0.95
_UNITS = {
    "temperature": N_("0 to 10"),
    "top_p": N_("0 to 1"),
    "seed": N_("for the same answer again"),
    "max_tokens": N_("tokens, the thought included"),
    "context": N_("tokens, 256 or more"),
}


class About(msgspec.Struct, frozen=True):
    """The chat, and the model that is to answer it as it is by itself: what its preset says, and what it can be told.

    `advised` says that DeepSeek's advice for R1 is for it. `context` is that of the preset, None where the backend
    cannot be told one; `loaded` that of the model in memory, None while there is none.
    """

    title: str = ""
    preset: str = ""
    backend: str = ""
    sampling: Sampling = Sampling()
    advised: bool = False
    context: int | None = None
    takes_seed: bool = True
    loaded: int | None = None


class Checked(msgspec.Struct, frozen=True):
    """What was typed. `asking` is without what is `wrong`."""

    asking: Asking = NOTHING
    wrong: Mapping[str, BadAsking] = {}


def texts(asked: Asking) -> dict[str, str]:
    """Return what a chat asks for as it would be typed; "" where it asks for nothing."""
    found = {SYSTEM: asked.system}
    for key in NUMBERS:
        value = getattr(asked, key)
        found[key] = "" if value is None else plain(value)
    return found


def usual(key: str, about: About) -> str:
    """Return what a field is where nothing is typed."""
    match key:
        case "system":
            return _("none")
        case "context":
            return _("the backend's own") if about.context is None else plain(about.context)
    return asking.usual(key, about.sampling)


def check(typed: Mapping[str, str]) -> Checked:
    """Return what was typed, each fault of it."""
    values: dict[str, Any] = {}
    wrong: dict[str, BadAsking] = {}
    for key in KEYS:
        try:
            values[key] = read_system(typed[key]) if key == SYSTEM else read_number(key, typed[key])
        except BadAsking as problem:
            wrong[key] = problem
    return Checked(Asking(**values), wrong)


def note(key: str, typed: str, checked: Checked, about: About) -> str:
    """Return what is to be known of one field."""
    if key in checked.wrong:
        return "✗"  # Below it is said in full.
    asked = getattr(checked.asking, key)
    if key == "context" and about.context is None:
        backend = clean_line(about.backend)
        return _("{backend} cannot be told one").format(backend=backend) if typed.strip() else ""
    if key == "seed" and not about.takes_seed and typed.strip():
        return _("this server takes none, and answers as it likes")
    advice = _advice(key, asked) if about.advised else ""
    return advice or ("" if typed.strip() and key != "context" else _(_UNITS.get(key, "")))


def _advice(key: str, asked: Any) -> str:
    low, high = ADVISED_TEMPERATURE
    if key == "temperature" and asked is not None and not low <= asked <= high:
        return _("DeepSeek advises {low} to {high}").format(low=low, high=high)
    if key == "top_p" and asked is not None and asked != ADVISED_TOP_P:
        return _("DeepSeek advises {value}").format(value=ADVISED_TOP_P)
    return ""


def faults(checked: Checked) -> Iterator[str]:
    """Yield what is wrong, in full."""
    for key, problem in checked.wrong.items():
        yield f"{key}: {problem.detail}"


def told(checked: Checked, about: About) -> Iterator[str]:
    """Yield what follows from what was typed, and what is advised."""
    asked, preset = checked.asking, clean_line(about.preset)
    wanted = asked.context or about.context
    if about.context is not None and about.loaded is not None and wanted is not None and _differs(wanted, about.loaded):
        yield _("{preset} is in memory with {loaded:,} tokens, and is loaded anew with {wanted:,}.").format(
            preset=preset, loaded=about.loaded, wanted=wanted
        )
    yield _("It holds for this chat from the next question on. What is empty is as {preset} says.").format(
        preset=preset
    )
    if about.advised and asked.system:
        yield _("For R1 DeepSeek advises no system prompt: what it is to do stands better in the question itself.")
    elif about.advised:
        low, high = ADVISED_TEMPERATURE
        yield _("For R1 DeepSeek advises temperature {low} to {high}, top_p {top_p}, and no system prompt.").format(
            low=low, high=high, top_p=ADVISED_TOP_P
        )


def _differs(wanted: int, loaded: int) -> bool:
    """Say whether a model loaded with so many tokens has another context than `wanted`, which may be rounded up."""
    return not wanted <= loaded < wanted + 256
