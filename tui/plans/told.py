"""What a plan says, in lines: three columns, bytes by place, the speed in parts, and what the figures rest on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import msgspec

from backends.events import Energy, Timings
from backends.hardware.machine import Machine
from backends.hardware.speed import Speed
from backends.planning.disks import read_speed
from backends.planning.result import Alternative, Fit, Input, Origin, Tier
from backends.planning.speed import traffic
from presets import families
from presets.plan import PresetPlan, rate
from tui.chat.bill import Rates, own_cost
from tui.plans import loss
from tui.units import DASH, count, memory, money
from tui.words import N_, _, ngettext

THOUSAND = 1000
"""Tokens that a predicted cost is for: how long an answer gets, nobody knows before."""
_PLACES = {"vram": "VRAM", "ram": "RAM", "ssd": "SSD"}
_READ_FROM = {"vram": N_("the card"), "ram": N_("memory"), "ssd": N_("the disk")}
_ORIGINS: dict[Origin, str] = {
    "exact": N_("exact"),
    "rules": N_("by llama.cpp's rules: within 1 % of published files"),
    "formula": N_("by a formula fitted to the engine"),
    "measured": N_("measured here"),
    "published": N_("published"),
    "assumed": N_("assumed"),
    "unknown": N_("unknown"),
}


class Columns(msgspec.Struct, frozen=True):
    """One figure three times; a dash where there is none."""

    name: str
    published: str = DASH
    predicted: str = DASH
    measured: str = DASH


class Place(msgspec.Struct, frozen=True):
    """Bytes in one place, by what they are for. `total` is their sum; `free` and `margin` are None where unknown."""

    name: str
    parts: tuple[tuple[str, int], ...]
    total: int
    free: int | None
    margin: int


class Rest(msgspec.Struct, frozen=True):
    """One figure that the plan rests on."""

    name: str
    value: str
    origin: str


def columns(
    plan: PresetPlan, machine: Machine, rates: Rates, answer_costs: Mapping[str, dict[str, float]] | None = None
) -> list[Columns]:
    """Return the article's table for one preset. `answer_costs` are the mean money of an answer, by preset."""
    published, found, measured = plan.published, plan.fit, plan.measured
    speed = published.tokens_per_second if published is not None else None
    usd = published.usd_per_answer if published is not None else None
    measured_speed = measured.tokens_per_second if measured is not None else None
    layers = f"{measured.gpu_layers}/{measured.layers}" if measured and measured.gpu_layers is not None else DASH
    return [
        Columns(
            N_("layers on the card"),
            count(published.gpu_layers if published is not None else None),
            f"{found.gpu_layers}/{found.layers}" if found is not None else DASH,
            layers,
        ),
        Columns(
            N_("context"),
            count(published.context if published is not None else None),
            f"{count(found.context)} {found.kv_cache}" if found is not None else DASH,
            count(measured.context if measured is not None else None),
        ),
        Columns(
            "VRAM",
            _gb(published.vram_gb if published is not None else None),
            (memory(found.bytes.vram.total) if found.output_on_card else _("none")) if found is not None else DASH,
            (_("none") if measured.vram_bytes == 0 else memory(measured.vram_bytes)) if measured is not None else DASH,
        ),
        Columns(
            "RAM",
            _gb(published.ram_gb if published is not None else None),
            memory(found.bytes.ram.total) if found is not None else DASH,
            memory(measured.ram_bytes if measured is not None else None),
        ),
        Columns(
            N_("SSD, each token"),
            _("in use") if published is not None and published.ssd else DASH,
            _streamed(found),
        ),
        Columns(
            N_("tokens/s"),
            f"{speed[0]:g}–{speed[1]:g}" if speed is not None else DASH,
            predicted(found) if found is not None else DASH,
            rate(measured_speed) if measured_speed is not None else DASH,
        ),
        Columns(
            N_("an answer"),
            money(usd, "USD") if usd is not None else DASH,
            _predicted_cost(found, machine, rates),
            _mean_cost((answer_costs or {}).get(plan.name, {})),
        ),
        Columns(N_("loss"), loss.of_whom(published), loss.divergence(plan.quantization), loss.measured(plan.loss)),
    ]


def predicted(plan: Fit | Alternative) -> str:
    """Return a predicted speed with its mark, ~ or ≤; a dash where there is none."""
    speed = plan.tokens_per_second
    return DASH if speed is None else f"{'≤' if plan.only_a_bound else '~'}{rate(speed)}"


