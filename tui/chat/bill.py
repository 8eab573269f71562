"""What an answer costs on a machine of one's own: its electricity, and its share of the hardware if that is wanted."""

from __future__ import annotations

from typing import Annotated

import msgspec

from backends.events import ASSUMED_TARIFF, Cost, Energy, Timings

ASSUMED_PRICE_PER_KWH = 0.30
"""What a kilowatt-hour is taken to cost until the user says it: a usual price of households in Europe, a high one
elsewhere. Every amount made with it is marked as an estimate."""
JOULES_PER_KWH = 3.6e6
SECONDS_PER_YEAR = 365.25 * 24 * 3600

_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table [bill] of the settings: what electricity and hardware cost.

    `price_per_kwh` None takes an assumed one, and says so. `psu_efficiency` is what of the power at the wall reaches
    the devices: 0.85 is what 80 PLUS Bronze demands at half load. `rest_watts` is what the rest of the machine draws
    while it answers. `hardware_price` None leaves the hardware out; it is spread over `lifetime_years`, in which the
    machine answers the share `utilisation` of the time.
    """

    price_per_kwh: _Amount | None = None
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")] = "USD"
    psu_efficiency: _Share = 0.85
    rest_watts: Annotated[float, msgspec.Meta(ge=0, le=1e5)] = 0.0
    hardware_price: _Amount | None = None
    lifetime_years: Annotated[float, msgspec.Meta(gt=0, le=100)] = 4.0
    utilisation: _Share = 0.1

    @property
    def tariff_is_set(self) -> bool:
        return self.price_per_kwh is not None

    @property
    def tariff(self) -> float:
        """The price of a kilowatt-hour that is used."""
        return ASSUMED_PRICE_PER_KWH if self.price_per_kwh is None else self.price_per_kwh

    @property
    def hardware_per_second(self) -> float:
        """What a second of answering wears off the hardware; 0 while its price is not set."""
        return (self.hardware_price or 0.0) / (self.lifetime_years * SECONDS_PER_YEAR * self.utilisation)


def seconds(timings: Timings | None) -> float:
    """Return how long the machine worked for an answer, as far as it is known."""
    if timings is None:
        return 0.0
    return sum(part for part in (timings.load_s, timings.prefill_s, timings.decode_s) if part is not None)


def electricity(joules: float, busy_s: float, rates: Rates) -> float:
    """Return what `joules` of the devices cost at the wall, with what the rest of the machine drew meanwhile."""
    at_the_wall = (joules + rates.rest_watts * busy_s) / rates.psu_efficiency
    return at_the_wall / JOULES_PER_KWH * rates.tariff


def own_cost(energy: Energy | None, timings: Timings | None, rates: Rates) -> Cost | None:
    """Return what an answer of this machine costs, None where its energy is unknown."""
    if energy is None:
        return None
    busy_s = seconds(timings)
    power = electricity(energy.joules, busy_s, rates)
    wear = busy_s * rates.hardware_per_second if rates.hardware_price is not None else None
    source = "tariff" if rates.tariff_is_set else ASSUMED_TARIFF
    return Cost(power + (wear or 0.0), rates.currency, source, power, wear)
