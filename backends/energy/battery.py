"""Whether this machine runs on its battery."""

from __future__ import annotations

from pathlib import Path

from backends.hardware.kernel_files import text


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
        text(supply / "type") == "Battery"
        and text(supply / "scope") != "Device"
        and text(supply / "status") == "Discharging"
        for supply in supplies
    )
