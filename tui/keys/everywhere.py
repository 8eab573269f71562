"""The keys of the chat screen, with whatever has focus in it.

Each exists on every terminal over SSH, and none is the prefix of tmux or screen; an Alt key has a second way.
"""

from __future__ import annotations

from tui.keys.key import Area, Hint, Key
from tui.words import N_

SLOTS = ("f2", "f3", "f4", "f5", "f6", "f7")
ANSWERS, CHATS, PRESETS, PROGRAM = N_("Answers"), N_("Chats"), N_("Presets"), N_("Program")


def _key(
    name: str, keys: str, action: str, what: str, label: str, group: str, *, first: bool = True, needed: bool = False
) -> Key:
    return Key(name, keys, action, what, label, group, first=first, needed=needed)


EVERYWHERE = Area(
    "everywhere",
    N_("In the chat"),
    (
        _key(
            "answer.stop", "escape", "stop", N_("Stop the answer or the loading"), N_("stop"), ANSWERS,
            needed=True,
        ),
        _key(
            "copy.selection", "ctrl+c", "copy_selection", N_("Copy what is selected; else stop"), N_("copy"), ANSWERS,
        ),
        _key("answer.now", "ctrl+y", "answer_now", N_("Answer now: close the thought"), N_("answer now"), ANSWERS),
        _key("answer.retry", "ctrl+r", "retry", N_("Answer the last question once more"), N_("retry"), ANSWERS),
        _key("answer.resume", "ctrl+e", "resume", N_("Go on with an answer that was cut off"), N_("go on"), ANSWERS),
        _key(
            "answer.thought", "ctrl+t", "toggle_thought", N_("Unfold or fold the last thought"), N_("thought"), ANSWERS,
        ),
        _key("chat.new", "ctrl+n", "new_chat", N_("Begin a new chat"), N_("new"), CHATS),
        _key("chat.find", "ctrl+f", "find", N_("Find what was said or thought, in all chats"), N_("find"), CHATS),
        _key("chat.asking", "f10", "asking", N_("This chat's own system prompt and sampling"), N_("asking"), CHATS),
        _key("chat.lists", "ctrl+l", "toggle_sidebar", N_("Show or hide presets and chats"), N_("lists"), CHATS),
        *(
            _key(
                f"preset.{slot}", f"{key},alt+{slot}", f"preset({slot})",
                N_("Answer with the preset on this key"), "", PRESETS,
            )
            for slot, key in enumerate(SLOTS, 1)
        ),
        _key("preset.backend", "ctrl+o", "next_backend", N_("Use the preset's next backend"), N_("backend"), PRESETS),
        _key("preset.free", "ctrl+x", "free", N_("Give the model's memory back"), N_("free"), PRESETS),
        _key(
            "program.palette", "ctrl+p", "app.command_palette", N_("Every command by name"), N_("commands"), PROGRAM,
        ),
        _key("program.plan", "f8", "plan", N_("The plan: what this machine can run, and why"), N_("plan"), PROGRAM),
        _key("program.figures", "f9", "figures", N_("Every figure explained"), N_("figures"), PROGRAM),
        _key("program.help", "f1", "help", N_("This help"), N_("help"), PROGRAM, needed=True),
        _key(
            "program.quit", "ctrl+q", "leave", N_("Leave: the answer goes on. Twice: end it too"), N_("quit"), PROGRAM,
            needed=True,
        ),
        _key(
            "move.next", "tab", "app.focus_next", N_("Go round: composer, presets, chats, messages"), N_("next"),
            PROGRAM, first=False, needed=True,
        ),
        _key(
            "move.previous", "shift+tab", "app.focus_previous", N_("Go round the other way"), N_("back"), PROGRAM,
            first=False,
        ),
    ),
    typing=True,
)  # fmt: skip

COMPOSER = Area(
    "composer",
    N_("In the composer"),
    (
        Key("composer.send", "enter", "", N_("Send what is typed"), N_("sends"), needed=True),
        Key("composer.newline", "ctrl+j", "", N_("Begin a new line"), N_("new line"), needed=True),
        Key("composer.older", "up", "", N_("In the first line: what was asked before"), N_("asked before")),
        Key("composer.newer", "down", "", N_("In the last line: what was asked after that"), N_("asked after")),
        Key(
            "composer.complete", "tab", "", N_("Complete a command or the name of a file"), N_("completes"),
            beside=("move.next",),
        ),
        Key("composer.editor", "ctrl+g", "edit_outside", N_("Write in your own editor"), N_("editor")),
        Key("composer.page_up", "pageup", "", N_("Scroll the messages by a page"), N_("page up")),
        Key("composer.page_down", "pagedown", "", N_("Scroll the messages on by a page"), N_("page down")),
        Key("composer.end", "end", "", N_("At the end of the text: to the end of the messages"), N_("to the end")),
    ),
    typing=True,
)  # fmt: skip

