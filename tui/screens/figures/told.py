"""The figures of the footer, each with its value, what it is, where it comes from and how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from backends.events import ASSUMED_TARIFF
from backends.shown import shown_path
from backends.titles import backend_title
from tui.chat.seen import FIGURES, Figure, Seen
from tui.screens.figures.words import amount, chat_of, cost_of, energy_of, on_the_card, speed_of_reads
from tui.settings import settings_file
from tui.units import DASH, count, gigabytes, memory, speed
from tui.words import N_, _, ngettext

Surety = Literal["measured", "estimated", "predicted", "published", "assumed", "unavailable", "chosen"]
ELSEWHERE = N_("its model runs on another machine, whose power cannot be read from here")
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
    name, what = _("Model"), _("The model that answers, and how many of its layers are on the card.")
    if seen.target is None:
        return _missing(name, what, _("no preset is chosen"))
    title = f"{seen.target.title} · {backend_title(seen.target.spec.backend)}"
    loaded = seen.loaded
    if loaded is None:
        return Told(name, title, "unavailable", what, _("it is not loaded, so its layers are not known"))
    if loaded.layers is not None and loaded.gpu_layers is not None:
        value = _("{title} · {gpu_layers} of {layers} layers on the card").format(
            title=title, gpu_layers=loaded.gpu_layers, layers=loaded.layers
        )
        return Told(name, value, "measured", what, _("the engine's own word"))
    if loaded.vram_bytes is not None and loaded.model_bytes:
        return Told(name, f"{title} · {on_the_card(loaded)}", "measured", what, _("the server's own count of bytes"))
    return Told(name, title, "unavailable", what, _("this backend does not tell where the layers are"))


def _vram(seen: Seen) -> Told:
    name, what = "VRAM", _("Memory of the graphics cards that is in use, by anybody.")
    used, total = seen.machine.used_bytes, seen.machine.total_bytes
    if used is None or total is None:
        return _missing(name, what, no_card(seen))
    value = _("{used} GB of {total} GB, {free} GB free").format(
        used=gigabytes(used), total=gigabytes(total), free=gigabytes(total - used)
    )
    drivers = ", ".join(dict.fromkeys(card.driver or _("the driver") for card in seen.cards))
    return Told(
        name, value, "measured", what, _("memory counters of {drivers}").format(drivers=drivers), _problem(seen)
    )


def _ours(seen: Seen) -> Told:
    name, what = _("VRAM ours"), _("What of it the model takes. On the footer: ours █ + others ▒ / all.")
    ours, used = seen.ours, seen.machine.used_bytes
    if not seen.cards or used is None:
        return _missing(name, what, no_card(seen))
    if ours.used_bytes is None:
        silent = _("the driver does not tell whose memory it is, and the model was there before we looked")
        return _missing(name, what, _("no model is loaded") if seen.loaded is None else silent)
    value = _("{ours} GB ours, {others} GB others").format(
        ours=gigabytes(ours.used_bytes), others=gigabytes(max(0, used - ours.used_bytes))
    )
    match ours.how:
        case "driver":
            return Told(name, value, "measured", what, _("NVML process memory"))
        case "engine":
            return Told(name, value, "measured", what, _("the engine's own counter"))
    notes = (_("The driver does not tell whose memory it is here (WSL2, containers, AMD)."),)
    return Told(name, f"~{value}", "estimated", what, _("difference to before loading"), notes)


def _speed(seen: Seen) -> Told:
    name, what = _("Speed"), _("Generated tokens a second, thinking included, without the reading of the prompt.")
    if seen.speed is None:
        return _missing(name, what, _not_yet(seen, _("the engine did not tell")))
    source = _("the engine's own figure of the answer")
    if seen.live:
        source = _("tokens counted here over the last 3 seconds, or the last two tokens")
    elif seen.was_stopped:
        source = _("the tokens that came before it was stopped")
    return Told(name, f"{speed(seen.speed)} tok/s", "measured", what, source)


def _context(seen: Seen) -> Told:
    name, what = _("Context"), _("Tokens of the conversation that the model sees, of those that it can.")
    size = seen.loaded.context if seen.loaded is not None else None
    if seen.tokens is None and size is None:
        return _missing(name, what, _("nothing is loaded, and no answer has counted the tokens"))
    tokens = f"{seen.tokens:,}" if seen.tokens is not None else DASH
    value = _("{tokens} of {size} tokens ({short})").format(
        tokens=tokens, size=f"{size:,}" if size is not None else DASH, short=f"{count(seen.tokens)}/{count(size)}"
    )
    return Told(name, value, "measured", what, _("the engine's own counter"))


def _cost(seen: Seen) -> Told:
    name, what = _("Cost"), _("Money for this answer: what the server asks for it, or what its energy costs.")
    cost = seen.cost
    if cost is None:
        return _missing(name, what, _no_price(seen) if seen.energy is not None else _no_energy(seen))
    value = cost_of(seen, DECIMALS)
    if cost.source == "preset":
        notes = (_("The tokens of an answer on its way are counted here; at its end the server's count holds."),)
        counted = _("price in the preset, times the tokens counted")
        return Told(name, value, "published", what, counted, notes if seen.live else ())
    tariff = tariff_of(seen) + (_(", and your hardware_price") if cost.hardware is not None else "")
    if cost.assumptions or cost.source == ASSUMED_TARIFF:
        return Told(name, value, "assumed", what, tariff, power_supply_of(seen))
    return Told(name, value, "estimated" if seen.energy_is_estimate else "measured", what, tariff)


def _energy(seen: Seen) -> Told:
    name, what = _("Energy"), _("Energy that the devices took for this answer, behind the power supply.")
    if seen.energy is None:
        return _missing(name, what, _no_energy(seen))
    sources = "; ".join(dict.fromkeys(f"{one.device}: {one.source}" for one in seen.energy.devices))
    surety: Surety = "estimated" if seen.energy_is_estimate else "measured"
    notes = seen.energy.notes
    return Told(name, energy_of(seen), surety, what, sources or seen.energy.source, notes)


def _chat(seen: Seen) -> Told:
    name, what = (
        _("Chat"),
        _("What all answers and summaries of this chat took. On the footer with focus on the messages."),
    )
    chat = seen.chat
    if chat is None:
        return _missing(name, what, _("it is being added up"))
    cost, joules = chat_of(seen, DECIMALS)
    if not chat.receipts:
        return _missing(name, what, _("there is no receipt of this chat yet"))
    if cost == joules == DASH:
        return _missing(name, what, _("no receipt of this chat tells money or energy"))
    counted = ngettext("{count} receipt", "{count} receipts", chat.receipts).format(count=chat.receipts)
    unknown = _("Of {number} of {receipts} the money is unknown: the sum is the least that it can be.")
    unmetered = _("Of {number} of {receipts} the energy is unknown: the sum is the least that it can be.")
    surety: Surety = "assumed" if chat.assumed else "estimated" if chat.estimated else "measured"
    notes = tuple(
        text.format(number=number, receipts=counted)
        for number, text in ((chat.unpriced, unknown), (chat.unmetered, unmetered))
        if number
    )
    return Told(name, f"{cost} · {joules}", surety, what, _("the sum of {counted}").format(counted=counted), notes)


def _saved(seen: Seen) -> Told:
    name, what = _("Saved"), _("Whether what is on the screen is on disk.")
    if seen.unsaved:
        return Told(
            name, _("not saved: {unsaved}").format(unsaved=seen.unsaved), "measured", what, _("what the disk answered")
        )
    if seen.empty:
        return _missing(name, what, _("nothing has been said yet"))
    if seen.answer is not None:
        return Told(
            name, _("saving"), "measured", what, _("your question is on disk; the answer follows within a second")
        )
    return Told(name, _("saved"), "measured", what, _("committed to the database and synced"))


def _ram(seen: Seen) -> Told:
    name, what = "RAM", _("Memory of the engine's process. Pages of the model's file that it reads count.")
    if seen.machine.rss_bytes is None:
        return _missing(name, what, _no_process(seen))
    return Told(name, memory(seen.machine.rss_bytes), "measured", what, _("resident memory of the process, /proc"))


def _ssd(seen: Seen) -> Told:
    name = _("SSD reads")
    what = _("What the engine's process reads from disks, a model's mapped file too. On the footer from 1 MB/s on.")
    reads, io = seen.machine.read_bytes_per_s, seen.machine.io
    whole = _in_all(amount(io.read_bytes)) if io is not None and io.read_bytes is not None else ""
    source = _("read_bytes of the process, /proc")
    if reads is not None:
        return Told(name, speed_of_reads(reads) + (f" · {whole}" if whole else ""), "measured", what, source)
    return Told(name, whole, "measured", what, source) if whole else _missing(name, what, _not_counted(seen))


def _faults(seen: Seen) -> Told:
    name, what = _("Page faults"), _("How often the engine touched a page that a disk had to bring first.")
    faults, io = seen.machine.faults_per_s, seen.machine.io
    if io is None or io.page_faults is None:
        return _missing(name, what, _not_counted(seen))
    value = _in_all(f"{io.page_faults:,}")
    if faults is not None:
        value = _("{count}/s").format(count=f"{faults:,.0f}") + f" · {value}"
    notes = (_("What the disk reads ahead of its use comes without a fault: bytes tell more than their number."),)
    return Told(name, value, "measured", what, _("majflt of the process, /proc"), notes)


def _written(seen: Seen) -> Told:
    name, what = _("Written"), _("What the engine's process wrote to disks in this answer. It must be nothing.")
    io = seen.machine.io
    if io is None or io.foreign_written_bytes is None:
        return _missing(name, what, _not_counted(seen))
    value = amount(io.foreign_written_bytes)
    if io.own_written_bytes:
        value = _("{size}, beside {own} of our own").format(size=value, own=amount(io.own_written_bytes))
    if io.swapped_bytes:
        value += " · " + _("{size} of the process in swap").format(size=amount(io.swapped_bytes))
    notes = (
        _("Our own are the answer as it comes, kept states of chats and the log, in whole pages as the kernel counts."),
        _("Swapping out is written by the kernel, not by the process: it is told apart."),
    )
    return Told(name, value, "measured", what, _("write_bytes of the process, less our own, /proc"), notes)


def _in_all(whole: str) -> str:
    return _("{amount} in this answer").format(amount=whole)


def _not_counted(seen: Seen) -> str:
    """Return why nothing is told of what the engine reads and writes."""
    if seen.machine.rss_bytes is None:
        return _no_process(seen)
    busy = seen.answer is not None or (seen.status is not None and seen.status.phase == "loading")
    return _("the system does not tell") if busy else _("counted while the model loads or answers")


def tariff_of(seen: Seen) -> str:
    """Return the tariff that the answer's money was made with."""
    rates, cost = seen.rates, seen.cost
    price = f"{rates.tariff or 0:.2f} {rates.currency}/kWh"
    if cost is not None and (cost.source == "tariff") != rates.tariff_is_set:
        return (
            _("your tariff at that time")
            if cost.source == "tariff"
            else _("an assumed tariff: none was set at that time")
        )
    if rates.tariff_is_set:
        return _("your tariff {price}").format(price=price)
    return _("assumed {price}: set [bill] price_per_kwh in {file}").format(
        price=price, file=shown_path(settings_file())
    )


