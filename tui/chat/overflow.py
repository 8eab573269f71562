"""A conversation that no longer fits into the context: how much is too much, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backends.base import Loaded, Message, Partial
from backends.fitting import Fit, fits
from backends.host.client import HostClient
from tui.chat.history import History, history
from tui.chat.storing.stored import StoredMessage

STEP = 256


class Overflow(msgspec.Struct, frozen=True):
    """What is too much for the context of the model that was asked, and the ways to go on.

    `answer` is the row that got no further. `fit` counts what would have been sent, the answer so far included;
    `whole_tokens` counts the conversation with nothing left out. From the message `start` on it can be sent, and
    `unsent` are those that are left out then (None and none: even the last question is too long). `summary` goes on
    standing for what was left out before. `larger` is the context to load the model with instead, None if it has none;
    `trained` is the one it was made for. `told` says that a system prompt of the chat's own is counted too.
    """

    answer: str
    fit: Fit
    whole_tokens: int
    unsent: tuple[str, ...] = ()
    start: str | None = None
    summary: str = ""
    larger: int | None = None
    trained: int | None = None
    told: bool = False

    @property
    def fits_whole(self) -> bool:
        """Whether the larger context takes the whole conversation, with what was left out before."""
        return self.larger is not None and fits(self.whole_tokens, self.larger)


class Room(msgspec.Struct, frozen=True):
    """How large a loaded model's context is, and the next larger one that it can be loaded with, if any."""

    context: int
    larger: int | None


def room(loaded: Loaded, *, can_grow: bool) -> Room | None:
    """Return what there is for an answer that has filled the context of a loaded model; None where that is unknown."""
    if loaded.context is None:
        return None
    larger = larger_context(loaded.context, loaded.context, loaded.trained_context) if can_grow else None
    return Room(loaded.context, larger)


def larger_context(tokens: int, context: int, trained: int | None) -> int | None:
    """Return the next larger context that takes a prompt of so many tokens and an answer, None if there is none.

    Doubled until it does, in steps of 256 tokens, and never beyond what the model was trained for.
    """
    larger = context
    while larger <= context or not fits(tokens, larger):
        if trained is not None and larger >= trained:
            return None
        larger = -(-larger * 2 // STEP) * STEP
        if trained is not None:
            larger = min(larger, trained)
    return larger


async def measure(
    client: HostClient, answer: StoredMessage, before: Sequence[StoredMessage], *, can_grow: bool, system: str = ""
) -> Overflow | None:
    """Count with the engine what an answer was to go on from: the branch `before` it, and what it has said so far.

    `system` is told to the model before the branch, and counted with it. Returns None where that fits and leaves room.
    Waits until the engine is free; raises Problem.
    """
    sent = history(before, system=system)
    summary = sent.summary
    fit = await client.fit(_with(sent, answer.partial))
    first = fit.first
    if first == 0:
        return None
    if first is None and summary:
        # Without the old summary the last question may fit.
        sent, summary = history(_without_summary(before, sent), system=system), ""
        first = (await client.fit(_with(sent, answer.partial))).first
    whole_tokens = fit.tokens
    if sent.start is not None:
        whole = history(before, system=system, whole=True)
        whole_tokens = (await client.fit(_with(whole, answer.partial))).tokens
    if answer.partial is not None:
        # The thought of an unfinished answer is counted as text: a template may add a little to it.
        fit = msgspec.structs.replace(fit, exact=False)
    told = {stored.id for stored in before if stored.role == "system"}
    said = [[source for source in sources if source not in told] for sources in sent.ids]
    loaded = client.status.loaded
    trained = loaded.trained_context if loaded is not None else None
    return Overflow(
        answer.id,
        fit,
        whole_tokens,
        tuple(source for sources in said[: first or 0] for source in sources),
        None if first is None else next(sources[0] for sources in said[first:] if sources),
        summary,
        larger_context(fit.tokens, fit.context, trained) if can_grow else None,
        trained,
        bool(system),
    )


def _with(sent: History, partial: Partial | None) -> tuple[Message, ...]:
    """Return what is sent, and the answer that goes on as the text that it is to the context."""
    if partial is None:
        return sent.messages
    return (*sent.messages, Message("assistant", f"{partial.reasoning}{partial.text}"))


def _without_summary(branch: Sequence[StoredMessage], sent: History) -> list[StoredMessage]:
    return [
        msgspec.structs.replace(stored, context_start="") if stored.id == sent.start else stored for stored in branch
    ]
