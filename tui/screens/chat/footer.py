"""What the footer says: model, cards, speed, context, what the answer costs, what is saved, and the engine's RAM."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.cells import cell_len, set_cell_size

from backends.titles import backend_title
from tui.chat.clean import clean_line
from tui.chat.seen import Figure, Seen
from tui.screens.figures.words import (
    amount,
    chat_of,
    cost_of,
    energy_of,
    on_the_card,
    speed_of_reads,
    split_of,
    two_shades,
)
from tui.units import DASH, count, gigabytes, memory, speed
from tui.words import _

SEPARATOR = " │ "
LEAST_READS_PER_S = 1e6
"""What an engine reads from disk a second before it is worth a place: less is noise."""
_GROWING: tuple[Figure, ...] = ("speed", "ssd", "vram", "cost", "chat", "context")


class Part(msgspec.Struct, frozen=True):
    """One part of the footer: the figures in it, and how it can be written, the longest first.

    An `extra` part comes only where there is room for all the others.
    """

    figures: tuple[Figure, ...]
    forms: tuple[str, ...]
    extra: bool = False


def footer_line(seen: Seen, width: int) -> str:
    """Return the footer, never wider than `width` cells."""
    return joined(parts(seen), width)


def parts(seen: Seen) -> list[Part]:
    """Return the parts of the footer, most important first; those with nothing to say are left out."""
    saved, disk = saved_part(seen), ssd_part(seen)
    shown: list[Part | None] = [model_part(seen), vram_part(seen), speed_part(seen), context_part(seen)]
    # Of a model that streams it says why the speed is what it is.
    streams = disk is not None and not disk.extra
    more = [chat_part(seen) if seen.in_messages else cost_part(seen), saved, ram_part(seen)]
    shown += [disk, *more] if streams else [*more, disk]
    if seen.unsaved:
        shown.remove(saved)
        shown.insert(0, saved)
    return [part for part in (written_part(seen), *shown) if part is not None]


def joined(found: Sequence[Part], width: int) -> str:
    """Join parts in at most `width` cells: as many of the first as there is room for, then in longer forms."""
    if not found or width <= 0:
        return ""
    chosen: dict[int, str] = {}

    def room() -> int:
        taken = sum(cell_len(text) for text in chosen.values()) + len(SEPARATOR) * max(0, len(chosen) - 1)
        return width - taken

    def add(*, extra: bool) -> None:
        for place, part in enumerate(found):
            text = clean_line(part.forms[-1])
            if part.extra == extra and cell_len(text) + (len(SEPARATOR) if chosen else 0) <= room():
                chosen[place] = text
            elif not chosen:
                chosen[place] = _cut(text, width)

    def grow(figure: Figure) -> None:
        for place, text in chosen.items():
            if figure in found[place].figures:
                most = cell_len(text) + room()
                fitting = [form for form in map(clean_line, found[place].forms) if cell_len(form) <= most]
                chosen[place] = max([text, *fitting], key=cell_len)

    add(extra=False)
    for figure in _GROWING:
        grow(figure)
    if all(place in chosen for place, part in enumerate(found) if not part.extra):
        add(extra=True)
    grow("ssd")
    grow("model")
    return SEPARATOR.join(chosen[place] for place in sorted(chosen))


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def model_part(seen: Seen) -> Part:
    """Return the model and how many of its layers are on the card."""
    if seen.target is None:
        return Part(("model",), (_("No preset"),))
    title, backend = seen.target.title, seen.target.spec.backend
    whole = f"{title} · {backend_title(backend)}"
    # Where there is little room, llama.cpp goes without saying.
    short = title if backend == "llama_cpp" else whole
    loaded = seen.loaded
    if loaded is None:
        loading = seen.status is not None and seen.status.phase == "loading"
        word = _("loading") if loading else _("not loaded")
        forms = [f"{whole} · {word}", f"{short} · {word}"]
    elif loaded.layers is None or loaded.gpu_layers is None:
        share = f" · {on_the_card(loaded)}" if loaded.vram_bytes is not None and loaded.model_bytes else ""
        forms = [f"{whole}{share}", f"{short}{share}"]
    elif not loaded.gpu_layers:
        forms = [f"{whole} · CPU", f"{short} · CPU"]
    else:
        layers = f"{loaded.gpu_layers}/{loaded.layers}"
        on_card, of_them = _("{layers} layers on the card"), _("{layers} layers")
        forms = [
            f"{whole} · {on_card.format(layers=layers)}",
            f"{whole} · {of_them.format(layers=layers)}",
            f"{short} · {layers}",
        ]
    return Part(("model",), tuple(dict.fromkeys(forms)))


def vram_part(seen: Seen) -> Part:
    """Return the cards' memory: what is ours + what is others' / all of it."""
    used, total = seen.machine.used_bytes, seen.machine.total_bytes
    if used is None or not total:
        return Part(("vram",), (f"VRAM {DASH}",))
    ours = seen.ours
    split = f"{split_of(ours, used)}/{gigabytes(total)}"
    figures: tuple[Figure, ...] = ("vram", "ours")
    return Part(figures, (f"VRAM ▕{two_shades(ours.used_bytes, used, total)}▏ {split} GB", f"VRAM {split}"))


def speed_part(seen: Seen) -> Part:
    """Return tokens a second."""
    figure = DASH if seen.speed is None else speed(seen.speed)
    return Part(("speed",), (f"{figure} tok/s", f"{figure} t/s"))


def context_part(seen: Seen) -> Part:
    """Return how full the context is, in the engine's own counts."""
    full = f"{count(seen.tokens)}/{count(seen.loaded.context if seen.loaded is not None else None)}"
    return Part(("context",), (_("context {full}").format(full=full), full))