MESSAGES = Area(
    "messages",
    N_("In the messages"),
    (
        Key("messages.previous", "left_square_bracket,p", "step(-1)", N_("To the message before"), N_("before")),
        Key("messages.next", "right_square_bracket,n", "step(1)", N_("To the next message"), N_("next")),
        Key("messages.edit", "e", "work('edit')", N_("Edit the question: asked anew, beside the old one"), N_("edit")),
        Key("messages.retry", "r", "work('retry')", N_("Answer once more, with the preset chosen now"), N_("again")),
        Key("messages.before", "left", "work('before')", N_("Its version before, ‹2/3›"), N_("version before")),
        Key("messages.after", "right", "work('after')", N_("Its version after"), N_("version after")),
        Key("messages.delete", "d", "work('delete')", N_("Delete it and what is below it"), N_("delete")),
        Key("messages.undo", "u", "work('undo')", N_("Take back what was deleted"), N_("undo")),
        Key("messages.copy", "c", "work('copy_message')", N_("Copy the message"), N_("copy")),
        Key("messages.copy_code", "C", "work('copy_code')", N_("Copy its code, block by block"), N_("copy code")),
        Key("messages.copy_all", "Y", "work('copy_all')", N_("Copy the whole chat"), N_("copy all")),
        Key("messages.export", "x", "work('export')", N_("Export the chat as Markdown"), N_("export")),
        Key("messages.thought", "t", "toggle_thought", N_("Unfold or fold its thought"), N_("thought")),
        Key("messages.line_down", "j,down", "line(1)", N_("Scroll down"), N_("down")),
        Key("messages.line_up", "k,up", "line(-1)", N_("Scroll up"), N_("up")),
        Key("messages.page_down", "pagedown", "page(1)", N_("Scroll down by a page"), N_("page down")),
        Key("messages.page_up", "pageup", "page(-1)", N_("Scroll up by a page"), N_("page up")),
        Key("messages.home", "home", "go(0)", N_("To the beginning"), N_("beginning")),
        Key("messages.end", "end", "end", N_("To the end"), N_("end")),
    ),
    hints=(
        Hint(("messages.previous", "messages.next"), N_("message")),
        Hint(("messages.edit",), N_("edit")),
        Hint(("messages.retry",), N_("again")),
        Hint(("messages.before", "messages.after"), N_("versions")),
        Hint(("messages.delete", "messages.undo"), N_("delete, undo")),
        Hint(("messages.copy", "messages.copy_code", "messages.copy_all"), N_("copy, code, all")),
        Hint(("messages.export",), N_("export")),
        Hint(("messages.thought",), N_("thought")),
        Hint(("messages.line_down", "messages.line_up"), N_("scroll")),
    ),
)

CHAT_LIST = Area(
    "chats",
    N_("In the chats"),
    (
        Key("chats.open", "enter", "select", N_("Open; on the last line: show the archived ones"), N_("open")),
        Key("chats.rename", "e", "work('rename')", N_("Rename"), N_("rename")),
        Key("chats.pin", "p", "work('pin')", N_("Pin to the top, or no longer"), N_("pin")),
        Key("chats.archive", "a", "work('archive')", N_("Archive, or bring back"), N_("archive")),
        Key("chats.delete", "d", "work('delete')", N_("Delete"), N_("delete")),
        Key("chats.undo", "u", "work('undo')", N_("Take back what was deleted"), N_("undo")),
    ),
    hints=(
        Hint(("chats.open",), N_("open")),
        Hint(("chats.rename", "chats.pin", "chats.archive"), N_("rename, pin, archive")),
        Hint(("chats.delete", "chats.undo"), N_("delete, undo")),
    ),
)

PRESET_LIST = Area(
    "presets",
    N_("In the presets"),
    (
        Key("presets.choose", "enter", "select", N_("Answer with this one"), N_("choose")),
        Key("presets.edit", "e", "work('edit')", N_("Edit"), N_("edit")),
        Key("presets.copy", "d", "work('copy')", N_("Duplicate"), N_("duplicate")),
        Key("presets.delete", "x", "work('delete')", N_("Delete"), N_("delete")),
    ),
    hints=(
        Hint(("presets.choose",), N_("choose")),
        Hint(("presets.edit", "presets.copy", "presets.delete"), N_("edit, duplicate, delete")),
    ),
)

LISTS = Area(
    "lists",
    N_("In every list"),
    (
        Key("lists.up", "up", "cursor_up", N_("One up"), N_("up")),
        Key("lists.down", "down", "cursor_down", N_("One down"), N_("down")),
        Key("lists.page_up", "pageup", "page_up", N_("A page up"), N_("page up")),
        Key("lists.page_down", "pagedown", "page_down", N_("A page down"), N_("page down")),
        Key("lists.first", "home", "first", N_("To the first"), N_("first")),
        Key("lists.last", "end", "last", N_("To the last"), N_("last")),
    ),
)
