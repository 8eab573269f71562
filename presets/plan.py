"""What can be said about a preset before it is loaded, in one line. Numbers appear only if they are known."""

from __future__ import annotations

import msgspec

from backends.titles import backend_title
from presets.schema import PresetEntry
from presets.sources import Located


class Outlook(msgspec.Struct, frozen=True):
    """The sidebar's line about a preset with one backend.

    `ready` says that nothing is known to be in the way; `hint` is the next step where something is. `size_bytes` is
    the model's size, None where unknown.
    """

    line: str
    ready: bool
    hint: str = ""
    size_bytes: int | None = None


def outlook(entry: PresetEntry, backend: str, located: Located) -> Outlook:
    """Say whether `entry` can be started with `backend`, given where its model is."""
    parts = [backend_title(backend)]
    if backend not in entry.preset.backends:
        hint = f"This preset can run with: {', '.join(entry.preset.backends)}."
        return Outlook(" · ".join([*parts, "not in this preset"]), ready=False, hint=hint)
    if located.size is not None:
        parts.append(size_text(located.size))
    if located.present:
        parts.append("ready")
    elif located.detail:
        parts.append(located.detail)
    # Where only a server knows, asking it is the way to find out.
    ready = located.present is not False
    return Outlook(" · ".join(parts), ready, "" if located.present else located.hint, located.size)


def size_text(size: int) -> str:
    """Return bytes as a short decimal size: 98 362 432 is "0.1 GB", less than 50 MB is in MB."""
    return f"{size / 1e9:.1f} GB" if size >= 50_000_000 else f"{size / 1e6:.1f} MB"
