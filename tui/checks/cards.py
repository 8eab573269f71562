"""Checks of the graphics cards: whether they can be used, who holds their memory, and what slows them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from backends.hardware import processes
from backends.hardware.gpu import Gpu, GpuReading
from backends.hardware.nvidia import NvidiaCard, Tenant
from tui.checks.check import Check
from tui.checks.engines import driver_fix
from tui.checks.ground import Ground
from tui.units import DASH, memory

MUCH = 0.15
"""Share of a card's memory from which on it is worth a warning that others hold it; a desktop takes less."""
_FAULTS = {"hot", "hardware slowdown", "power brake"}
"""Of the reasons in `backends.hardware.gpu_condition` those that can be mended. At its power limit is every card that
works hard."""
_SMI = "nvidia-smi   (shows what the driver says)"
_NAMED = 4
_SYSMEM = (
    "In Windows: NVIDIA Control Panel, Manage 3D settings, CUDA - Sysmem Fallback Policy: Prefer No Sysmem Fallback. "
    "Then a model that does not fit says so."
)


def cards(ground: Ground) -> Iterator[Check]:
    """The cards, as the driver tells them, and those that no driver tells of."""
    reading = ground.cards
    known = {card.index: card for card in ground.nvidia.cards} if ground.nvidia is not None else {}
    for gpu in reading.gpus:
        nvidia = known.get(gpu.index) if gpu.driver.startswith("nvidia") else None
        yield from _card(gpu, nvidia, ground)
    problem = _beside_slices(reading.problem, known.values())
    if problem and reading.gpus:
        yield Check("cards", "warn", problem, _SMI, "card-slow")
    elif not reading.gpus:
        yield _none(reading, ground)
    yield from hidden(os.environ, reading)
    if ground.machine.wsl2 and any(gpu.driver.startswith("nvidia") for gpu in reading.gpus):
        found = "WSL2: Windows moves what is too much for the card into main memory without a word"
        yield Check("card memory", "warn", found, _SYSMEM, "spills")


def _beside_slices(problem: str, cards: Iterable[NvidiaCard]) -> str:
    """Return what is wrong beside MIG, of which each card's own finding tells."""
    for card in cards:
        if card.in_slices:
            problem = re.sub(rf"GPU {card.index}: it is divided by MIG[^.]*\. ?", "", problem)
    return problem.strip()


def hidden(environment: Mapping[str, str], reading: GpuReading) -> Iterator[Check]:
    """A variable may hide every card from the engines."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None or not any(gpu.driver.startswith("nvidia") for gpu in reading.gpus):
        return
    if named.strip() in {"", "-1", "NoDevFiles"}:
        found = f"CUDA_VISIBLE_DEVICES={named.strip()} hides every card from the engines"
        yield Check("hidden cards", "warn", found, "unset CUDA_VISIBLE_DEVICES", "card-idle")


def _card(gpu: Gpu, nvidia: NvidiaCard | None, ground: Ground) -> Iterator[Check]:
    name = f"card {gpu.index}"
    cuda = ground.nvidia.cuda if ground.nvidia is not None and nvidia is not None else None
    told = f"{gpu.driver}, CUDA up to {cuda[0]}.{cuda[1]}" if cuda else gpu.driver
    free = f"{memory(gpu.free_bytes)} of {memory(gpu.total_bytes)} free"
    yield Check(name, "ok", f"{gpu.name}, {free}, {told}")
    others, who, counted = _others(gpu, nvidia, ground)
    if others is not None and others >= MUCH * gpu.total_bytes:
        found = f"{memory(others)} of {memory(gpu.total_bytes)} are held by others"
        fix = "Close what you do not need." + ("   ollama stop MODEL   (ollama ps names it)" if "ollama" in who else "")
        yield Check(f"{name} memory", "warn", f"{found}: {who}", fix, "card-taken", f"{found}: {counted}")
    slowed = [reason for reason in gpu.throttled if reason in _FAULTS]
    if slowed:
        fix = "Clean its fans and let air in; look at its power cables: nvidia-smi -q -d PERFORMANCE,TEMPERATURE"
        yield Check(f"{name} speed", "warn", f"slowed now by: {', '.join(slowed)}", fix, "card-slow")
    if nvidia is not None and nvidia.faults:
        found = f"{nvidia.faults} memory errors that could not be corrected since the driver was loaded"
        fix = "Restart the machine; if they come back, the card is failing: nvidia-smi -q -d ECC"
        yield Check(f"{name} errors", "warn", found, fix, "card-slow")
    if nvidia is not None and nvidia.in_slices:
        found = "divided by MIG: the figures are the whole card's, and an engine gets one slice"
        fix = "nvidia-smi -L   (lists the slices; CUDA_VISIBLE_DEVICES=MIG-… chooses one)"
        yield Check(f"{name} slices", "warn", found, fix, "card-taken")


def _others(gpu: Gpu, nvidia: NvidiaCard | None, ground: Ground) -> tuple[int | None, str, str]:
    """Return what others hold, by whom with names, and the same without any. None where it is not told."""
    views = ground.hosts or ()
    ours = {view.pid for view in views if view.pid is not None}
    if nvidia is None or nvidia.tenants is None:
        # Whose it is cannot be told, and so with a model of ours on the card nothing can be said.
        return (None, "", "") if views else (gpu.used_bytes, "the driver does not say by whom", "by whom is not told")
    strangers = sorted(
        (tenant for tenant in nvidia.tenants if tenant.pid not in ours), key=lambda one: -(one.held_bytes or 0)
    )
    mine = [tenant.held_bytes for tenant in nvidia.tenants if tenant.pid in ours]
    if any(held is None for held in mine) or (views and not mine):
        return None, "", ""
    held = max(0, gpu.used_bytes - sum(held or 0 for held in mine))
    named = [_named(tenant, ground) for tenant in strangers[:_NAMED]]
    more = len(strangers) - len(named)
    who = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    counted = f"{len(strangers)} {'program' if len(strangers) == 1 else 'programs'}"
    return held, who or "no program that is seen from here", counted


def _named(tenant: Tenant, ground: Ground) -> str:
    name = processes.name_of(tenant.pid, ground.root)
    held = DASH if tenant.held_bytes is None else memory(tenant.held_bytes)
    return f"{name or 'a process'} ({tenant.pid}) {held}"


def _none(reading: GpuReading, ground: Ground) -> Check:
    absent = not reading.problem or reading.problem.startswith("No graphics card")
    found = reading.problem or "No graphics card found."
    if not absent:
        return Check("cards", "warn", found, _SMI, "card-idle")
    idle = [display for display in ground.displays if display.vendor == "NVIDIA"]
    if idle:
        driver = idle[0].driver
        running = f"the driver {driver} runs it, which cannot compute" if driver == "nouveau" else "it has no driver"
        if driver.startswith("nvidia"):
            running = "its driver is there but not its library: in a container, start it with the card (--gpus all)"
            return Check("cards", "warn", f"There is an NVIDIA card, and {running}.", _SMI, "card-idle")
        return Check("cards", "warn", f"There is an NVIDIA card, and {running}.", driver_fix(), "card-idle")
    return Check("cards", "ok", f"{found} Models run on the processor.")
