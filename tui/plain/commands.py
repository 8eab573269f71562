"""The `/` commands of the plain conversation, in one table: the help and the completion are made from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from tui.chat import attaching, slash
from tui.plain import doing, doing_asking, doing_chats, doing_text
from tui.plain.speaking import say
from tui.plain.talk import Talk
from tui.words import N_, _

Act = Callable[[Talk, str], None]


class Command(msgspec.Struct, frozen=True):
    """One command: what stands behind its name, what it does for a person, and what does it."""

    name: str
    takes: str
    help: str
    act: Act


COMMANDS = (
    Command("new", "", N_("begin a new chat"), doing_chats.new),
    Command("chats", N_("[HOW MANY]"), N_("list the last chats, with numbers"), doing_chats.chats),
    Command(
        "chat", N_("NUMBER or WORDS"), N_("open a chat of the list, or by words of its title"), doing_chats.open_chat
    ),
    Command("read", "", N_("read this chat out"), doing_chats.read),
    Command("find", N_("WORDS"), N_("find what was said or thought, in all chats"), doing_chats.find),
    Command("rename", N_("TITLE"), N_("give this chat another title"), doing_chats.rename),
    Command("delete-chat", "", N_("delete this chat"), doing_chats.delete),
    Command("copy", "", N_("send the last answer to the terminal's clipboard"), doing_text.copy),
    Command("code", N_("[NUMBER]"), N_("send a block of its code there"), doing_text.code),
    Command("copy-all", "", N_("send the whole chat there"), doing_text.copy_all),
    Command("export", "", N_("write this chat into a Markdown file"), doing_chats.export),
    Command("retry", "", N_("answer the last question once more"), doing.retry),
    Command("resume", "", N_("go on with an answer that was cut off"), doing.resume),
    Command("edit", "", N_("ask the last question in other words"), doing.edit),
    Command("thought", "", N_("read the last thought out"), doing.thought),
    Command("before", "", N_("go to the version before of the last answer"), doing.before),
    Command("after", "", N_("go to the version after it"), doing.after),
    Command("editor", "", N_("write the question in your own editor"), doing_text.editor),
    Command("system", N_("[TEXT or none]"), N_("tell or set this chat's own system prompt"), doing_asking.system),
    Command(
        "sampling",
        N_("[NAME VALUE]"),
        N_("tell or set temperature, top_p and others of this chat"),
        doing_asking.sampling,
    ),
    Command("presets", "", N_("list what can answer"), doing.presets),
    Command("preset", N_("NAME or KEY"), N_("answer with another preset, say /preset 2"), doing.preset),
    Command("backend", "", N_("use the preset's next backend"), doing.backend),
    Command("free", "", N_("give the model's memory back"), doing.free),
    Command("plan", N_("[PRESET]"), N_("tell what fits this machine, and why"), doing.plan),
    Command("usage", "", N_("tell tokens, energy and money of this month"), doing.usage),
    Command("quit", "", N_("leave; so does Ctrl+D, also while an answer runs, which goes on"), doing.leave),
)

_KEYS = (
    N_('Enter sends. A line that ends with \\ goes on in the next one, and so does all between two lines of """.'),
    N_("While an answer comes, Ctrl+C stops it, Ctrl+Y closes a thought, Ctrl+D leaves and lets it go on."),
    N_("What else is typed meanwhile stands at the next prompt. A first / that is no command is written //."),
    N_("@ before the name of a file sends its text along."),
)


def do(talk: Talk, text: str) -> str | None:
    """Do what a line says if it is a command, and return None; else return what is to be asked. Raises Problem."""
    read = slash.named(text, _BY_NAME)
    if isinstance(read, slash.Unknown):
        hint = _("Did you mean /{name}?").format(name=read.near[0]) if read.near else _("/help tells the commands.")
        say(_("There is no command /{name}, and nothing was sent. {hint}").format(name=read.name, hint=hint))
    elif isinstance(read, slash.Named):
        _BY_NAME[read.name](talk, read.rest)
    else:
        return read
    return None


def complete(talk: Talk, line: str) -> Sequence[str]:
    """Return what a line that is begun can become."""
    token = attaching.begun(line)
    if token is not None:
        return [line[: len(line) - len(token)] + offer for offer in attaching.offers(token)]
    if not line.startswith("/"):
        return ()
    if line.startswith("/preset "):
        return [f"/preset {entry.name}" for entry in talk.catalog.entries if entry.name.startswith(line[8:])]
    names = [f"/{command.name}" + (" " if command.takes else "") for command in COMMANDS]
    return [name for name in ("/help", *names) if name.startswith(line)]


def _help(_talk: Talk, _rest: str) -> None:
    for command in COMMANDS:
        takes = f" {_(command.takes)}" if command.takes else ""
        say(f"/{command.name}{takes}: {_(command.help)}")
    for line in _KEYS:
        say(_(line))


_BY_NAME: dict[str, Act] = {"help": _help} | {command.name: command.act for command in COMMANDS}
