"""A branch as the model is to see it: from where it is sent, what stands for the rest, and no thoughts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backends.base import Message
from tui.chat.storing.stored import StoredMessage

SUMMARY = "Summary of the conversation so far:"


class History(msgspec.Struct, frozen=True):
    """What is sent of a branch.

    `ids[n]` are the stored messages that `messages[n]` is made of; the summary and the chat's system prompt have none.
    `unsent` are the stored messages before `start`, the message from which sending begins (None: from the first one).
    """

    messages: tuple[Message, ...]
    ids: tuple[tuple[str, ...], ...]
    unsent: tuple[str, ...] = ()
    start: str | None = None
    summary: str = ""


def history(branch: Sequence[StoredMessage], *, system: str = "", whole: bool = False) -> History:
    """Return a branch as it is sent: from its last mark on, and with `whole` as if it had none.

    `system` is told before all of it. A system message is always sent. Answers without text are left out, and
    neighbours of one role become one message, because chat templates want the roles to alternate.
    """
    marks = [] if whole else [place for place, stored in enumerate(branch) if stored.context_start is not None]
    place = marks[-1] if marks else 0
    summary = (branch[place].context_start or "") if marks else ""
    messages: list[Message] = []
    ids: list[list[str]] = []

    def add(message: Message, source: str | None) -> None:
        if messages and messages[-1].role == message.role:
            messages[-1] = Message(message.role, f"{messages[-1].text}\n\n{message.text}")
        else:
            messages.append(message)
            ids.append([])
        if source is not None:
            ids[-1].append(source)

    if system:
        add(Message("system", system), None)
    before = [stored for stored in branch[:place] if stored.role == "system"]
    for stored in before:
        add(Message("system", stored.text), stored.id)
    if summary:
        add(Message("system", f"{SUMMARY}\n\n{summary}"), None)
    for stored in branch[place:]:
        if stored.text:
            add(Message(stored.role, stored.text), stored.id)
    return History(
        tuple(messages),
        tuple(tuple(sources) for sources in ids),
        tuple(stored.id for stored in branch[:place] if stored.role != "system"),
        branch[place].id if marks else None,
        summary,
    )


def last_question(branch: Sequence[StoredMessage]) -> StoredMessage | None:
    """Return the user's last message, None if there is none."""
    return next((message for message in reversed(branch) if message.role == "user"), None)