def cost_part(seen: Seen) -> Part:
    """Return what the answer costs, in money and in energy."""
    figures: tuple[Figure, ...] = ("cost", "energy")
    cost, joules = cost_of(seen), energy_of(seen)
    if cost == joules == DASH:
        return Part(figures, (_("cost {amount}").format(amount=DASH),))
    if joules == DASH:
        return Part(figures, (cost,))
    if cost == DASH:
        return Part(figures, (joules,))
    # Of an amount that rounds to nothing the energy says more.
    return Part(figures, (f"{cost} · {joules}", joules if "<" in cost else cost))


def chat_part(seen: Seen) -> Part:
    """Return what the whole conversation has cost."""
    cost, joules = chat_of(seen)
    short = _("chat {amount}").format(amount=cost)
    forms = (short,) if joules == DASH else (f"{short} · {joules}", short)
    return Part(("chat",), forms)


def saved_part(seen: Seen) -> Part | None:
    """Return whether what is on the screen is on disk."""
    if seen.unsaved:
        return Part(("saved",), ("✗ " + _("not saved: {unsaved}").format(unsaved=seen.unsaved),))
    if seen.empty:
        return None
    return Part(("saved",), (_("saving") if seen.answer is not None else _("saved"),))


def ram_part(seen: Seen) -> Part | None:
    """Return the memory of the engine's process."""
    if seen.machine.rss_bytes is None:
        return None
    return Part(("ram",), (f"RAM {memory(seen.machine.rss_bytes)}",), extra=True)


def ssd_part(seen: Seen) -> Part | None:
    """Return what the engine reads from disk, where that is enough to matter, and that it writes nothing there."""
    reads, faults, io = seen.machine.read_bytes_per_s, seen.machine.faults_per_s, seen.machine.io
    if reads is None or reads < LEAST_READS_PER_S:
        return None
    figures: tuple[Figure, ...] = ("ssd", "faults", "written")
    short = f"SSD {speed_of_reads(reads)}"
    none = _("0 written") if io is not None and io.foreign_written_bytes == 0 else ""
    waits = _("{count} faults/s").format(count=f"{faults:,.0f}") if faults is not None else ""
    forms = (" · ".join(filter(None, (short, *more))) for more in ((waits, none), (none,), ()))
    streams = seen.live and seen.loaded is not None and bool(seen.loaded.streamed_bytes)
    return Part(figures, tuple(dict.fromkeys(forms)), extra=not streams)


def written_part(seen: Seen) -> Part | None:
    """Return what the engine's process has written to a disk that is no file of ours: it must be nothing."""
    io = seen.machine.io
    if io is None or not io.foreign_written_bytes:
        return None
    return Part(("written",), (_("! {size} written").format(size=amount(io.foreign_written_bytes)),))
