"""How fast NVIDIA cards can read their own memory, by the bus width and the clock that the driver tells."""

from __future__ import annotations

import contextlib
from typing import Any

from backends.hardware.speed import Speed

_PLAUSIBLE = range(10**9, 10**14)


def of_nvidia() -> dict[int, Speed]:
    """Return the cards' nominal bandwidth by the driver's index. Never raises, but may block.

    Two transfers a clock, as NVML counts the memory's clock: the RTX 3070's 7001 MHz · 2 · 256 bit are the 448 GB/s of
    its data sheet, the RTX 3060 8 GB's 7501 MHz · 2 · 128 bit its 240.
    """
    found: dict[int, Speed] = {}
    # The binding may raise anything, and a figure that is only nice to have must not end its reader.
    with contextlib.suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                speed = _of_card(pynvml, index)
                if speed is not None:
                    found[index] = speed
        finally:
            pynvml.nvmlShutdown()
    return found


def _of_card(nvml: Any, index: int) -> Speed | None:
    try:
        device = nvml.nvmlDeviceGetHandleByIndex(index)
        bits = nvml.nvmlDeviceGetMemoryBusWidth(device)
        mhz = nvml.nvmlDeviceGetMaxClockInfo(device, nvml.NVML_CLOCK_MEM)
    except nvml.NVMLError:
        return None
    bytes_per_s = round(mhz * 1e6 * 2 * bits / 8)
    return Speed(bytes_per_s, "published") if bytes_per_s in _PLAUSIBLE else None
