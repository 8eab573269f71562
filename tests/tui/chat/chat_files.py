"""Chats of any shape, for tests of what is carried out and in."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET

from backends.errors import ErrorInfo
from backends.events import Cost, DeviceEnergy, Energy, Timings, Usage
from tui.chat.asking import Asking
from tui.chat.exporting.chat_file import FORMAT, VERSION, ChatFile, ChatRecord, MessageRecord, ReceiptRecord
from tui.chat.storing.stored import new_id

TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\x00\x1b\r\n\u2028\u202e`~<>#-_*{}:\"'\\"), max_size=40
)
AMOUNT = st.floats(0, 1e9, allow_nan=False) | st.sampled_from([0.1 + 0.2, 1e-7, 5e-324])
COUNT = st.none() | st.integers(0, 2**53)
MOMENT = st.floats(0, 4e9, allow_nan=False)
ENERGY = st.builds(
    Energy,
    AMOUNT,
    st.sampled_from(["measured", "estimated"]),
    st.none() | AMOUNT,
    st.lists(st.builds(DeviceEnergy, TEXT, TEXT, st.booleans(), AMOUNT), max_size=2).map(tuple),
    st.lists(TEXT, max_size=1).map(tuple),
    st.booleans(),
)
COST = st.builds(Cost, AMOUNT, st.sampled_from(["USD", "EUR"]), st.sampled_from(["preset", "assumed tariff"]))
USAGE = st.builds(Usage, COUNT, COUNT, COUNT, COUNT)
TIMINGS = st.builds(Timings, st.none() | AMOUNT, st.none() | AMOUNT, st.none() | AMOUNT, st.none() | AMOUNT)
ASKING = st.builds(
    Asking,
    TEXT,
    st.none() | st.floats(0, 10),
    st.none() | st.floats(0, 1),
    st.none() | st.integers(0, 2**32 - 1),
    st.none() | st.integers(1, 2**24),
    st.none() | st.integers(256, 2**24),
)


@st.composite
def messages(draw: Any) -> tuple[MessageRecord, ...]:
    """A tree: each message answers one before it, or none."""
    made: list[MessageRecord] = []
    for _ in range(draw(st.integers(0, 6))):
        parent = draw(st.none() | st.sampled_from([one.id for one in made])) if made else None
        made.append(
            MessageRecord(
                id=new_id(),
                role=draw(st.sampled_from(["system", "user", "assistant"])),
                created_at=draw(MOMENT),
                parent=parent,
                text=draw(TEXT),
                reasoning=draw(TEXT),
                state=draw(st.sampled_from(["done", "stopped", "interrupted", "failed"])),
                reason=draw(st.none() | TEXT),
                preset=draw(st.none() | TEXT),
                model=draw(st.none() | TEXT),
                finished_at=draw(st.none() | MOMENT),
                usage=draw(st.none() | USAGE),
                timings=draw(st.none() | TIMINGS),
                thought_s=draw(st.none() | AMOUNT),
                energy=draw(st.none() | ENERGY),
                cost=draw(st.none() | COST),
                error=draw(st.none() | st.builds(ErrorInfo, st.just("busy"), TEXT, TEXT, TEXT)),
                context_start=draw(st.none() | TEXT),
            )
        )
    return tuple(made)


@st.composite
def files(draw: Any) -> ChatFile:
    """A whole chat, with receipts."""
    said = draw(messages())
    ids = [one.id for one in said]
    chat = ChatRecord(
        id=new_id(),
        title=draw(TEXT),
        created_at=draw(MOMENT),
        updated_at=draw(MOMENT),
        preset=draw(st.none() | TEXT),
        head=draw(st.sampled_from(ids)) if ids else None,
        pinned_at=draw(st.none() | MOMENT),
        archived_at=draw(st.none() | MOMENT),
        renamed=draw(st.booleans()),
        asking=draw(st.sampled_from([UNSET, None]) | ASKING),
    )
    receipts = tuple(
        ReceiptRecord(
            id=new_id(),
            kind="answer",
            at=draw(MOMENT),
            message=draw(st.none() | st.sampled_from(ids)) if ids else None,
            model=draw(st.none() | TEXT),
            prompt_tokens=draw(COUNT),
            energy_uj=draw(COUNT),
            energy=draw(st.none() | ENERGY),
            money_nano=draw(COUNT),
            currency="USD",
            cost=draw(st.none() | COST),
            load_s=draw(st.none() | AMOUNT),
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    return ChatFile(FORMAT, VERSION, chat, said, receipts)
