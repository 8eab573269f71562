"""The processors' own energy counters, RAPL: packages and the memory that hangs on them.

Zones: https://docs.kernel.org/power/powercap/powercap.html. `psys`, `core` and `uncore` are left out: they overlap
with the packages. So is `intel-rapl-mmio`, which shows the same package once more.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from backends.energy.source import COUNTER_INTERVAL_S, Opened, Unread
from backends.energy.stretches import Counter
from backends.hardware.kernel_files import printable, text

LABEL = "RAPL"
REMEDY = (
    "To allow it until the next start: sudo chmod o+r /sys/class/powercap/intel-rapl:*/energy_uj"
    ' — for good: echo \'ACTION=="add", SUBSYSTEM=="powercap", RUN+="/bin/chmod o+r /sys%p/energy_uj"\''
    " | sudo tee /etc/udev/rules.d/60-energy.rules"
)
"""The class folder names every zone, children too, so one glob meets them all. Since CVE-2020-8694 they are root's:
who can watch them finely may guess at what others compute."""


class Zone:
    """One counter."""

    label = LABEL
    measured = True
    interval_s = COUNTER_INTERVAL_S
    card = False
    note = ""

    def __init__(self, folder: Path, device: str) -> None:
        """Raise OSError or ValueError if the counter cannot be read."""
        self.device = device
        self.problem = ""
        self._file = folder / "energy_uj"
        self._counter = Counter(_number(folder / "max_energy_range_uj"))
        _number(self._file)

    def read(self, now_s: float) -> int | None:
        try:
            value_uj = _number(self._file)
        except (OSError, ValueError) as error:
            self.problem = "Its energy counter cannot be read."
            raise Unread from error
        self.problem = ""
        return self._counter.step(now_s, value_uj)

    def in_use(self, pids: Collection[int] | None) -> bool | None:  # noqa: ARG002 - a processor is always in use
        return True


def open_zones(root: Path = Path("/")) -> Opened:
    """Find the counters; `root` is where sys is found. Without a readable package there is no source."""
    found: list[Zone] = []
    denied = broken = False
    for folder in packages(root):
        number = _text(folder / "name").removeprefix("package-")
        try:
            found.append(Zone(folder, f"CPU package {number}"))
        except PermissionError:
            denied = True
            continue
        except (OSError, ValueError):
            broken = True
            continue
        for child in sorted(folder.glob(f"{folder.name}:*")):
            if _text(child / "name") == "dram":
                try:
                    found.append(Zone(child, f"Memory of CPU package {number}"))
                except PermissionError:
                    denied = True
                except (OSError, ValueError):
                    broken = True
    if denied:
        return Opened(tuple(found), "Only root may read the processor's energy counters (RAPL).", REMEDY)
    if broken:
        return Opened(tuple(found), "The processor's energy counters (RAPL) cannot be read.")
    return Opened(tuple(found))


def packages(root: Path) -> list[Path]:
    """Return the folders of the processors' packages, by number."""
    try:
        folders = [
            path for path in (root / "sys/class/powercap").iterdir() if re.fullmatch(r"intel-rapl:\d+", path.name)
        ]
    except OSError:
        return []
    folders.sort(key=lambda path: int(path.name.partition(":")[2]))
    return [folder for folder in folders if _text(folder / "name").startswith("package-")]


def limit_w(root: Path) -> float | None:
    """Return the watts that all packages may draw for long (PL1, readable for everybody), None if unknown."""
    watts = []
    for folder in packages(root):
        for name in sorted(folder.glob("constraint_*_name")):
            if _text(name) == "long_term":
                try:
                    watts.append(_number(folder / name.name.replace("_name", "_power_limit_uw")) / 1e6)
                except (OSError, ValueError):
                    return None
    return sum(watts) if watts else None


def _number(path: Path) -> int:
    return int(path.read_text("ascii"))


def _text(path: Path) -> str:
    return printable(text(path))
