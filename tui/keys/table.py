"""Every key of the screen in one table: the bindings, the key line and the help are made from it.

Each key exists on every terminal over SSH, and none is the prefix of tmux or screen; an Alt key has a second way.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from textual.binding import Binding

Group = Literal["Answers", "Chats", "Presets", "Messages", "Program"]


Place = Literal["messages", "chats", "presets"]


class Key(msgspec.Struct, frozen=True):
    """One thing a key does. `keys` are Textual's names, comma-separated; `shown` is how the key line writes it."""

    id: str
    keys: str
    action: str
    help: str
    group: Group
    shown: str = ""
    label: str = ""


class AreaKey(msgspec.Struct, frozen=True):
    """What keys do in one place; `shown` and `label` are how the key line says it."""

    keys: str
    help: str
    shown: str
    label: str


class Area(msgspec.Struct, frozen=True):
    """A place on the screen that has keys of its own."""

    title: str
    keys: tuple[AreaKey, ...]


SLOT_KEYS = ("f2", "f3", "f4", "f5", "f6", "f7")


def slot_key(slot: int | None) -> str:
    """Return the key of a preset's slot as it is written, "" where it has none."""
    return f"F{slot + 1}" if slot else ""


KEYS = (
    Key("answer.stop", "escape", "stop", "Stop the answer or the loading", "Answers", "Esc", "stop"),
    Key("copy.selection", "ctrl+c", "copy_selection", "Copy what is selected; else stop, as Esc", "Answers"),
    Key("answer.now", "ctrl+y", "answer_now", "Answer now: close the thought", "Answers"),
    Key("answer.retry", "ctrl+r", "retry", "Answer the last question once more", "Answers", "^r", "retry"),
    Key("answer.resume", "ctrl+e", "resume", "Go on with an answer that was cut off", "Answers"),
    Key("answer.thought", "ctrl+t", "toggle_thought", "Unfold or fold the last thought", "Answers", "^t", "thought"),
    Key("chat.new", "ctrl+n", "new_chat", "Begin a new chat", "Chats", "^n", "new"),
    Key("chat.find", "ctrl+f", "find", "Find what was said or thought, in all chats", "Chats", "^f", "find"),
    Key("chat.asking", "f10", "asking", "This chat's own system prompt and sampling", "Chats"),
    Key("composer.editor", "ctrl+g", "edit_outside", "Write the question in your editor", "Chats"),
    Key("sidebar", "ctrl+l", "toggle_sidebar", "Show or hide presets and chats", "Chats", "^l", "lists"),
    *(
        Key(f"preset.{slot}", f"{key},alt+{slot}", f"preset({slot})", f"Answer with preset {slot}", "Presets")
        for slot, key in enumerate(SLOT_KEYS, 1)
    ),
    Key("preset.backend", "ctrl+o", "next_backend", "Use the preset's next backend", "Presets", "^o", "backend"),
    Key("preset.free", "ctrl+x", "free", "Give the model's memory back", "Presets"),
    Key("program.palette", "ctrl+p", "app.command_palette", "Every command by name", "Program", "^p", "commands"),
    Key("program.plan", "f8", "plan", "The plan: what this machine can run, and why", "Program", "F8", "plan"),
    Key("program.figures", "f9", "figures", "Every figure explained", "Program", "F9", "figures"),
    Key("program.help", "f1", "help", "This help", "Program", "F1", "help"),
    Key("program.quit", "ctrl+q", "leave", "Leave: the answer goes on. Twice: end it too", "Program", "^q", "quit"),
)

# The key line begins with these.
_FIRST = ("program.help", "program.quit", "program.plan", "program.figures")
# Where the window is narrow the key line leaves these out, in this order.
_LEFT_OUT_FIRST = (
    "program.palette", "answer.thought", "preset.backend", "answer.retry", "answer.stop", "chat.find",
    "program.figures", "program.plan", "chat.new", "sidebar",
)  # fmt: skip

MESSAGE_KEYS = (
    ("Tab", "Go round: composer, presets, chats, messages"),
    ("PgUp PgDn End", "Scroll the messages; to their end"),
    ("Enter", "Send, in the composer"),
    ("Ctrl+J  ↑", "New line; in an empty composer the last question"),
)
"""What has no key of its own in the table: where one goes, and what is typed."""

AREAS: dict[Place, Area] = {
    "messages": Area(
        "In the messages",
        (
            AreaKey("[ ] or p n", "To the message before, to the next one", "[ ]", "message"),
            AreaKey("e", "Edit the question: asked anew, beside the old one", "e", "edit"),
            AreaKey("r", "Answer once more, with the preset chosen now", "r", "again"),
            AreaKey("← →", "Its other versions, ‹2/3›", "← →", "versions"),
            AreaKey("d  u", "Delete it and what is below it; take that back", "d u", "delete, undo"),
            AreaKey("c C Y", "Copy the message, its code block by block, the whole chat", "c C Y", "copy, code, all"),
            AreaKey("x", "Export the chat as Markdown", "x", "export"),
            AreaKey("t", "Unfold or fold its thought", "t", "thought"),
            AreaKey("↑ ↓ j k Home", "Scroll by lines; to the beginning", "j k", "scroll"),
        ),
    ),
    "chats": Area(
        "In the chats",
        (
            AreaKey("Enter", "Open", "Enter", "open"),
            AreaKey("e p a", "Rename, pin, archive; the archived ones are at the end", "e p a", "rename, pin, archive"),
            AreaKey("d  u", "Delete; take that back", "d u", "delete, undo"),
        ),
    ),
    "presets": Area(
        "In the presets",
        (
            AreaKey("Enter", "Choose", "Enter", "choose"),
            AreaKey("e d x", "Edit, duplicate or delete", "e d x", "edit, duplicate, delete"),
        ),
    ),
}
"""The keys of one place on the screen each, as the help and, while one is there, the key line show them."""


def bindings() -> list[Binding]:
    """Return the screen's bindings."""
    return [
        Binding(key.keys, key.action, key.label or key.help, id=key.id, tooltip=key.help, show=False, priority=True)
        for key in KEYS
    ]


def key_line(width: int, place: Place | None = None) -> str:
    """Return the line at the bottom: the keys of a place, or those a newcomer needs, as many as fit into `width`."""
    if place is not None:
        return _area_line(AREAS[place], width)
    left_out: set[str] = set()
    for least in (*_LEFT_OUT_FIRST, ""):
        shown = {key.id: f"{key.shown} {key.label}" for key in KEYS if key.shown and key.id not in left_out}
        first = [shown.pop(name) for name in _FIRST if name in shown]
        line = "  ".join([*first[:2], "F2-7 preset", *first[2:], *shown.values()])
        if len(line) <= width:
            break
        left_out.add(least)
    return line


def _area_line(area: Area, width: int) -> str:
    line = "F1 help"
    for key in area.keys:
        longer = f"{line}  {key.shown} {key.label}"
        if len(longer) > width:
            break
        line = longer
    return line


def shown_keys(keys: str) -> str:
    """Return Textual's key names as people write them: "f2,alt+1" is "F2 or Alt+1"."""
    names = []
    for key in keys.split(","):
        parts = [part.upper() if len(part) == 1 else part.capitalize() for part in key.split("+")]
        names.append("+".join(parts).replace("Escape", "Esc"))
    return " or ".join(names)
