"""How much of its speed the processor is allowed to give: governor, energy preference, platform profile, limits.

https://docs.kernel.org/admin-guide/pm/cpufreq.html, …/intel_pstate.html, …/amd-pstate.html, and
https://docs.kernel.org/userspace-api/sysfs-platform_profile.html.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.hardware.kernel_files import number, printable, text

_MOST = 4096


class PowerSettings(msgspec.Struct, frozen=True):
    """What is set. Each word once, "" and () and None where the kernel does not tell.

    `allowed` is the least share, 0…1, of their highest frequency that cores may have. `boost` is whether they may go
    above their base frequency.
    """

    driver: str = ""
    governors: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()
    profile: str = ""
    allowed: float | None = None
    boost: bool | None = None

    @property
    def follows_preference(self) -> bool:
        """Say whether the hardware chooses the frequency by the preference: its "powersave" is no slow governor."""
        return self.driver in {"intel_pstate", "amd-pstate-epp", "amd_pstate_epp"}


def power_settings(root: Path = Path("/")) -> PowerSettings:
    """Read them; `root` is where sys is found."""
    cpus = root / "sys/devices/system/cpu"
    policies = sorted((cpus / "cpufreq").glob("policy*"))[:_MOST]
    shares = []
    for policy in policies:
        allowed, highest = number(policy / "scaling_max_freq"), number(policy / "cpuinfo_max_freq")
        if allowed and highest:
            shares.append(min(1.0, allowed / highest))
    return PowerSettings(
        next((driver for policy in policies if (driver := _word(policy / "scaling_driver"))), ""),
        _words(policies, "scaling_governor"),
        _words(policies, "energy_performance_preference"),
        _word(root / "sys/firmware/acpi/platform_profile"),
        min(shares, default=None),
        _boost(cpus),
    )


def _boost(cpus: Path) -> bool | None:
    off = number(cpus / "intel_pstate/no_turbo")
    if off is not None:
        return off == 0
    on = number(cpus / "cpufreq/boost")
    return None if on is None else on != 0


def _words(policies: list[Path], name: str) -> tuple[str, ...]:
    return tuple(sorted({word for policy in policies if (word := _word(policy / name))}))


def _word(path: Path) -> str:
    return printable(text(path))[:40]