def places(found: Fit) -> list[Place]:
    """Return where the bytes go, in the order of speed."""
    return [_place(name, getattr(found.bytes, key)) for key, name in _PLACES.items()]


def rests(plan: PresetPlan, machine: Machine, rates: Rates) -> Iterator[Rest]:
    """Yield every figure that the plan rests on beside those of the machine, with where it is from."""
    if plan.known is not None:
        yield Rest(N_("the model's layers"), plan.known.note, "")
    if plan.fit is None:
        return
    for one in plan.fit.inputs:
        if one.name not in _OF_THE_MACHINE:
            yield Rest(_NAMES.get(one.name, one.name), _value(one.name, one.value), _(_ORIGINS[one.origin]))
    if _predicted_cost(plan.fit, machine, rates) != DASH and plan.fit.card is not None:
        watts = machine.gpus[plan.fit.card].watts_limit
        how = _("set") if rates.tariff_is_set else _("assumed")
        text = _("the card alone at its limit of {watts:g} W; {tariff:g} {currency} per kWh {how}").format(
            watts=watts, tariff=rates.tariff, currency=rates.currency, how=how
        )
        yield Rest(N_("an answer's cost"), text, "")
    if plan.loss is not None:
        yield Rest(N_("the measured loss"), loss.against(plan.loss), _("measured here"))
    if (quality := families.quality(plan.quantization)) is not None:
        yield Rest(
            N_("the predicted loss"), _("published for another model: {source}").format(source=quality.source), ""
        )


def seconds(plan: PresetPlan) -> str:
    """Return how the predicted speed comes about: what each token reads from where, and how long that takes."""
    found, known = plan.fit, plan.known
    if found is None or known is None:
        return ""
    figures = {one.name: one for one in found.inputs}
    streamed = found.bytes.ssd.total
    read = traffic(known.shape, found.setup, found.engine_layers, streamed=streamed, held=found.held_back)
    sizes = {"vram": read.card, "ram": read.memory, "ssd": read.disk}
    if found.tokens_per_second is None:
        return _("How fast it is cannot be said: {found}.").format(found=_missing(found, figures, sizes))
    parts = [_reading(_(_READ_FROM[tier]), size, figures, tier) for tier, size in sizes.items() if size]
    # What a single place takes is the whole time.
    told = [f"{text}, {_ms(taken)}" if len(parts) > 1 else text for text, taken in parts]
    if read.disk:
        when = _("{read} while the CPU computes") if found.reads_ahead else _("{read} before the CPU computes")
        told[-1] = when.format(read=told[-1])
    reads = "; ".join(told)
    total = _ms(1 / found.tokens_per_second)
    return _("A token reads {reads}: {total}, {found} tokens/s.").format(
        reads=reads, total=total, found=predicted(found)
    )


def machine_rests(machine: Machine) -> Iterator[Rest]:
    """Yield what a machine is, as far as a plan needs it, and how that is known."""
    looked = _("measured") if machine.origin == "measured" else _("as described")
    for card in machine.gpus:
        free = _("{free_bytes} free of {total_bytes}").format(
            free_bytes=memory(card.free_bytes), total_bytes=memory(card.total_bytes)
        )
        yield Rest(N_("card"), f"{card.name}, {free}", looked)
        yield _rate_of(N_("its memory"), card.bandwidth, machine)
    if not machine.gpus:
        yield Rest(N_("card"), _("none"), looked)
    free_ram = memory(machine.ram.available_bytes)
    yield Rest(
        N_("memory"),
        _("{free_ram} available of {total_bytes}").format(
            free_ram=free_ram, total_bytes=memory(machine.ram.total_bytes)
        ),
        looked,
    )
    yield _rate_of(N_("its speed"), machine.bandwidth, machine)
    disk = " ".join(part for part in (machine.disk.kind.replace("-", " "), machine.disk.model) if part)
    yield Rest(N_("disk"), disk, looked)
    yield _rate_of(N_("its reads"), read_speed(machine.disk), machine)


def _rate_of(name: str, speed: Speed | None, machine: Machine) -> Rest:
    if speed is None:
        return Rest(name, DASH, _("not measured yet") if machine.origin == "measured" else _("not described"))
    return Rest(name, _gb_per_s(speed.bytes_per_s), _(speed.source))


def _streamed(found: Fit | None) -> str:
    """Return what each token reads again from the disk."""
    size = found.streamed_bytes if found is not None else None
    return _("none") if size == 0 else memory(size)


def _place(name: str, tier: Tier) -> Place:
    return Place(name, tier.parts, tier.total, tier.free, tier.margin)


