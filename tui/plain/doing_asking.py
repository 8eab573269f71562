"""What the commands do with what a chat asks of its model: its own system prompt and sampling."""

from __future__ import annotations

import msgspec

from tui.chat import asking
from tui.chat.asking import NUMBERS
from tui.plain.speaking import say
from tui.plain.talk import Talk
from tui.words import _

_NONE = "none"


def system(talk: Talk, rest: str) -> None:
    """Tell the chat's own system prompt, or set it; "none" takes it away. Raises Problem."""
    now = talk.session.wanted.asking
    if not rest:
        say(_("System prompt: {text}").format(text=now.system) if now.system else _("This chat has none of its own."))
        return
    text = asking.read_system("" if rest == _NONE else rest)
    talk.loop.call(talk.session.ask_so(msgspec.structs.replace(now, system=text)))
    say(_("It holds from the next question on."))


def sampling(talk: Talk, rest: str) -> None:
    """Tell what the chat says in place of its preset, or set one of it; "none" takes it away. Raises Problem."""
    now = talk.session.wanted.asking
    key, _blank, value = rest.replace("=", " ").partition(" ")
    if not key:
        for name in NUMBERS:
            own = getattr(now, name)
            say(f"{name}: " + (_("as the preset says") if own is None else f"{own:g}"))
        return
    if key not in NUMBERS:
        say(_("There is no {key}. There are: {names}").format(key=key, names=", ".join(NUMBERS)))
        return
    wanted = asking.read_number(key, "" if value.strip() == _NONE else value)
    talk.loop.call(talk.session.ask_so(msgspec.structs.replace(now, **{key: wanted})))
    say(_("It holds from the next question on."))
