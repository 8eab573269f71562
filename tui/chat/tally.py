"""The bill of one conversation: its receipts added up, in whole microjoules and billionths of each currency."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from backends.events import ASSUMED_TARIFF
from tui.chat.session import Session
from tui.chat.storing.receipts import Receipt
from tui.chat.storing.stored import StoreError


class Tally(msgspec.Struct, frozen=True):
    """What a conversation took up to its last receipt.

    `money` is in 10⁻⁹ of each currency, `energy_uj` in microjoules, None if no receipt tells. Of `unpriced` receipts
    the money is unknown or too low, of `unmetered` the energy: the sums are the least that it can be. `estimated` and
    `assumed` say that a part is an estimate, or rests on what nobody has set.
    """

    receipts: int = 0
    money: dict[str, int] = {}
    energy_uj: int | None = None
    unpriced: int = 0
    unmetered: int = 0
    estimated: bool = False
    assumed: bool = False


def tally(receipts: Iterable[Receipt]) -> Tally:
    """Add up receipts."""
    found = list(receipts)
    money: dict[str, int] = {}
    for one in found:
        if one.money_nano is not None and one.currency is not None:
            money[one.currency] = money.get(one.currency, 0) + one.money_nano
    known = [one.energy_uj for one in found if one.energy_uj is not None]
    return Tally(
        len(found),
        money,
        sum(known) if known else None,
        sum(one.money_nano is None or _incomplete(one) for one in found),
        sum(one.energy_uj is None or _incomplete(one) for one in found),
        any(one.energy is not None and one.energy.source != "measured" for one in found),
        any(one.cost is not None and (one.cost.assumptions or one.cost.source == ASSUMED_TARIFF) for one in found),
    )


def _incomplete(one: Receipt) -> bool:
    return one.energy is not None and one.energy.incomplete


class ChatBill:
    """The bill of the conversation that a session shows: `tally`, None until it is read."""

    def __init__(self) -> None:
        self.tally: Tally | None = None
        self._conversation: str | None = None

    async def read(self, session: Session) -> None:
        """Add up the conversation's receipts anew. A store that is locked for the moment leaves what was known."""
        conversation = session.conversation.id if session.conversation is not None else None
        if conversation != self._conversation:
            self.tally, self._conversation = None, conversation
        if conversation is None:
            self.tally = Tally()
            return
        try:
            found = await asyncio.to_thread(session.store.receipts_of, conversation)
        except StoreError:
            return
        self.tally = tally(found)
