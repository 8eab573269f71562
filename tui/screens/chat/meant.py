"""What a text is meant as when it is sent: a command, or a question with the files that it names.

What is not sent for a doubt is sent by the same key once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from backends.errors import Problem
from tui.chat import attaching, slash
from tui.chat.clean import clean_line
from tui.keys import filled
from tui.plans.live import apart
from tui.screens.chat.offering import Asked
from tui.screens.chat.slashes import Slashes
from tui.widgets.composer import Composer
from tui.words import _

DISK_S = 5.0
"""How long a file is waited for."""
Found = TypeVar("Found")


class Meant:
    """Reads what `composer` sends; commands are carried out by `slashes`."""

    def __init__(self, composer: Composer, slashes: Slashes, asked: Asked) -> None:
        self._composer = composer
        self._slashes = slashes
        self._asked = asked
        self._refused = ""
        self._insisted: set[str] = set()

    async def is_said(self, text: str) -> bool:
        """Say whether a text is to be asked. A command is carried out instead; what is in doubt is typed again."""
        if text == self._refused:
            self._insisted.add(text)
        self._refused = ""
        if text in self._insisted:
            return True
        read = slash.read(text)
        if isinstance(read, slash.Call):
            if not await self._slashes.run(read):
                self._composer.give_back(text)
            return False
        if isinstance(read, slash.Unknown):
            self._refuse(text, _unknown(read))
            return False
        try:
            await _within(lambda: attaching.look(text))
        except Problem as problem:
            self._refuse(text, problem.title)
            return False
        return True

    async def whole(self, text: str) -> str:
        """Return a text as it is sent, with the files that it names. Raises Problem."""
        if text in self._insisted:
            return text
        read = slash.read(text)
        said = read if isinstance(read, str) else text
        return await _within(lambda: attaching.expanded(said))

    def forget(self, text: str) -> None:
        """Have a text be read as if it had never been typed: it was sent."""
        self._insisted.discard(text)

    async def note(self, text: str) -> str:
        """Return what is to be said of the files that a text names, before it is sent; "" for nothing."""
        try:
            found = await _within(lambda: attaching.look(text))
        except Problem as problem:
            return clean_line(problem.title)
        return clean_line(_told_files(found)) if found else ""

    def _refuse(self, text: str, why: str) -> None:
        self._composer.give_back(text)
        self._refused = text
        # The text of the user's own is put in last: it may have braces.
        told = filled(_("Not sent: %s · {composer.send} again sends it as it is"))
        self._asked.say(told.replace("%s", clean_line(why), 1))


async def _within(work: Callable[[], Found]) -> Found:
    """Do something with files, for which a dead disk is not waited for long. Raises Problem."""
    try:
        async with asyncio.timeout(DISK_S):
            return await apart(work)
    except TimeoutError:
        raise Problem(_("The disk does not answer"), "", "") from None


def _unknown(read: slash.Unknown) -> str:
    if read.near:
        return _("no command /{name}, but /{near}").format(name=read.name, near=read.near[0])
    if read.name in slash.BY_NAME:
        return _("/{name} takes nothing after it").format(name=read.name)
    return _("no command /{name}").format(name=read.name)


def _told_files(found: Sequence[attaching.Attached]) -> str:
    size, tokens = sum(one.size for one in found), sum(one.tokens for one in found)
    return _("Goes along: {names} · {size} · ~{tokens} tokens").format(
        names=", ".join(one.name for one in found),
        size=f"{size / 1000:.1f} KB" if size >= 1000 else f"{size} B",
        tokens=f"{tokens:,}",
    )
