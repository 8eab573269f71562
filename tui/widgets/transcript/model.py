"""What the transcript shows: one value an entry, in the order of the conversation."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["user", "assistant", "notice"]
FootnoteKind = Literal["", "info", "warning", "error"]


class Entry(msgspec.Struct, frozen=True):
    """A message, or a notice between messages. Texts are raw: the transcript cleans them.

    `title` and `when` head it; `thought` sums up `reasoning` in one line; `live` means that more may come, `thinking`
    that what comes is still reasoning; `footnote` says how it ended, where that needs saying.
    """

    id: str
    role: Role
    title: str
    when: str = ""
    text: str = ""
    reasoning: str = ""
    thought: str = ""
    live: bool = False
    thinking: bool = False
    footnote: str = ""
    footnote_kind: FootnoteKind = ""
