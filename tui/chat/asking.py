"""What one chat asks of its model: a system prompt and sampling of its own, each where it differs from the preset's."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from backends.base import Sampling
from backends.errors import Problem
from backends.shown import printable
from tui.words import _

MOST_CHARACTERS: Final = 100_000
_LONGEST_SHOWN = 40

System = Annotated[str, msgspec.Meta(max_length=MOST_CHARACTERS)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=10)]
TopP = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
MaxTokens = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Context = Annotated[int, msgspec.Meta(ge=256, le=1 << 24)]


class BadAsking(Problem):
    """A value that no chat can ask for. `key` is which one."""

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(_("{key} cannot be used").format(key=key), detail)
        self.key = key


class Asking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a chat says in place of its preset; None, and "" for `system`, leave it to that.

    `system` is told to the model before anything else. `context` is in tokens, and takes the model to be loaded anew.
    """

    system: System = ""
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    max_tokens: MaxTokens | None = None
    context: Context | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What it asks for: the names of the fields that say something."""
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) not in {None, ""})

    def over(self, sampling: Sampling) -> Sampling:
        """Return the sampling of a preset with what is asked for in its place."""
        own = {name: getattr(self, name) for name in SAMPLED if getattr(self, name) is not None}
        return msgspec.structs.replace(sampling, **own)


SAMPLED: Final = ("temperature", "top_p", "seed", "max_tokens")
"""The fields that are a preset's sampling by the same names."""
NUMBERS: Final = (*SAMPLED, "context")
BOUNDS: Final[dict[str, tuple[type[int] | type[float], int, int]]] = {
    "temperature": (float, 0, 10),
    "top_p": (float, 0, 1),
    "seed": (int, 0, (1 << 32) - 1),
    "max_tokens": (int, 1, 1 << 24),
    "context": (int, 256, 1 << 24),
}
"""What each of `NUMBERS` may be: a number of this kind, and the least and the most. They are those of a preset."""
NOTHING: Final = Asking()


def read_number(key: str, text: str) -> float | None:
    """Return what was typed for a field of `NUMBERS`, None for nothing. Raises BadAsking."""
    text = text.strip()
    if not text:
        return None
    kind, low, high = BOUNDS[key]
    expected = _("Expected a whole number from {low:,} to {high:,}, found {found}.")
    if kind is float:
        expected = _("Expected a number from {low:,} to {high:,}, found {found}.")
    shown = f"{text[:_LONGEST_SHOWN]}…" if len(text) > _LONGEST_SHOWN else text
    wrong = BadAsking(key, expected.format(low=low, high=high, found=printable(shown)))
    try:
        value = kind(text)
    except ValueError:
        raise wrong from None
    # Not the other way round: no comparison with NaN holds.
    if not low <= value <= high:
        raise wrong
    return value


def read_system(text: str) -> str:
    """Return a system prompt as it is kept, "" where it has no word. Raises BadAsking."""
    text = text.strip()
    if len(text) > MOST_CHARACTERS:
        most = _("It has {found:,} characters; at most {most:,} are sent.")
        raise BadAsking("system", most.format(found=len(text), most=MOST_CHARACTERS))
    return text


def plain(value: float) -> str:
    """Return a number as one would type it."""
    return str(int(value)) if value == int(value) else str(value)


def usual(name: str, sampling: Sampling) -> str:
    """Return what one of `SAMPLED` is by a preset alone, in words."""
    value = getattr(sampling, name)
    if value is None:
        return _("another each time") if name == "seed" else _("no limit")
    return plain(value)


def words(asking: Asking) -> tuple[str, ...]:
    """Return what is asked for in words: "system prompt", "temperature 0.2"."""
    numbers = (f"{name} {plain(getattr(asking, name))}" for name in NUMBERS if name in asking.names)
    return (*([_("system prompt")] if asking.system else []), *numbers)
