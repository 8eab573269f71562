"""Whether this machine runs on its battery."""

from __future__ import annotations

from pathlib import Path


def discharging(root: Path = Path("/")) -> bool:
    """Say whether a battery of the machine is being emptied; `root` is where sys is found.

    https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-class-power
    """
    try:
        supplies = list((root / "sys/class/power_supply").iterdir())
    except OSError:
        return False
    # A mouse has a battery too; its scope is "Device".
    return any(
        _text(supply / "type") == "Battery"
        and _text(supply / "scope") != "Device"
        and _text(supply / "status") == "Discharging"
        for supply in supplies
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
