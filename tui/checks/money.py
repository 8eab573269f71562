"""What `doctor` says about energy and money: which devices are measured, and whose tariff is used."""

from __future__ import annotations

from collections.abc import Iterator

from backends.energy.survey import survey
from backends.shown import shown_path
from tui.checks.check import Check
from tui.settings import rates, settings_file


def energy() -> Iterator[Check]:
    """Each device that tells its energy, and what keeps others from it. Cards have a finding of their own."""
    for found in survey():
        if found.label:
            how = "measured" if found.measured else "estimated"
            yield Check(f"energy: {found.device}", "ok", f"{how}, {found.label}")
        elif found.remedy:
            yield Check("energy", "warn", found.problem, found.remedy, "energy")


def tariff() -> Iterator[Check]:
    """What a kilowatt-hour costs, and whether the user said so."""
    found = rates()
    price = f"{found.tariff:g} {found.currency} per kWh"
    if found.tariff_is_set:
        yield Check("tariff", "ok", price, public="set")
    else:
        told = f"{price} is assumed; yours: [bill] price_per_kwh in {shown_path(settings_file())}"
        yield Check("tariff", "ok", told, public=f"{price} is assumed")
