"""Who answers an `ask`: what the command line and the settings say, else the preset that was used last."""

from __future__ import annotations

from backends import paths
from presets.catalog import load_catalog
from tui.chat import target
from tui.chat.storing import paging
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation
from tui.chat.target import Target
from tui.settings import Settings


def choose(
    preset: str | None, backend: str | None, settings: Settings, store: Store | None, chat: Conversation | None = None
) -> Target:
    """Return who is to answer, in `chat` if it goes on with one.

    Raises Problem: an unknown or broken preset, no model, no backend.
    """
    named = preset or settings.preset
    last = None if named else chat.preset if chat is not None else _last_used(store)
    return target.choose(load_catalog(), named, last, backend, settings.keep_alive_s)


def _last_used(store: Store | None) -> str | None:
    """Return the preset of the last chat. Without `store` the conversations are opened only if there are any."""
    if store is not None:
        last = paging.last_used(store)
        return last.preset if last is not None else None
    if not paths.database().exists():
        return None
    reading = Store()
    try:
        return _last_used(reading)
    finally:
        reading.close()
