"""Receipts: what each answer took in tokens, time, energy and money, kept apart from what was said.

Energy is whole microjoules and money whole billionths of its currency, so that any way to group receipts adds up to the
same total. They outlive their conversation: a bill stays right when a chat is deleted, and holds no word of it.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any, Literal

import msgspec

from backends.events import Cost, Energy, Timings, Usage
from tui.chat.answer import Answer
from tui.chat.storing.stored import Asked, figures, new_id

Kind = Literal["answer", "summary", "loading"]
MICRO, NANO = 1_000_000, 1_000_000_000
_MOST = 2**53


class Receipt(msgspec.Struct, frozen=True):
    """One receipt. None means unknown.

    `kind`: an answer, a summary that the model wrote for a chat, or a model that was loaded and never asked. `at` is
    when it ended, in Unix seconds. `conversation` is None once the chat is deleted. `energy_uj` are microjoules of the
    devices, `idle_uj` those that they would have drawn anyway; `money_nano` is in 10⁻⁹ `currency`.
    """

    id: str
    kind: Kind
    at: float
    conversation: str | None = None
    message: str | None = None
    preset: str | None = None
    backend: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    output_tokens: int | None = None
    load_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    energy_uj: int | None = None
    idle_uj: int | None = None
    energy: Energy | None = None
    money_nano: int | None = None
    currency: str | None = None
    cost: Cost | None = None

    @property
    def seconds(self) -> float:
        """How long the machine worked for it, as far as it is known."""
        return sum(part for part in (self.load_s, self.prefill_s, self.decode_s) if part is not None)

    @property
    def says_something(self) -> bool:
        """Whether there is any figure on it."""
        counted = (self.prompt_tokens, self.output_tokens, self.load_s, self.prefill_s, self.decode_s)
        return bool(self.energy_uj or self.money_nano or any(counted))


_COLUMNS = Receipt.__struct_fields__


def receipt(
    receipt_id: str,
    kind: Kind,
    at: float,
    usage: Usage | None,
    timings: Timings | None,
    energy: Energy | None,
    cost: Cost | None,
) -> Receipt:
    """Return a receipt that belongs to no chat yet."""
    usage, timings = usage or Usage(), timings or Timings()
    idle = energy.idle_joules if energy is not None else None
    return Receipt(
        receipt_id,
        kind,
        at,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        output_tokens=usage.output_tokens,
        load_s=timings.load_s,
        prefill_s=timings.prefill_s,
        decode_s=timings.decode_s,
        energy_uj=round(energy.joules * MICRO) if energy is not None else None,
        idle_uj=round(idle * MICRO) if idle is not None else None,
        energy=energy,
        money_nano=round(cost.amount * NANO) if cost is not None else None,
        currency=cost.currency if cost is not None else None,
        cost=cost,
    )


def of_summary(answer: Answer, asked: Asked, conversation: str | None) -> Receipt:
    """Return the receipt of a summary that a model wrote for a conversation."""
    one = receipt(new_id(), "summary", time.time(), answer.usage, answer.timings, answer.energy, answer.paid)
    return msgspec.structs.replace(
        one, conversation=conversation, preset=asked.preset, backend=asked.backend, model=asked.model
    )


def insert(db: sqlite3.Connection, one: Receipt) -> bool:
    """Write a receipt inside a transaction; say whether it is new. The same one again changes nothing."""
    values: dict[str, Any] = {name: getattr(one, name) for name in _COLUMNS}
    for name, value in values.items():
        # A server may claim any number. One that no column holds is none to bill, and must not cost us the answer.
        if isinstance(value, int) and abs(value) > _MOST:
            values[name] = None
    for name in ("energy", "cost"):
        if values[name] is not None:
            values[name] = msgspec.json.encode(values[name]).decode()
    marks = ", ".join("?" * len(_COLUMNS))
    found = db.execute(
        f"INSERT OR IGNORE INTO receipt ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - names of ours alone
        tuple(values.values()),
    )
    return found.rowcount > 0


def of_row(row: sqlite3.Row) -> Receipt:
    """Return the receipt that a row holds."""
    values = dict(row)
    for name in ("energy", "cost"):
        if values[name] is not None:
            values[name] = figures(name, values[name])
    return Receipt(**values)
