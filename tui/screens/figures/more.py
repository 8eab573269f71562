"""What is told on demand beside the footer's figures: the cards, the energy and the cost in parts, the last minutes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from backends.events import ASSUMED_TARIFF
from backends.hardware.gpu import Gpu
from tui.chat.course import Point
from tui.chat.seen import Seen
from tui.plot import course
from tui.screens.figures.told import DECIMALS, Surety, Told, no_card, power_supply_of, tariff_of
from tui.screens.figures.words import cost_of
from tui.units import DASH, energy, gigabytes, money
from tui.words import N_, _, ngettext

SILENT = N_("the driver does not tell")
LEAST_MISSING_S = 0.05
MORE = N_("`deepseek-tui doctor` says what could be measured, and how to allow it.")


class Published(msgspec.Struct, frozen=True):
    """What somebody else published for an answer of a preset; None where nobody did."""

    title: str = ""
    usd_per_answer: float | None = None


def card_figures(seen: Seen) -> list[Told]:
    """Return how each card is doing."""
    if not seen.cards:
        return [Told(_("Card"), DASH, "unavailable", _("How the graphics card is doing."), no_card(seen))]
    told = []
    for card in seen.cards:
        named = f"GPU {card.index}" if len(seen.cards) > 1 else ""
        told += [
            Told(
                _named(named, _("Card")),
                _("{name} · {used_bytes} of {total_bytes} GB in use").format(
                    name=card.name, used_bytes=gigabytes(card.used_bytes), total_bytes=gigabytes(card.total_bytes)
                ),
                "measured",
                _("Which card it is."),
                _driver(card),
            ),
            _percent(named, card),
            _power(named, card),
            _heat(named, card),
            _held_back(named, card),
        ]
    return told


def _named(card: str, what: str) -> str:
    return f"{card} {what}".strip()


def _driver(card: Gpu) -> str:
    return _("the driver, {driver}").format(driver=card.driver) if card.driver else _("the driver")


def _told(name: str, value: str | None, what: str, card: Gpu) -> Told:
    if value is None:
        return Told(name, DASH, "unavailable", what, _(SILENT))
    return Told(name, value, "measured", what, _driver(card))


def _percent(named: str, card: Gpu) -> Told:
    value = None if card.busy is None else f"{card.busy:.0%}"
    return _told(_named(named, _("Load")), value, _("Share of the time in which the card computed."), card)


def _power(named: str, card: Gpu) -> Told:
    value = None
    if card.watts is not None:
        value = f"{card.watts:.0f} W"
        if card.watts_limit is not None:
            value = _("{watts} W of at most {limit} W").format(
                watts=f"{card.watts:.0f}", limit=f"{card.watts_limit:.0f}"
            )
    return _told(_named(named, _("Power")), value, _("What the card draws at the moment."), card)


def _heat(named: str, card: Gpu) -> Told:
    value = None if card.celsius is None else f"{card.celsius:.0f} °C"
    return _told(_named(named, _("Heat")), value, _("Temperature of the card."), card)


def _held_back(named: str, card: Gpu) -> Told:
    what = _("Why the card runs slower than it could.")
    if card.throttled:
        return _told(_named(named, _("Slowed by")), "; ".join(card.throttled), what, card)
    # A driver that tells nothing else does not tell this either.
    silent = card.busy is None and card.watts is None and card.celsius is None
    return _told(_named(named, _("Slowed by")), None if silent else _("nothing"), what, card)


def energy_figures(seen: Seen) -> list[Told]:
    """Return the answer's energy by device, and by what it was for."""
    found = seen.energy
    if found is None:
        return []
    told = []
    for one in found.devices:
        parts = (
            (_("loading"), one.load_j),
            (_("getting ready"), one.settle_j),
            (_("prefill"), one.prefill_j),
            (_("decode"), one.decode_j),
        )
        phases = " · ".join(f"{name} {energy(joules)}" for name, joules in parts if joules)
        missing = one.missing_s >= LEAST_MISSING_S
        notes = (
            (_("Of {missing_s:.1f} s nothing is known, and nothing is counted.").format(missing_s=one.missing_s),)
            if missing
            else ()
        )
        about, surety = ("", "measured") if one.measured else ("~", "estimated")
        value = f"{about}{energy(one.joules)} · {_idle(one.idle_j, one.joules, measured=one.measured)}"
        told.append(Told(one.device, value, _surety(surety), phases or _("Nothing was drawn."), one.source, notes))
    about = "~" if seen.energy_is_estimate else ""
    some_measured = any(one.measured for one in found.devices)
    whole = f"{about}{energy(found.joules)} · {_idle(found.idle_joules, found.joules, measured=some_measured)}"
    surety = "measured" if found.source == "measured" else "estimated"
    what = _("Idle draw: what idle devices would have taken in the same time.")
    more = () if surety == "measured" else (_(MORE),)
    told.append(Told(_("Together"), whole, _surety(surety), what, _("the sum of these devices"), (*found.notes, *more)))
    return told


