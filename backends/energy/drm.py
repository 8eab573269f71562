"""Graphics cards whose drivers are part of the kernel: amdgpu's power, i915's and xe's energy counter.

Files: https://docs.kernel.org/gpu/amdgpu/thermal.html (power1_average, power1_input in µW) and
https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-driver-intel-i915-hwmon (energy1_input in µJ).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path

from backends.energy.source import COUNTER_INTERVAL_S, POWER_INTERVAL_S, Opened, Unread
from backends.energy.stretches import Counter, Power
from backends.hardware.gpu import amd_name
from backends.hardware.kernel_files import text


class Card:
    """One card, read from a file of its sensors."""

    measured = True
    card = True
    note = ""

    def __init__(
        self,
        folder: Path,
        file: Path,
        device: str,
        label: str,
        step: Callable[[float, int], int | None],
        interval_s: float,
    ) -> None:
        self.device = device
        self.label = label
        self.interval_s = interval_s
        self.problem = ""
        self._runtime = folder / "power/runtime_status"
        self._file = file
        self._step = step

    def read(self, now_s: float) -> int | None:
        # Reading the sensor would wake a card that sleeps.
        if self._asleep():
            raise Unread
        try:
            value = int(self._file.read_text("ascii"))
        except (OSError, ValueError) as error:
            self.problem = "Its power sensor cannot be read."
            raise Unread from error
        self.problem = ""
        return self._step(now_s, value)

    def in_use(self, pids: Collection[int] | None) -> bool | None:  # noqa: ARG002 - these drivers do not tell whose it is
        return False if self._asleep() else None

    def _asleep(self) -> bool:
        return text(self._runtime) == "suspended"


def open_cards(root: Path = Path("/")) -> Opened:
    """Find the cards; `root` is where sys is found."""
    try:
        folders = sorted(
            (int(card.name[4:]), card / "device")
            for card in (root / "sys/class/drm").iterdir()
            if re.fullmatch(r"card\d+", card.name)
        )
    except OSError:
        return Opened()
    cards = []
    for number, folder in folders:
        for sensors in sorted(folder.glob("hwmon/hwmon*")):
            card = _card(number, folder, sensors)
            if card is not None:
                cards.append(card)
                break
    return Opened(tuple(cards))


def _card(number: int, folder: Path, sensors: Path) -> Card | None:
    driver = text(sensors / "name")
    if driver == "amdgpu":
        # The sensor of a processor's own graphics is that of the whole processor, which RAPL counts. It has no limit
        # that could be set.
        if not (sensors / "power1_cap").exists():
            return None
        file = next((sensors / name for name in ("power1_average", "power1_input") if (sensors / name).exists()), None)
        if file is None:
            return None
        device = f"GPU card{number} {amd_name(folder) or 'AMD'}"
        return Card(folder, file, device, "amdgpu power, integrated", Power().step, POWER_INTERVAL_S)
    if driver in {"i915", "xe"} and (sensors / "energy1_input").exists():
        device = f"GPU card{number} Intel"
        return Card(
            folder, sensors / "energy1_input", device, f"{driver} energy counter", Counter().step, COUNTER_INTERVAL_S
        )
    return None
