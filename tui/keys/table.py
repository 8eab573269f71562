"""Every key of every place in one table: bindings, key line, help and settings are made from it."""

from __future__ import annotations

from tui.keys import everywhere, views
from tui.keys.key import Area, Key, Place

AREAS: dict[Place, Area] = {
    area.place: area
    for area in (
        everywhere.EVERYWHERE, everywhere.COMPOSER, everywhere.MESSAGES, everywhere.CHAT_LIST, everywhere.PRESET_LIST,
        everywhere.LISTS, views.SCROLL, views.HELP, views.PLAN, views.FIGURES, views.USAGE, views.LINE, views.SEARCH,
        views.QUESTION, views.FETCH, views.OVERFLOW, views.EDIT, views.CHOICE, views.NAME, views.TITLE, views.ASKING,
    )
}  # fmt: skip

TOGETHER: tuple[tuple[Place, ...], ...] = (
    ("everywhere", "composer"), ("everywhere", "messages"),
    ("everywhere", "lists", "chats"), ("everywhere", "lists", "presets"),
    ("help", "scroll"), ("plan", "scroll"), ("figures", "scroll"), ("usage", "scroll"), ("question", "scroll"),
    ("fetch", "scroll"), ("overflow", "lists"), ("search", "line"), ("edit", "choice"), ("edit", "line"),
    ("asking", "choice"), ("asking", "line"), ("name", "line"), ("title", "line"),
)  # fmt: skip
"""The places whose keys mean something at the same time. There no key may do two things."""

KEYS: dict[str, Key] = {key.id: key for area in AREAS.values() for key in area.keys}

PLACES: dict[str, Place] = {key.id: area.place for area in AREAS.values() for key in area.keys}
"""The place of each id."""
