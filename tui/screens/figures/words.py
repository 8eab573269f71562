"""Figures in words that the footer and the view that explains it share."""

from __future__ import annotations

from backends.base import Loaded
from tui.chat.seen import Ours, Seen
from tui.chat.storing.receipts import MICRO, NANO
from tui.units import DASH, energy, gigabytes, memory, money
from tui.words import _

BAR_CELLS = 8
OURS, OTHERS, FREE = "█", "▒", " "


def on_the_card(loaded: Loaded) -> str:
    """Return how much of a model its server holds on a card: a server counts bytes, not layers."""
    share = (loaded.vram_bytes or 0) / (loaded.model_bytes or 1)
    return "CPU" if not loaded.vram_bytes else _("{share:.0%} on the card").format(share=min(share, 1))


def split_of(ours: Ours, used: int) -> str:
    """Return what is in use in GB, ours and others' apart where that is known; ~ before a difference."""
    if ours.used_bytes is None:
        return gigabytes(used)
    about = "~" if ours.how == "difference" else ""
    return f"{about}{gigabytes(ours.used_bytes)}+{gigabytes(max(0, used - ours.used_bytes))}"


def two_shades(ours: int | None, used: int, total: int) -> str:
    """Return a bar of what is ours and what is others'; what may be anybody's has the others' shade."""
    mine = _cells(ours or 0, total)
    taken = max(mine, _cells(used, total))
    if used - (ours or 0) > total / 100 and taken == mine:
        # Something of others' is seen, if there is anything.
        mine, taken = (mine, mine + 1) if mine < BAR_CELLS else (mine - 1, taken)
    return (OURS * mine + OTHERS * (taken - mine)).ljust(BAR_CELLS, FREE)


def _cells(amount: int, total: int) -> int:
    cells = round(amount / total * BAR_CELLS)
    return min(BAR_CELLS, max(cells, 1 if amount > total / 100 else 0))


def cost_of(seen: Seen, decimals: int = 4) -> str:
    """Return the answer's money, with ~ where it is an estimate and ≥ where a part is missing."""
    cost = seen.cost
    if cost is None:
        return DASH
    least = "≥" if seen.energy_is_incomplete and cost.source != "preset" else ""
    return least + ("~" if seen.cost_is_estimate else "") + money(cost.amount, cost.currency, decimals)


def energy_of(seen: Seen) -> str:
    """Return the answer's energy, with ~ where it is an estimate and ≥ where a part is missing."""
    if seen.energy is None:
        return DASH
    least = "≥" if seen.energy_is_incomplete else ""
    return least + ("~" if seen.energy_is_estimate else "") + energy(seen.energy.joules)


def chat_of(seen: Seen, decimals: int = 4) -> tuple[str, str]:
    """Return the conversation's money and energy; ≥ before a sum of which a part is unknown."""
    chat = seen.chat
    if chat is None:
        return DASH, DASH
    about = "~" if chat.estimated or chat.assumed else ""
    sums = " + ".join(money(nano / NANO, name, decimals) for name, nano in sorted(chat.money.items()))
    cost = f"{'≥' if chat.unpriced else ''}{about}{sums}" if sums else DASH
    if chat.energy_uj is None:
        return cost, DASH
    joules = energy(chat.energy_uj / MICRO)
    return cost, f"{'≥' if chat.unmetered else ''}{'~' if chat.estimated else ''}{joules}"


def amount(moved: int) -> str:
    """Return bytes that were read or written, small ones too: 0, 12 kB, 45 MB, 2.9 GB."""
    return memory(moved) if moved >= 999_500 else f"{moved / 1e3:.0f} kB" if moved else "0"


def speed_of_reads(reads: float) -> str:
    """Return bytes a second as people write it."""
    return f"{reads / 1e9:.1f} GB/s" if reads >= 1e9 else f"{reads / 1e6:.0f} MB/s"
