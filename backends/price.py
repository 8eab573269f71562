"""What an answer costs where its server is paid for: the price that its owner publishes, times the tokens counted."""

from __future__ import annotations

from typing import Annotated

import msgspec

from backends.events import Cost, Usage

PER = 1_000_000
_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of a million tokens, in `currency` (an ISO 4217 code). Input that was cached may be cheaper."""

    input_per_million: _Amount
    output_per_million: _Amount
    cached_input_per_million: _Amount | None = None
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")] = "USD"


def cost(usage: Usage, price: Price) -> Cost | None:
    """Return what an answer costs, None where the server has not counted its tokens.

    Where it did not say what was cached, all input is taken at the full price: the most that it can cost.
    """
    if usage.prompt_tokens is None or usage.output_tokens is None:
        return None
    cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
    cheaper = price.input_per_million if price.cached_input_per_million is None else price.cached_input_per_million
    full = (usage.prompt_tokens - cached) * price.input_per_million
    amount = (full + cached * cheaper + usage.output_tokens * price.output_per_million) / PER
    return Cost(amount, price.currency, "preset")
