"""What an answer costs on a machine of one's own: its electricity, and its share of the hardware if that is wanted."""

from __future__ import annotations

from typing import Annotated

import msgspec

from backends.events import ASSUMED_TARIFF, Cost, Energy, Timings

ASSUMED_PRICE_PER_KWH, ASSUMED_CURRENCY = 0.30, "USD"
"""What a kilowatt-hour is taken to cost until the user says it: a usual price of households in Europe, a high one
elsewhere. Every amount made with it is marked as an estimate."""
ASSUMED_EFFICIENCY = 0.85
"""What 80 PLUS Bronze demands of a power supply at half load."""
JOULES_PER_KWH = 3.6e6
SECONDS_PER_YEAR = 365.25 * 24 * 3600

_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table [bill] of the settings: what electricity and hardware cost. None was not set.

    Without `price_per_kwh` one in US dollars is assumed, and none in any other currency. `psu_efficiency` is what of
    the power at the wall reaches the devices. `rest_watts` is what the rest of the machine draws while it answers.
    Without `hardware_price` the hardware is left out; it is spread over `lifetime_years`, in which the machine answers
    the share `utilisation` of the time.
    """

    price_per_kwh: _Amount | None = None
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")] = ASSUMED_CURRENCY
    psu_efficiency: _Share | None = None
    rest_watts: Annotated[float, msgspec.Meta(ge=0, le=1e5)] = 0.0
    hardware_price: _Amount | None = None
    lifetime_years: Annotated[float, msgspec.Meta(gt=0, le=100)] = 4.0
    utilisation: _Share = 0.1

    @property
    def tariff_is_set(self) -> bool:
        return self.price_per_kwh is not None

    @property
    def tariff(self) -> float | None:
        """The price of a kilowatt-hour that is used; None where there is none in this currency."""
        if self.price_per_kwh is not None:
            return self.price_per_kwh
        return ASSUMED_PRICE_PER_KWH if self.currency == ASSUMED_CURRENCY else None

    @property
    def efficiency(self) -> float:
        """What of the power at the wall reaches the devices."""
        return ASSUMED_EFFICIENCY if self.psu_efficiency is None else self.psu_efficiency

    @property
    def hardware_per_second(self) -> float:
        """What a second of answering wears off the hardware; 0 while its price is not set."""
        return (self.hardware_price or 0.0) / (self.lifetime_years * SECONDS_PER_YEAR * self.utilisation)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What nobody has set of that which money is made with. How long and how often hardware is used is a guess."""
        found = {
            "tariff": self.price_per_kwh is None,
            "power supply": self.psu_efficiency is None,
            "hardware": self.hardware_price is not None,
        }
        return tuple(name for name, holds in found.items() if holds)


def seconds(timings: Timings | None) -> float:
    """Return how long the machine worked for an answer, as far as it is known."""
    if timings is None:
        return 0.0
    return sum(part for part in (timings.load_s, timings.prefill_s, timings.decode_s) if part is not None)


def own_cost(energy: Energy | None, timings: Timings | None, rates: Rates) -> Cost | None:
    """Return what an answer of this machine costs, None where its energy or its price is unknown."""
    if energy is None or rates.tariff is None:
        return None
    busy_s = seconds(timings)
    at_the_wall = (energy.joules + rates.rest_watts * busy_s) / rates.efficiency
    power = at_the_wall / JOULES_PER_KWH * rates.tariff
    wear = busy_s * rates.hardware_per_second if rates.hardware_price is not None else None
    source = "tariff" if rates.tariff_is_set else ASSUMED_TARIFF
    return Cost(power + (wear or 0.0), rates.currency, source, power, wear, rates.assumptions)