def _surety(word: str) -> Surety:
    return "measured" if word == "measured" else "estimated"


def _idle(joules: float | None, whole: float, *, measured: bool) -> str:
    """Return the share that idle devices would have drawn, and what is left without it."""
    if not measured:
        return _("without idle draw")  # An estimate from the time that was computed holds none.
    if joules is None:
        return _("idle draw not known yet")
    return _("{energy} beyond the idle draw of {idle}").format(
        energy=energy(max(0.0, whole - joules)), idle=energy(joules)
    )


def cost_figures(seen: Seen, published: Published) -> list[Told]:
    """Return the parts of the answer's money, and what was published beside it."""
    told, cost, rates = [], seen.cost, seen.rates
    if cost is not None and cost.electricity is not None:
        assumed = cost.source == ASSUMED_TARIFF or "power supply" in cost.assumptions
        surety: Surety = "assumed" if assumed else _surety(seen.energy.source if seen.energy else "")
        rest = (
            _(", {rest_watts:.0f} W for the rest of the machine").format(rest_watts=rates.rest_watts)
            if rates.rest_watts
            else ""
        )
        what = _("At the wall: the power supply passes on {efficiency:.0%}{rest}.").format(
            efficiency=rates.efficiency, rest=rest
        )
        value = money(cost.electricity, cost.currency, DECIMALS)
        told.append(Told(_("Electricity"), value, surety, what, tariff_of(seen), power_supply_of(seen)))
    if cost is None or cost.source != "preset":
        what = _("The share of the machine's price that this answer wears off.")
        if cost is not None and cost.hardware is not None:
            spread = _("{lifetime_years:g} years, answering {utilisation:.0%} of the time").format(
                lifetime_years=rates.lifetime_years, utilisation=rates.utilisation
            )
            value = money(cost.hardware, cost.currency, DECIMALS)
            told.append(
                Told(
                    _("Hardware"), value, "assumed", what, _("your hardware_price over {spread}").format(spread=spread)
                )
            )
        else:
            told.append(Told(_("Hardware"), DASH, "unavailable", what, _("off: set hardware_price in [bill]")))
    what = _("Cost of an answer of {preset}, beside the {cost} of this one.").format(
        preset=published.title or _("this preset"), cost=cost_of(seen, DECIMALS)
    )
    if published.usd_per_answer is not None:
        value = _("{money} an answer").format(money=money(published.usd_per_answer, "USD"))
        told.append(Told(_("Published"), value, "published", what, _("the article that this preset is from")))
    else:
        told.append(Told(_("Published"), DASH, "unavailable", what, _("nobody has published it for this preset")))
    return told


class Lately(msgspec.Struct, frozen=True):
    """How one figure went; `picture` is "" where nothing is known."""

    name: str
    picture: str
    span: str
    source: str


def course_lines(points: Sequence[Point], columns: int) -> list[Lately]:
    """Return how each figure went over the last minutes; a gap is where it was unknown."""
    rows: tuple[tuple[str, Callable[[Point], float | None], str, str], ...] = (
        ("VRAM", lambda point: None if point.vram_bytes is None else point.vram_bytes / 1e9, "GB", _("the driver")),
        ("tok/s", lambda point: point.tokens_per_second, "tok/s", _("tokens of the last seconds")),
        (_("Cards"), lambda point: point.cards_watts, "W", _("the driver, whatever the cards work for")),
        (_("Answer"), lambda point: point.answer_watts, "W", _("the devices of the answer, as its energy")),
    )
    return [
        Lately(name, *_drawn([read(p) for p in points], unit, columns), source) for name, read, unit, source in rows
    ]


def _drawn(values: Sequence[float | None], unit: str, columns: int) -> tuple[str, str]:
    known = [value for value in values if value is not None]
    if not known:
        return "", _("{dash} nothing known yet").format(dash=DASH)
    digits = 0 if max(known) >= 100 else 1
    least, most = f"{min(known):.{digits}f}", f"{max(known):.{digits}f}"
    span = most if least == most else _("{least} to {most}").format(least=least, most=most)
    # In whole minutes: a text that counts seconds would be sent anew with each.
    minutes = math.ceil(len(values) / 60)
    return course(values, columns), ngettext(
        "{span} {unit} in the last minute", "{span} {unit} in the last {minutes} min", minutes
    ).format(span=span, unit=unit, minutes=minutes)