def power_supply_of(seen: Seen) -> tuple[str, ...]:
    """Return a note where it is only assumed what of the power reaches the devices."""
    if seen.cost is None or "power supply" not in seen.cost.assumptions:
        return ()
    return (
        _("The power supply is assumed to pass on {efficiency:.0%}: psu_efficiency in [bill] sets it.").format(
            efficiency=seen.rates.efficiency
        ),
    )


def _no_price(seen: Seen) -> str:
    if seen.rates.tariff is None:
        where = shown_path(settings_file())
        return _("a price in {currency} is not assumed: set [bill] price_per_kwh in {where}").format(
            currency=seen.rates.currency, where=where
        )
    return _("it had no price when it was taken in")


def no_card(seen: Seen) -> str:
    """Return why there is no figure of a card."""
    reading = seen.machine.reading
    if reading is None:
        return _("the driver was not read yet")
    return reading.problem or _("there is no graphics card here")


def _problem(seen: Seen) -> tuple[str, ...]:
    reading = seen.machine.reading
    return (reading.problem,) if reading is not None and reading.problem else ()


def _elsewhere(seen: Seen) -> bool:
    return seen.loaded is not None and seen.loaded.place == "elsewhere"


def _not_yet(seen: Seen, else_why: str) -> str:
    if seen.answer is not None and not seen.answer.finished:
        return _("the answer has not begun")
    return _("there is no answer yet") if seen.last is None else else_why


def _no_energy(seen: Seen) -> str:
    if seen.last is None and seen.answer is None:
        return _("there is no answer yet")
    if _elsewhere(seen):
        return _(ELSEWHERE)
    return _("it is told a second after the answer begins") if seen.live else _("nothing here told what it took")


def _no_process(seen: Seen) -> str:
    if seen.loaded is not None and seen.loaded.place != "process":
        return _("the model runs in a server, not in a process of ours")
    return _("no model is loaded") if seen.loaded is None else _("the system does not tell")


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
    "faults": _faults,
    "written": _written,
}
