"""A chat on its way in: what every way to read one hands on, and why one cannot be read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from backends.errors import Problem
from backends.events import Timings, Usage
from backends.reasoning import CLOSE, OPEN, strip_thought
from tui.chat.exporting.chat_file import FIRST, FORMAT, ChatFile, ChatRecord, MessageRecord
from tui.chat.storing.stored import title_from

Role = Literal["system", "user", "assistant"]
_NEWLINES = "\r\n"
_ID_DIGITS = 24


class CannotImport(Problem):
    """A file, or one chat in it, cannot be read. `detail` names the file and the place in it."""


class Said(msgspec.Struct, frozen=True):
    """One message from another program. Figures are those that the program told."""

    role: Role
    text: str
    reasoning: str = ""
    usage: Usage | None = None
    timings: Timings | None = None


class Incoming(msgspec.Struct, frozen=True):
    """One chat of a file. `place` says where in the file it stands, `left_out` what of it cannot be taken in.

    `own` says that its ids were made by this program, and mean the same messages wherever they are.
    """

    file: ChatFile
    place: str
    own: bool
    left_out: tuple[str, ...] = ()


def taken_apart(text: str) -> tuple[str, str]:
    """Return the thought and the answer of a text that may carry both."""
    visible = strip_thought(text)
    if visible == text:
        return "", text
    thought = text[: len(text) - len(visible)].strip()
    return thought.removeprefix(OPEN).removesuffix(CLOSE).strip(_NEWLINES), visible


def from_said(said: Sequence[Said], *, title: str = "", model: str | None = None) -> ChatFile:
    """Return messages of another program, one after the other, as a chat of ours.

    Its ids follow from what was said: the same chat again is known as such. Its times are now.
    """
    now = time.time()
    digest = hashlib.sha256(msgspec.json.encode((title, model, said)))
    messages: list[MessageRecord] = []
    for number, one in enumerate(said):
        numbered = digest.copy()
        numbered.update(f"\n{number}".encode())
        messages.append(
            MessageRecord(
                id=numbered.hexdigest()[:_ID_DIGITS],
                role=one.role,
                created_at=now,
                parent=messages[-1].id if messages else None,
                text=one.text,
                reasoning=one.reasoning,
                model=model if one.role == "assistant" else None,
                usage=one.usage,
                timings=one.timings,
            )
        )
    first = next((one.text for one in said if one.role == "user"), said[0].text if said else "")
    chat = ChatRecord(
        id=digest.hexdigest()[:_ID_DIGITS],
        title=title_from(title or first),
        created_at=now,
        updated_at=now,
        head=messages[-1].id if messages else None,
        renamed=bool(title),
    )
    return ChatFile(FORMAT, FIRST, chat, tuple(messages))
