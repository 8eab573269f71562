"""The next backend for a preset: which of those that it has this machine can run, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from backends.base import Availability
from backends.errors import Problem
from backends.titles import backend_title
from presets.schema import PresetEntry
from tui.chat.target import Target, resolve

Probe = Callable[[str, dict[str, object]], Availability]
"""Asks a backend, given a preset's options, whether it can work here: `registry.probe`."""


class Refusal(msgspec.Struct, frozen=True):
    """A backend that cannot be used now, why, and what to do.

    `startable` is the command that would mend it, "" if none would; then `target` is what could be used after it.
    """

    backend: str
    why: str
    hint: str = ""
    startable: str = ""
    target: Target | None = None

    @property
    def sentence(self) -> str:
        hint = f" {self.hint}" if self.hint else ""
        return f"{backend_title(self.backend)}: {self.why}{hint}"


class Switch(msgspec.Struct, frozen=True):
    """The target to use next, None if there is no other, and the backends before it that cannot be used."""

    target: Target | None
    refusals: tuple[Refusal, ...] = ()


def next_backend(entry: PresetEntry, now: str, keep_alive_s: float | None, probe: Probe) -> Switch:
    """Return the next backend after `now` in the order of the preset. Blocks while the backends are asked."""
    names = list(entry.preset.backends)
    place = names.index(now) if now in names else -1
    refusals = []
    for name in [*names[place + 1 :], *names[: max(place, 0)]]:
        try:
            target = resolve(entry, name, keep_alive_s)
        except Problem as problem:
            refusals.append(Refusal(name, _sentence(str(problem)), problem.hint))
            continue
        found = probe(name, target.spec.options)
        if found.ready:
            return Switch(target, tuple(refusals))
        why = _sentence(found.detail or "it cannot be used here")
        refusals.append(Refusal(name, why, found.hint, found.startable, target if found.startable else None))
    return Switch(None, tuple(refusals))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
