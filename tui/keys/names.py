"""The names of keys: how settings may write them, how Textual calls them, and how people read them."""

from __future__ import annotations

import string
import unicodedata

_SAME = {
    "esc": "escape", "return": "enter", "del": "delete", "ins": "insert", "pgup": "pageup", "page_up": "pageup",
    "pgdn": "pagedown", "pgdown": "pagedown", "page_down": "pagedown", "bs": "backspace", "blank": "space",
    "hyphen_minus": "minus", "plus_sign": "plus", "solidus": "slash", "reverse_solidus": "backslash",
    "commercial_at": "at", "low_line": "underscore", "equals": "equals_sign", "dot": "full_stop", "period": "full_stop",
    "question": "question_mark",
}  # fmt: skip
_ARRIVES_AS = {
    "ctrl+i": "tab", "ctrl+m": "enter", "ctrl+left_square_bracket": "escape", "ctrl+h": "backspace",
    "ctrl+at": "ctrl+space",
}  # fmt: skip
"""What a terminal cannot tell from another key."""
MODIFIERS = {"ctrl": "ctrl", "control": "ctrl", "alt": "alt", "meta": "alt", "shift": "shift"}
_MOVES = ("up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete")
_NAMED = ("escape", "enter", "tab", "space", "backspace", *_MOVES)
_FUNCTIONS = tuple(f"f{number}" for number in range(1, 25))
_OLD_FUNCTIONS = 12
"""So many keyboards have; the sequences of further ones are those of the first with Shift."""
_MOVE_BY_WORDS = {"alt+b", "alt+f"}
"""What terminals also send for Ctrl with a cursor key, and is taken for that."""
_SIGNS = {
    sign: {"-": "minus", "+": "plus", "/": "slash", "\\": "backslash", "@": "at", "_": "underscore"}.get(
        sign, unicodedata.name(sign).lower().replace("-", "_").replace(" ", "_")
    )
    for sign in string.punctuation
}
_BY_NAME = {name: sign for sign, name in _SIGNS.items()}
_SHORT = {
    "escape": "Esc", "up": "↑", "down": "↓", "left": "←", "right": "→", "pageup": "PgUp", "pagedown": "PgDn",
    "delete": "Del", "insert": "Ins",
}  # fmt: skip
_CONTROLS = {"space", "backslash", "right_square_bracket", "circumflex_accent", "underscore"}


def canonical(written: str) -> str | None:
    """Return Textual's name of a key as somebody has written it, None if there is no such key.

    "^r", "Ctrl+R" and "ctrl+r" are one; a single capital letter is another key than the small one.
    """
    text = written.strip()
    if len(text) == 2 and text[0] == "^" and text[1].isascii() and text[1].isalpha():
        text = f"ctrl+{text[1]}"
    if text in {"+", "-"} or (len(text) > 1 and text.endswith("++")):
        text = f"{text[:-1]}{_SIGNS[text[-1]]}"
    *before, last = text.split("+")
    modifiers = {MODIFIERS.get(name.strip().lower(), "") for name in before}
    base = _base(last.strip(), modified=bool(before))
    if base is None or "" in modifiers or len(modifiers) != len(before):
        return None
    if modifiers == {"shift"} and len(base) == 1 and base.isalpha():
        return base.upper()
    if modifiers == {"shift"} and (base in _BY_NAME or base.isdecimal()):
        return None  # Which sign that is, the keyboard decides.
    name = "+".join([*sorted(modifiers), base])
    return _ARRIVES_AS.get(name, name)


def sent(key: str) -> bool:
    """Say whether every terminal can send a key, and not only one with a protocol for it."""
    *modifiers, base = key.split("+")
    if base in _FUNCTIONS[_OLD_FUNCTIONS:]:
        return False
    if not modifiers:
        return True
    if base in _MOVES:
        return base != "insert" and modifiers in (["ctrl"], ["shift"], ["ctrl", "shift"])
    if modifiers == ["ctrl"]:
        return (len(base) == 1 and base.isalpha()) or base in _CONTROLS or base in _FUNCTIONS
    if modifiers in (["alt"], ["alt", "shift"]) and key not in _MOVE_BY_WORDS:
        return len(base) == 1 and (base.isalpha() or len(modifiers) == 1)
    return key == "shift+tab"


def types(key: str) -> bool:
    """Say whether a key writes something, or is needed to write."""
    return len(key) == 1 or key in _BY_NAME or key in {"space", "backspace", "delete", "left", "right", "home"}


def prefix_of(key: str) -> str:
    """Return whose prefix a key is by default: "tmux", "screen", or ""."""
    return {"ctrl+b": "tmux", "ctrl+a": "screen"}.get(key, "")


def short(key: str) -> str:
    """Return a key as it is written where there is little room: "^r", "F8", "Esc"."""
    *modifiers, base = key.split("+")
    if modifiers == ["ctrl"] and len(base) == 1:
        return f"^{base}"
    return long(key)


def long(key: str) -> str:
    """Return a key as people write it: "Ctrl+R", "Alt+1", "PgUp"."""
    *modifiers, base = key.split("+")
    if len(base) == 1:
        read = base.upper() if modifiers else base
    else:
        read = _BY_NAME.get(base) or _SHORT.get(base) or base.capitalize()
    return "+".join([*(name.capitalize() for name in modifiers), read])


def _base(name: str, *, modified: bool) -> str | None:
    if len(name) == 1:
        if name in _SIGNS:
            return _SIGNS[name]
        if not name.isalnum() or (modified and not name.isascii()):
            return None
        return name.lower() if modified else name  # Letters of other keyboards have no other name either.
    lower = name.lower().replace("-", "_").replace(" ", "_")
    lower = _SAME.get(lower, lower)
    return lower if lower in _NAMED or lower in _FUNCTIONS or lower in _BY_NAME else None


ALL = (*_NAMED, *_FUNCTIONS, *_BY_NAME)
"""Every name of a key that is more than a letter or a digit."""
