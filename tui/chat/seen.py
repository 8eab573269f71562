"""Everything that the figures on the screen are made of, at one moment, and which of several sources each is from."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from backends import price
from backends.base import Loaded
from backends.events import ASSUMED_TARIFF, Cost, Energy, Timings
from backends.hardware.gpu import Gpu
from backends.host.wire import Status
from tui.chat.answer import Answer
from tui.chat.asking import NOTHING, Asking
from tui.chat.bill import Rates, own_cost
from tui.chat.machine import Machine
from tui.chat.session import Session
from tui.chat.storing.stored import StoredMessage
from tui.chat.tally import Tally
from tui.chat.target import Target

Figure = Literal[
    "model", "vram", "ours", "speed", "context", "cost", "energy", "chat", "saved", "ram", "ssd", "faults", "written",
]  # fmt: skip
FIGURES: tuple[Figure, ...] = get_args(Figure)
How = Literal["driver", "engine", "difference", "unknown"]
"""How it is known which of the cards' memory is ours: the driver counts processes, a server counts its model, or the
difference to what was in use before the model was loaded."""


class Ours(msgspec.Struct, frozen=True):
    """Bytes of the cards that the model takes; None where nobody tells."""

    used_bytes: int | None
    how: How


class Seen(msgspec.Struct, frozen=True):
    """One session at one moment.

    `last` is the last answer of its branch, finished or not, `chat` the bill of the whole conversation. `in_messages`
    says that the messages have the focus: then the chat's bill is asked for, not the answer's. `asking` is what the
    chat asks for, `usual` who would answer it otherwise.
    """

    target: Target | None = None
    status: Status | None = None
    answer: Answer | None = None
    last: StoredMessage | None = None
    machine: Machine = Machine()
    rates: Rates = Rates()
    chat: Tally | None = None
    unsaved: str = ""
    empty: bool = True
    in_messages: bool = False
    asking: Asking = NOTHING
    usual: Target | None = None

    @property
    def loaded(self) -> Loaded | None:
        return self.status.loaded if self.status is not None and self.status.phase not in {"ending", "failed"} else None

    @property
    def cards(self) -> tuple[Gpu, ...]:
        return self.machine.reading.gpus if self.machine.reading is not None else ()

    @property
    def ours(self) -> Ours:
        """What of the cards' memory is the model's, from the best source that there is."""
        if self.status is None:
            return Ours(None, "unknown")  # Another screen's model may be there.
        loaded = self.loaded
        counted = Ours(loaded.vram_bytes, "engine") if loaded is not None and loaded.vram_bytes is not None else None
        if counted is not None and loaded is not None and loaded.place == "machine":
            return counted  # The driver tells of our process, and it is another that holds the model.
        told = [card.ours_bytes for card in self.cards]
        known = [one for one in told if one is not None]
        if told and len(known) == len(told):
            return Ours(sum(known), "driver")
        if counted is not None:
            return counted
        before = self.machine.before_bytes
        if self.cards and before is not None and self.machine.used_bytes is not None:
            more = self.machine.used_bytes - before
            if more >= 0:
                return Ours(more, "difference")
        return Ours(None, "unknown")

    @property
    def speed(self) -> float | None:
        """Tokens a second: over the last seconds while an answer grows, then the engine's own figure."""
        if self.answer is None:
            return self.last.timings.tokens_per_second if self.last is not None and self.last.timings else None
        if self.answer.done is not None:
            return self.answer.done.timings.tokens_per_second
        return self.answer.tokens_per_second

    @property
    def tokens(self) -> int | None:
        """How much of the context is full."""
        if self.answer is not None:
            return self.answer.context_tokens
        return self.last.usage.context_tokens if self.last is not None and self.last.usage is not None else None

    @property
    def live(self) -> bool:
        """Whether the answer is still growing."""
        return self.answer is not None and not self.answer.finished

    @property
    def was_stopped(self) -> bool:
        """Whether the user ended the answer, and the engine had no last word on it."""
        if self.answer is not None:
            return self.answer.done is not None and self.answer.done.reason == "stopped"
        return self.last is not None and self.last.reason == "stopped"

    @property
    def timings(self) -> Timings | None:
        """The seconds of the answer, up to now."""
        if self.answer is not None:
            return self.answer.timings
        return self.last.timings if self.last is not None else None

    @property
    def energy(self) -> Energy | None:
        """The energy of the answer, up to now."""
        if self.answer is not None:
            return self.answer.energy
        return self.last.energy if self.last is not None else None

    @property
    def cost(self) -> Cost | None:
        """The money of the answer, up to now: what its server asks, or what its energy costs."""
        if self.answer is None:
            return self.last.cost if self.last is not None else None
        return self.answer.paid or self._asked_so_far or own_cost(self.energy, self.timings, self.rates)

    @property
    def energy_is_estimate(self) -> bool:
        return self.energy is not None and self.energy.source != "measured"

    @property
    def energy_is_incomplete(self) -> bool:
        """Whether a part of the energy is missing: it was more."""
        return self.energy is not None and self.energy.incomplete

    @property
    def cost_is_estimate(self) -> bool:
        """Whether the money is an estimate, rests on an assumption, or is of tokens that only we have counted."""
        cost = self.cost
        if cost is None:
            return False
        if cost.source == "preset":
            return self.live
        return bool(cost.assumptions) or cost.source == ASSUMED_TARIFF or self.energy_is_estimate

    @property
    def preset(self) -> str:
        """The name of the preset that gives or gave the answer, else of the one that is to give the next."""
        if self.last is not None and self.last.preset:
            return self.last.preset
        return self.target.preset if self.target is not None else ""

    @property
    def _asked_so_far(self) -> Cost | None:
        """What a server asks for the tokens up to now, by the price in the preset."""
        # Another preset may have been chosen, or another screen have asked.
        target = self.target if self.target is not None and self.target.preset == self.preset else None
        terms: Any = target.spec.options.get("price") if target is not None else None
        if not self.live or self.answer is None or self.answer.usage is None or terms is None:
            return None
        try:
            return price.cost(self.answer.usage, msgspec.convert(terms, price.Price))
        except msgspec.ValidationError:
            return None


def see(session: Session, machine: Machine, chat: Tally | None = None, *, in_messages: bool = False) -> Seen:
    """Return what is to be seen of a session now."""
    # While an answer runs, the figures are those of the model that gives it, whichever was chosen for the next one.
    target = session.loaded_target or session.target if session.answer is not None else session.target
    return Seen(
        target,
        session.status,
        session.answer,
        session.branch[-1] if session.branch and session.branch[-1].role == "assistant" else None,
        machine,
        session.store.rates,
        chat,
        session.unsaved,
        not session.branch,
        in_messages,
        session.wanted.asking,
        session.wanted.chosen,
    )
