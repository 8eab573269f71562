"""The figures of the footer, each with its value, what it is, where it comes from and how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from backends.events import ASSUMED_TARIFF
from backends.shown import shown_path
from backends.titles import backend_title
from tui.chat.seen import FIGURES, Figure, Seen
from tui.screens.figures.words import chat_of, cost_of, energy_of, on_the_card, speed_of_reads
from tui.settings import settings_file
from tui.units import DASH, count, gigabytes, memory

Surety = Literal["measured", "estimated", "predicted", "published", "assumed", "unavailable", "chosen"]
ELSEWHERE = "its model runs on another machine, whose power cannot be read from here"
DECIMALS = 6


class Told(msgspec.Struct, frozen=True):
    """One figure. `source` says where it comes from, or why there is none; `notes` what else must be known."""

    name: str
    value: str
    surety: Surety
    what: str
    source: str
    notes: tuple[str, ...] = ()


def footer_figures(seen: Seen) -> dict[Figure, Told]:
    """Return every figure that the footer can show, in its order."""
    return {figure: _TOLD[figure](seen) for figure in FIGURES}


def _missing(name: str, what: str, why: str, notes: tuple[str, ...] = ()) -> Told:
    return Told(name, DASH, "unavailable", what, why, notes)


def _model(seen: Seen) -> Told:
    name, what = "Model", "The model that answers, and how many of its layers are on the card."
    if seen.target is None:
        return _missing(name, what, "no preset is chosen")
    title = f"{seen.target.title} · {backend_title(seen.target.spec.backend)}"
    loaded = seen.loaded
    if loaded is None:
        return Told(name, title, "unavailable", what, "it is not loaded, so its layers are not known")
    if loaded.layers is not None and loaded.gpu_layers is not None:
        value = f"{title} · {loaded.gpu_layers} of {loaded.layers} layers on the card"
        return Told(name, value, "measured", what, "the engine's own word")
    if loaded.vram_bytes is not None and loaded.model_bytes:
        return Told(name, f"{title} · {on_the_card(loaded)}", "measured", what, "the server's own count of bytes")
    return Told(name, title, "unavailable", what, "this backend does not tell where the layers are")


def _vram(seen: Seen) -> Told:
    name, what = "VRAM", "Memory of the graphics cards that is in use, by anybody."
    used, total = seen.machine.used_bytes, seen.machine.total_bytes
    if used is None or total is None:
        return _missing(name, what, no_card(seen))
    value = f"{gigabytes(used)} GB of {gigabytes(total)} GB, {gigabytes(total - used)} GB free"
    drivers = ", ".join(dict.fromkeys(card.driver or "the driver" for card in seen.cards))
    return Told(name, value, "measured", what, f"memory counters of {drivers}", _problem(seen))


def _ours(seen: Seen) -> Told:
    name, what = "VRAM ours", "What of it the model takes. On the footer: ours █ + others ▒ / all."
    ours, used = seen.ours, seen.machine.used_bytes
    if not seen.cards or used is None:
        return _missing(name, what, no_card(seen))
    if ours.used_bytes is None:
        silent = "the driver does not tell whose memory it is, and the model was there before we looked"
        return _missing(name, what, "no model is loaded" if seen.loaded is None else silent)
    value = f"{gigabytes(ours.used_bytes)} GB ours, {gigabytes(max(0, used - ours.used_bytes))} GB others"
    match ours.how:
        case "driver":
            return Told(name, value, "measured", what, "NVML process memory")
        case "engine":
            return Told(name, value, "measured", what, "the engine's own counter")
    notes = ("The driver does not tell whose memory it is here (WSL2, containers, AMD).",)
    return Told(name, f"~{value}", "estimated", what, "difference to before loading", notes)


def _speed(seen: Seen) -> Told:
    name, what = "Speed", "Generated tokens a second, thinking included, without the reading of the prompt."
    if seen.speed is None:
        return _missing(name, what, _not_yet(seen, "the engine did not tell"))
    source = "the engine's own figure of the answer"
    if seen.live:
        source = "tokens counted here over the last 3 seconds"
    elif seen.was_stopped:
        source = "the tokens that came before it was stopped"
    return Told(name, f"{seen.speed:.1f} tok/s", "measured", what, source)


def _context(seen: Seen) -> Told:
    name, what = "Context", "Tokens of the conversation that the model sees, of those that it can."
    size = seen.loaded.context if seen.loaded is not None else None
    if seen.tokens is None and size is None:
        return _missing(name, what, "nothing is loaded, and no answer has counted the tokens")
    tokens = f"{seen.tokens:,}" if seen.tokens is not None else DASH
    value = f"{tokens} of {f'{size:,}' if size is not None else DASH} tokens ({count(seen.tokens)}/{count(size)})"
    return Told(name, value, "measured", what, "the engine's own counter")


def _cost(seen: Seen) -> Told:
    name, what = "Cost", "Money for this answer: what the server asks for it, or what its energy costs."
    cost = seen.cost
    if cost is None:
        return _missing(name, what, _no_price(seen) if seen.energy is not None else _no_energy(seen))
    value = cost_of(seen, DECIMALS)
    if cost.source == "preset":
        notes = ("The tokens of an answer on its way are counted here; at its end the server's count holds.",)
        counted = "price in the preset, times the tokens counted"
        return Told(name, value, "published", what, counted, notes if seen.live else ())
    tariff = tariff_of(seen) + (", and your hardware_price" if cost.hardware is not None else "")
    if cost.assumptions or cost.source == ASSUMED_TARIFF:
        return Told(name, value, "assumed", what, tariff, power_supply_of(seen))
    return Told(name, value, "estimated" if seen.energy_is_estimate else "measured", what, tariff)


def _energy(seen: Seen) -> Told:
    name, what = "Energy", "Energy that the devices took for this answer, behind the power supply."
    if seen.energy is None:
        return _missing(name, what, _no_energy(seen))
    sources = "; ".join(dict.fromkeys(f"{one.device}: {one.source}" for one in seen.energy.devices))
    surety: Surety = "estimated" if seen.energy_is_estimate else "measured"
    notes = seen.energy.notes
    return Told(name, energy_of(seen), surety, what, sources or seen.energy.source, notes)


def _chat(seen: Seen) -> Told:
    name, what = "Chat", "What all answers and summaries of this chat took. On the footer with focus on the messages."
    chat = seen.chat
    if chat is None:
        return _missing(name, what, "it is being added up")
    cost, joules = chat_of(seen, DECIMALS)
    if not chat.receipts:
        return _missing(name, what, "there is no receipt of this chat yet")
    if cost == joules == DASH:
        return _missing(name, what, "no receipt of this chat tells money or energy")
    counted = "1 receipt" if chat.receipts == 1 else f"{chat.receipts} receipts"
    surety: Surety = "assumed" if chat.assumed else "estimated" if chat.estimated else "measured"
    notes = tuple(
        f"Of {number} of {counted} the {figure} is unknown: the sum is the least that it can be."
        for number, figure in ((chat.unpriced, "money"), (chat.unmetered, "energy"))
        if number
    )
    return Told(name, f"{cost} · {joules}", surety, what, f"the sum of {counted}", notes)


def _saved(seen: Seen) -> Told:
    name, what = "Saved", "Whether what is on the screen is on disk."
    if seen.unsaved:
        return Told(name, f"not saved: {seen.unsaved}", "measured", what, "what the disk answered")
    if seen.empty:
        return _missing(name, what, "nothing has been said yet")
    if seen.answer is not None:
        return Told(name, "saving", "measured", what, "your question is on disk; the answer follows within a second")
    return Told(name, "saved", "measured", what, "committed to the database and synced")


def _ram(seen: Seen) -> Told:
    name, what = "RAM", "Memory of the engine's process. Pages of the model's file that it reads count."
    if seen.machine.rss_bytes is None:
        return _missing(name, what, _no_process(seen))
    return Told(name, memory(seen.machine.rss_bytes), "measured", what, "resident memory of the process, /proc")


def _ssd(seen: Seen) -> Told:
    name, what = "SSD", "What the engine's process reads from disks. On the footer from 1 MB/s on."
    reads = seen.machine.read_bytes_per_s
    if reads is None:
        busy = seen.answer is not None or (seen.status is not None and seen.status.phase == "loading")
        why = "the system does not tell" if busy else "counted while the model loads or answers"
        return _missing(name, what, why if seen.machine.rss_bytes is not None else _no_process(seen))
    return Told(name, speed_of_reads(reads), "measured", what, "read_bytes of the process, /proc")


def tariff_of(seen: Seen) -> str:
    """Return the tariff that the answer's money was made with."""
    rates, cost = seen.rates, seen.cost
    price = f"{rates.tariff or 0:.2f} {rates.currency}/kWh"
    if cost is not None and (cost.source == "tariff") != rates.tariff_is_set:
        return "your tariff at that time" if cost.source == "tariff" else "an assumed tariff: none was set at that time"
    if rates.tariff_is_set:
        return f"your tariff {price}"
    return f"assumed {price}: set [bill] price_per_kwh in {shown_path(settings_file())}"


