"""How a graphics card is doing at the moment: its load, power and temperature, and what holds it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from backends.hardware.kernel_files import number, text

_LIMITS = (
    (0x04, "power limit"),
    (0x10, "sync boost"),
    (0x20 | 0x40, "hot"),
    (0x80, "power brake"),
    (0x100, "display clocks"),
)
"""Bits of NVML's clock event reasons (nvml.h, nvmlClocksEventReasons). Those for an idle card (1) and for clocks that
somebody chose (2) are no limits."""
_HARDWARE_SLOWDOWN = 0x08
_ITS_REASONS = 0x40 | 0x80
"""The hardware's reasons to slow down, which set its bit too."""


class Condition(msgspec.Struct, frozen=True):
    """The fields of `gpu.Gpu` that change all the time; None where the driver does not tell."""

    busy: float | None = None
    watts: float | None = None
    watts_limit: float | None = None
    celsius: float | None = None
    throttled: tuple[str, ...] = ()


def of_nvidia(nvml: Any, device: Any) -> Condition:
    """Ask NVML; `nvml` is the module pynvml. What fails is None: a card need not support any of it."""

    def told(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except nvml.NVMLError:
            return None

    busy = told(lambda: nvml.nvmlDeviceGetUtilizationRates(device).gpu)
    reasons = told(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(device))
    if reasons is None:
        # The name before driver 535.
        reasons = told(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))
    return Condition(
        None if busy is None else busy / 100,
        _thousandth(told(lambda: nvml.nvmlDeviceGetPowerUsage(device))),
        _thousandth(told(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(device))),
        told(lambda: float(nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU))),
        throttled(reasons or 0),
    )


def throttled(reasons: int) -> tuple[str, ...]:
    """Return what NVML's clock event reasons mean for people."""
    phrases = [phrase for bits, phrase in _LIMITS if reasons & bits]
    if reasons & _HARDWARE_SLOWDOWN and not reasons & _ITS_REASONS:
        phrases.append("hardware slowdown")
    return tuple(phrases)


def of_amd(device: Path) -> Condition:
    """Read the files of amdgpu: https://docs.kernel.org/gpu/amdgpu/thermal.html. `device` is the card's folder."""
    if text(device / "power/runtime_status") == "suspended":
        # Reading its sensors would wake it.
        return Condition()
    busy = number(device / "gpu_busy_percent")
    sensors = next(iter(sorted(device.glob("hwmon/hwmon*"))), device / "hwmon")
    watts = number(sensors / "power1_average")
    if watts is None:
        watts = number(sensors / "power1_input")
    return Condition(
        None if busy is None else busy / 100,
        None if watts is None else watts / 1e6,
        None if (limit := number(sensors / "power1_cap")) is None else limit / 1e6,
        _thousandth(number(sensors / "temp1_input")),
    )


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1000
