"""What the commands do with text: copied to the terminal's clipboard, or written in an editor outside."""

from __future__ import annotations

import os
import re
import subprocess

from backends.errors import Problem
from tui.chat import outside
from tui.line import clipboard
from tui.plain import prompt
from tui.plain.speaking import say
from tui.plain.talk import Talk
from tui.words import _

_BLOCK = re.compile(r"^ {0,3}(```+|~~~+)[^\n]*\n(.*?)^ {0,3}\1", re.MULTILINE | re.DOTALL)


def copy(talk: Talk, _rest: str) -> None:
    """Send the last answer to the clipboard. Raises Problem."""
    last = talk.following.last()
    _copy(_("The message"), (last.text or last.reasoning) if last is not None else "")


def code(talk: Talk, rest: str) -> None:
    """Send a block of the last answer's code to the clipboard: the last one, or by its number. Raises Problem."""
    last = talk.following.last()
    blocks = [found[2] for found in _BLOCK.finditer(last.text)] if last is not None else []
    if not blocks:
        say(_("There is no code in this message"))
        return
    number = prompt.number(rest or str(len(blocks)), len(blocks))
    if number is None:
        say(_("There is no such block. This message has {many} of code.").format(many=len(blocks)))
        return
    _copy(_("Code, block {number} of {many}").format(number=number, many=len(blocks)), blocks[number - 1])


def copy_all(talk: Talk, _rest: str) -> None:
    """Send the chat to the clipboard as Markdown. Raises Problem."""
    from tui.chat.exporting import export, markdown  # Not before somebody copies.

    chat = talk.session.conversation
    whole = export.branch(export.gather(talk.store, chat.id)) if chat is not None else None
    _copy(_("The chat"), markdown.conversation(whole, thoughts=False) if whole is not None else "")


def editor(talk: Talk, rest: str) -> None:
    """Let the next question be written in an editor; it stands at the prompt then. Raises Problem."""
    command = outside.editor(talk.settings.editor, os.environ)
    chat = talk.session.conversation
    lent = outside.lend(chat.id if chat is not None else None, rest)
    kept = False
    try:
        ended = talk.keyboard.lend(lambda: subprocess.run([*command, str(lent.path)], check=False).returncode)
        kept = True
        back = outside.back(rest, outside.take(lent), ended)
        kept = False
    except OSError as error:
        raise Problem(_("The editor cannot be started"), error.strerror or str(error)) from error
    finally:
        outside.close(lent, kept=kept)
    talk.prefilled = back.text
    if back.said:
        say(back.said)


def _copy(what: str, text: str) -> None:
    if text.strip():
        say(f"{what}: {clipboard.deliver(text)}")
    else:
        say(_("There is nothing to copy"))