def power_supply_of(seen: Seen) -> tuple[str, ...]:
    """Return a note where it is only assumed what of the power reaches the devices."""
    if seen.cost is None or "power supply" not in seen.cost.assumptions:
        return ()
    return (f"The power supply is assumed to pass on {seen.rates.efficiency:.0%}: psu_efficiency in [bill] sets it.",)


def _no_price(seen: Seen) -> str:
    if seen.rates.tariff is None:
        where = shown_path(settings_file())
        return f"a price in {seen.rates.currency} is not assumed: set [bill] price_per_kwh in {where}"
    return "it had no price when it was taken in"


def no_card(seen: Seen) -> str:
    """Return why there is no figure of a card."""
    reading = seen.machine.reading
    if reading is None:
        return "the driver was not read yet"
    return reading.problem or "there is no graphics card here"


def _problem(seen: Seen) -> tuple[str, ...]:
    reading = seen.machine.reading
    return (reading.problem,) if reading is not None and reading.problem else ()


def _elsewhere(seen: Seen) -> bool:
    return seen.loaded is not None and seen.loaded.place == "elsewhere"


def _not_yet(seen: Seen, else_why: str) -> str:
    if seen.answer is not None and not seen.answer.finished:
        return "the answer has not begun"
    return "there is no answer yet" if seen.last is None else else_why


def _no_energy(seen: Seen) -> str:
    if seen.last is None and seen.answer is None:
        return "there is no answer yet"
    if _elsewhere(seen):
        return ELSEWHERE
    return "it is told a second after the answer begins" if seen.live else "nothing here told what it took"


def _no_process(seen: Seen) -> str:
    if seen.loaded is not None and seen.loaded.place != "process":
        return "the model runs in a server, not in a process of ours"
    return "no model is loaded" if seen.loaded is None else "the system does not tell"


_TOLD: dict[Figure, Callable[[Seen], Told]] = {
    "model": _model,
    "vram": _vram,
    "ours": _ours,
    "speed": _speed,
    "context": _context,
    "cost": _cost,
    "energy": _energy,
    "chat": _chat,
    "saved": _saved,
    "ram": _ram,
    "ssd": _ssd,
}
