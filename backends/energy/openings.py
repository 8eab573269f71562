"""The groups of sources of a machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from backends.base import Place
from backends.energy import battery, drm, nvml, rapl
from backends.energy.estimate import CpuTime
from backends.energy.source import Opened, Opening

_DRIVER = "the graphics driver does not answer"


def openings_of(root: Path, place: Callable[[], Place]) -> tuple[Opening, ...]:
    """Return them all: NVIDIA cards, other cards, processors. `root` is where proc and sys are found."""
    driver = nvml.Driver()
    return (
        Opening("nvidia", _DRIVER, driver.open, driver.close, cards=True),
        Opening("drm", _DRIVER, lambda: drm.open_cards(root), cards=True),
        Opening(
            "processor", "the kernel does not answer", lambda: _processors(root, place), note=lambda: _battery(root)
        ),
    )


def _processors(root: Path, place: Callable[[], Place]) -> Opened:
    """Find the processors' counters; where no package's can be read, the energy is estimated."""
    opened = rapl.open_zones(root)
    return opened if opened.sources else msgspec.structs.replace(opened, sources=(CpuTime(root, place),))


def _battery(root: Path) -> str:
    return "The machine runs on battery." if battery.discharging(root) else ""