def _predicted_cost(found: Fit | None, machine: Machine, rates: Rates) -> str:
    """Say what the card alone, at the most that it may draw, makes of a thousand tokens."""
    if found is None or not found.whole or found.card is None or not found.tokens_per_second:
        return DASH
    watts = machine.gpus[found.card].watts_limit
    if watts is None:
        return DASH
    taken_s = THOUSAND / found.tokens_per_second
    cost = own_cost(Energy(watts * taken_s, "estimated"), Timings(decode_s=taken_s), rates)
    if cost is None:
        return DASH
    # What is below the least amount that is shown has a mark of its own.
    text = money(cost.amount, cost.currency)
    about = text if text.startswith("<") else f"~{text}"
    return _("{money} for 1,000 tokens").format(money=about)


def _mean_cost(by_currency: Mapping[str, float]) -> str:
    return " + ".join(money(nano / 1e9, name) for name, nano in sorted(by_currency.items())) or DASH


def _reading(where: str, size: int, figures: Mapping[str, Input], tier: str) -> tuple[str, float]:
    """Say what is read from one place and how fast, and return the seconds that it takes."""
    reached, nominal = figures.get(f"{tier}_reached_bytes_per_s"), figures.get(f"{tier}_bytes_per_s")
    if reached is not None and reached.value:
        rate = _("{value}, as answers reached here").format(value=_gb_per_s(reached.value))
        return _("{size} from {where} at {rate}").format(
            size=memory(size), where=where, rate=rate
        ), size / reached.value
    efficiency = figures.get(f"{tier}_efficiency")
    share = efficiency.value if efficiency is not None and efficiency.value else 1.0
    most = nominal.value if nominal is not None and nominal.value else math.inf
    of = _("{share:g} of ").format(share=share) if share < 1 else ""
    return _("{size} from {where} at {of}{most}").format(
        size=memory(size), where=where, of=of, most=_gb_per_s(most)
    ), size / (share * most)


def _gb_per_s(rate: float) -> str:
    return f"{rate / 1e9:,.0f} GB/s" if rate >= 1e11 else f"{rate / 1e9:.3g} GB/s"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def _missing(found: Fit, figures: Mapping[str, Input], sizes: Mapping[str, int]) -> str:
    """Return why there is no predicted speed: it does not fit, or what has to be known for it."""
    if not found.fits:
        return _("it does not fit")
    needed = [
        f"{tier}_bytes_per_s" for tier, size in sizes.items() if size and f"{tier}_reached_bytes_per_s" not in figures
    ]
    needed += ["ram_available_bytes"] if found.streamed_bytes is None else []
    unknown = [_(_OF_THE_MACHINE[name]) for name in needed if not figures[name].value]
    text = ngettext("{what} is unknown", "{what} are unknown", len(unknown))
    return text.format(what=_(" and ").join(unknown))


def _value(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name.endswith("_bytes"):
        return memory(round(value))
    if name.endswith("_per_s"):
        return _gb_per_s(value)
    if name.endswith("_tokens"):
        return _("{value:,.0f} tokens").format(value=value)
    return f"{value:g}"


def _gb(value: float | None) -> str:
    return DASH if value is None else f"{value:g} GB"


_NAMES = {
    "weights": N_("bytes of the weights"),
    "kv": N_("bytes of the KV cache"),
    "compute": N_("bytes of the compute buffers"),
    "margin_bytes": N_("left free on the card"),
    "ram_overhead_bytes": N_("the engine's own memory"),
    "depth_tokens": N_("depth at which the speed holds"),
    "vram_overhead_bytes": N_("the driver's context"),
    "vram_efficiency": N_("share of the card's speed that is reached"),
    "vram_reached_bytes_per_s": N_("what answers reached of the card's memory"),
    "ram_reached_bytes_per_s": N_("what answers reached of main memory"),
    "ram_efficiency": N_("share of memory's speed that is reached"),
    "ssd_reached_bytes_per_s": N_("what answers reached of the disk"),
    "ssd_efficiency": N_("share of the disk's speed that is reached"),
}
_OF_THE_MACHINE = {
    "vram_free_bytes": N_("what is free on the card"),
    "vram_bytes_per_s": N_("the speed of the card's memory"),
    "ram_available_bytes": N_("how much memory is available"),
    "ram_bytes_per_s": N_("the speed of main memory"),
    "ssd_bytes_per_s": N_("the speed of the disk"),
}
"""Told once, with the machine."""
