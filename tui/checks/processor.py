"""Checks of the processor: threads, limits, power settings, instructions."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from backends.hardware.cpu import Cpu
from backends.hardware.power_settings import PowerSettings, power_settings
from tui.checks.check import Check
from tui.checks.ground import Ground

_CAPPED = 0.9
_PROFILE = "powerprofilesctl set performance   (or: echo performance | sudo tee /sys/firmware/acpi/platform_profile)"
_CPUS = "/sys/devices/system/cpu"


def processor(ground: Ground) -> Iterator[Check]:
    """What the processor is, and what keeps it from its speed."""
    cpu = ground.machine.cpu
    yield Check("processor", "ok", _described(cpu))
    yield from _limits(cpu)
    yield from _threads(ground)
    yield from power(power_settings(ground.root))
    if ground.machine.power == "battery":
        yield Check("power", "warn", "on battery", "Plug it in.", "processor-slow")
    known, x86 = cpu.instructions, platform.machine().lower() in {"x86_64", "amd64"}
    if x86 and known and "avx2" not in known:
        fix = "A newer processor, or a preset that fits on the card whole; here take the smallest."
        yield Check("instructions", "warn", "there is no AVX2", fix, "processor-slow")


def power(settings: PowerSettings) -> Iterator[Check]:
    """Settings that save power at the cost of speed."""
    slow = [(what, fix) for what, fix in _slow_settings(settings) if what]
    for what, fix in slow:
        yield Check("power settings", "warn", what, fix, "processor-slow")
    told = (*settings.governors, *settings.preferences, settings.profile)
    if not slow and any(told):
        yield Check("power settings", "ok", ", ".join(dict.fromkeys(filter(None, told))))


def _slow_settings(settings: PowerSettings) -> Iterator[tuple[str, str]]:
    if "powersave" in settings.governors and not settings.follows_preference:
        # Under other drivers it means the lowest frequency at all times.
        fix = f"echo schedutil | sudo tee {_CPUS}/cpu*/cpufreq/scaling_governor"
        yield "the governor is powersave: always the lowest frequency", fix
    if "power" in settings.preferences:
        fix = f"echo balance_performance | sudo tee {_CPUS}/cpu*/cpufreq/energy_performance_preference"
        yield "the energy preference is power", fix
    if settings.profile in {"low-power", "quiet", "cool"}:
        yield f"the platform profile is {settings.profile}", _PROFILE
    if settings.allowed is not None and settings.allowed < _CAPPED:
        fix = "sudo cpupower frequency-set --max 100GHz   (lifts the limit)"
        yield f"cores are limited to {settings.allowed:.0%} of their highest frequency", fix
    if settings.boost is False:
        name = "intel_pstate/no_turbo" if settings.driver.startswith("intel") else "cpufreq/boost"
        on = "0" if name.endswith("no_turbo") else "1"
        yield "boost is switched off", f"echo {on} | sudo tee {_CPUS}/{name}"


def _described(cpu: Cpu) -> str:
    parts = [cpu.name or "unknown"]
    if cpu.cores is not None and cpu.threads is not None:
        parts.append(f"{cpu.cores} cores, {cpu.threads} threads")
    elif cpu.threads is not None:
        parts.append(f"{cpu.threads} threads")
    if cpu.performance_cores is not None and cpu.efficiency_cores is not None:
        parts.append(f"{cpu.performance_cores} of them fast, {cpu.efficiency_cores} efficient")
    return ", ".join(parts)


def _limits(cpu: Cpu) -> Iterator[Check]:
    if cpu.quota is not None and cpu.threads is not None and cpu.quota < cpu.threads:
        found = f"a control group grants {cpu.quota:g} CPUs' worth of time, of {cpu.threads}"
        fix = "Give it more: docker run --cpus N, or systemctl set-property … CPUQuota="
        yield Check("processor limit", "warn", found, fix, "processor-slow")
    elif cpu.usable_threads is not None and cpu.threads is not None and cpu.usable_threads < cpu.threads:
        found = f"{cpu.usable_threads} of {cpu.threads} threads may be used (affinity)"
        fix = "taskset -p $$   (shows the mask that this shell passes on)"
        yield Check("processor limit", "warn", found, fix, "processor-slow")


def _threads(ground: Ground) -> Iterator[Check]:
    """More threads than cores make token generation slower, not faster."""
    cores = ground.machine.cpu.usable_cores
    for entry in ground.catalog.entries:
        threads = entry.preset.backends.get("llama_cpp", {}).get("threads")
        if cores is not None and isinstance(threads, int) and threads > cores:
            found = f"preset {entry.name}: {threads} threads on {cores} cores"
            public = f"a preset of the user's: {threads} threads on {cores} cores"
            fix = f'In {entry.name}.toml: threads = "auto"'
            yield Check("threads", "warn", found, fix, "processor-slow", found if entry.builtin else public)
