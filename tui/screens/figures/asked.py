"""What the chat that is shown asks of its model in place of its preset, beside the figures."""

from __future__ import annotations

from backends.titles import backend_title
from tui import keys
from tui.chat.asking import SAMPLED, plain, usual
from tui.chat.clean import clean_line
from tui.chat.seen import Seen
from tui.screens.figures.told import Told
from tui.units import DASH
from tui.words import _

_LONGEST = 200


def asking_figures(seen: Seen) -> list[Told]:
    """Return what the chat asks for; nothing where it asks as its preset does."""
    asking, source = seen.asking, keys.filled(_("this chat: {chat.asking} changes it"))
    preset = clean_line(seen.usual.title) if seen.usual is not None else _("the preset")
    told = []
    if asking.system:
        first = clean_line(asking.system[: _LONGEST + 1])
        value = f"{first[:_LONGEST]}…" if len(asking.system) > _LONGEST else first
        what = _("The system prompt: told to the model before all else. It takes its part of the context.")
        told.append(Told("system", value, "chosen", what, source))
    for name in SAMPLED:
        value = getattr(asking, name)
        if value is not None:
            otherwise = DASH if seen.usual is None else usual(name, seen.usual.sampling)
            what = _("In place of what {preset} says: {usual}.").format(preset=preset, usual=otherwise)
            told.append(Told(name, plain(value), "chosen", what, source, _seedless(seen) if name == "seed" else ()))
    if asking.context is not None:
        told.append(_context(seen, asking.context, preset, source))
    return told


def _seedless(seen: Seen) -> tuple[str, ...]:
    loaded = seen.loaded
    if loaded is None or loaded.capabilities is None or "seed" in loaded.capabilities:
        return ()
    return (_("The server of this model takes no seed: its answers differ all the same."),)


def _context(seen: Seen, asked: int, preset: str, source: str) -> Told:
    notes: tuple[str, ...] = ()
    if seen.usual is not None and not seen.usual.can_grow:
        backend = clean_line(backend_title(seen.usual.spec.backend))
        notes = (_("{backend} cannot be told a context: the model has its own.").format(backend=backend),)
    what = _("The context that the model is loaded with for this chat, in place of that of {preset}.")
    return Told(
        "context", _("{count:,} tokens").format(count=asked), "chosen", what.format(preset=preset), source, notes
    )
