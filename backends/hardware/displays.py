"""Graphics cards in the slots, whether or not a driver runs them: /sys/bus/pci of Linux."""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.hardware.kernel_files import printable, text

_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_DISPLAY = "0x03"
"""The base class of display controllers in the PCI Code and ID Assignment Specification."""
_MOST = 4096


class Display(msgspec.Struct, frozen=True):
    """A card in a slot. `vendor` is "" for one of another maker, `driver` the kernel's module, "" where none has it."""

    vendor: str
    driver: str = ""


def displays(root: Path = Path("/")) -> tuple[Display, ...]:
    """Return them all; `root` is where sys is found."""
    try:
        devices = sorted((root / "sys/bus/pci/devices").iterdir())[:_MOST]
    except OSError:
        return ()
    return tuple(_display(device) for device in devices if text(device / "class").startswith(_DISPLAY))


def _display(device: Path) -> Display:
    link = device / "driver"
    try:
        driver = printable(link.resolve().name) if link.exists() else ""
    except (OSError, RuntimeError):
        driver = ""
    return Display(_VENDORS.get(text(device / "vendor"), ""), driver)
