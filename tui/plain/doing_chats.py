"""What the commands do with the chats of a plain conversation."""

from __future__ import annotations

import asyncio
from functools import partial

from backends.shown import shown_path
from tui.chat.clean import clean_line
from tui.chat.exporting.plain_text import when, who
from tui.chat.storing import paging, shelf
from tui.plain import prompt, told
from tui.plain.speaking import say
from tui.plain.talk import Talk
from tui.words import _, ngettext

_LISTED = 10
_FOUND = 10
_LOOKED_AT = 500
"""So many chats, the last ones, a title is looked for in."""


def new(talk: Talk, _rest: str) -> None:
    """Begin a new chat."""
    talk.loop.call(talk.session.new())
    say(_("A new chat."))
    talk.take_draft()


def chats(talk: Talk, rest: str) -> None:
    """List the last chats, with the numbers that open them. Raises StoreError."""
    listed = talk.store.conversations(prompt.number(rest, _LOOKED_AT) or _LISTED)
    if not listed:
        say(_("There are no chats yet."))
    for number, chat in enumerate(listed, 1):
        say(f"{number}. {clean_line(chat.title)} ({when(chat.updated_at)})")
    talk.found = [chat.id for chat in listed]


def open_chat(talk: Talk, rest: str) -> None:
    """Open a chat by its number in the list, words of its title, its id or "last". Raises StoreError."""
    if not rest:
        chats(talk, rest)
        return
    listed = prompt.number(rest, len(talk.found))
    wanted = rest if listed is None else talk.found[listed - 1]
    words = rest.lower().split()
    titled = [chat for chat in talk.store.conversations(_LOOKED_AT) if all(w in chat.title.lower() for w in words)]
    chat = titled[0] if titled and wanted == rest else paging.named(talk.store, wanted)
    talk.loop.call(talk.session.open(chat.id))
    count = len(talk.session.branch)
    text = ngettext(
        "{title}, {count} message. /read reads it out.", "{title}, {count} messages. /read reads it out.", count
    )
    say(text.format(title=clean_line(chat.title), count=count))
    talk.take_draft()
    if talk.session.busy:
        talk.follow()


def read(talk: Talk, _rest: str) -> None:
    """Read the chat out, without its thoughts."""
    if not talk.session.branch:
        say(_("Nothing was said in this chat yet."))
    for message in talk.session.branch:
        head = _("You") if message.role == "user" else who(message)
        say(f"{head}, {when(message.created_at)}:")
        if message.reasoning:
            say(told.thought(message.thought_s, message.usage.reasoning_tokens if message.usage else None) + ".")
        if message.text:
            say(message.text.strip("\n"))
        if message.error is not None:
            for line in told.failure(message.error):
                say(line)


def find(talk: Talk, rest: str) -> None:
    """Find words in everything that was said; /chat then opens by number. Raises StoreError."""
    from tui.chat.searching import search  # Not before somebody searches.

    if not rest:
        say(_("Which words? For example: /find blue sky"))
        return
    hits = search.search(talk.store, rest, _FOUND)
    if not hits:
        say(_("Nothing was found."))
    for number, hit in enumerate(hits, 1):
        say(f"{number}. {clean_line(hit.title)} ({when(hit.at)}): {clean_line(hit.snippet)}")
    if hits:
        talk.found = [hit.conversation for hit in hits]
        say(_("/chat with a number opens it."))


def export(talk: Talk, _rest: str) -> None:
    """Write the chat into a Markdown file. Raises Problem."""
    from tui.chat.exporting import export_here  # Not before somebody exports.

    if talk.session.conversation is None:
        say(_("Nothing was said in this chat yet."))
        return
    chat, places = talk.session.conversation.id, tuple(export_here.folders())
    path = talk.loop.call(asyncio.to_thread(partial(export_here.export_here, talk.store, chat, places)))
    say(_("This chat is in {path}").format(path=shown_path(path)))


def rename(talk: Talk, rest: str) -> None:
    """Give the chat another title. Raises StoreError."""
    chat = talk.session.conversation
    if chat is None or not rest:
        say(_("Nothing was said in this chat yet.") if chat is None else _("Which title? For example: /rename The sky"))
        return
    shelf.rename(talk.store, chat.id, rest)
    talk.loop.call(talk.session.reread())
    say(_("The title is {title}").format(title=clean_line(rest)))


def delete(talk: Talk, _rest: str) -> None:
    """Throw the chat away; it can be had back for some days. Raises StoreError."""
    chat = talk.session.conversation
    if chat is None:
        say(_("Nothing was said in this chat yet."))
    elif prompt.sure(_("Delete the chat “{title}”?").format(title=clean_line(chat.title))):
        shelf.throw_away(talk.store, chat.id)
        talk.loop.call(talk.session.new())
        back = f"deepseek-tui chats restore {chat.id[:8]}"
        say(_("It is deleted. `{command}` brings it back.").format(command=back))
