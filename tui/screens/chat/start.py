"""What the screen does first: settings, catalogue, store, what was left behind, and which model to load."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from backends.errors import ModelNotFound, Problem
from presets.catalog import Catalog, find, load_catalog
from tui.chat import drafts, recovery
from tui.chat.session import Change, Session
from tui.chat.storing import paging
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, StoreError
from tui.chat.target import Target, choose
from tui.keys import reading
from tui.screens.chat.choosing import source_of
from tui.settings import Settings, load_settings

STARTER = "starter"


class Wish(msgspec.Struct, frozen=True):
    """What the command line asked for; None leaves it to the settings and to what was last used."""

    preset: str | None = None
    backend: str | None = None
    chat: str | None = None


class Begun(msgspec.Struct, frozen=True):
    """What there is to show. `session` is None if the conversations cannot be opened: `problems` say why.

    `missing` is the preset that was wished for and whose model is not here, "" for none; `target` then is another.
    """

    settings: Settings
    catalog: Catalog
    session: Session | None
    chat: str | None
    target: Target | None
    problems: tuple[Problem, ...]
    missing: str = ""


async def begin(wish: Wish, changed: Callable[[Change], None]) -> Begun:
    """Open everything; what fails is in `problems`, and the rest still works."""
    problems: list[Problem] = []
    settings = Settings()
    try:
        settings = load_settings()
    except Problem as problem:
        problems.append(problem)
    wrong_keys = reading.told(reading.take(settings.keys))
    if wrong_keys is not None:
        problems.append(wrong_keys)
    catalog = await asyncio.to_thread(load_catalog)
    session, chat, opened = None, None, None
    try:
        store = await asyncio.to_thread(Store, rates=settings.bill)
        await asyncio.to_thread(recovery.take_in_all, store)
        session = Session(store, changed)
        chat, opened = await asyncio.to_thread(_chat, store, wish)
    except Problem as problem:
        problems.append(problem)
    last = chat.preset if chat is not None else None
    target, missing = None, ""
    try:
        target = choose(catalog, wish.preset or settings.preset, last, wish.backend, settings.keep_alive_s)
    except Problem as problem:
        missing = _missing(catalog, wish.preset or settings.preset, wish.backend, problem)
        if not missing:
            problems.append(problem)
    if missing:
        # It can be fetched; meanwhile another answers.
        with contextlib.suppress(Problem):
            target = choose(catalog, None, last, keep_alive_s=settings.keep_alive_s)
    return Begun(settings, catalog, session, opened, target, tuple(problems), missing)


def _missing(catalog: Catalog, named: str | None, backend: str | None, problem: Problem) -> str:
    """Return the preset that only lacks a model which can be fetched, "" for any other trouble."""
    if not named or not isinstance(problem, ModelNotFound):
        return ""
    entry = find(catalog, named)
    return entry.name if source_of(entry, backend or entry.preset.backend) is not None else ""


def _chat(store: Store, wish: Wish) -> tuple[Conversation | None, str | None]:
    """Return the chat whose preset answers, and the one to open: the one asked for, else the last one used.

    Where something was typed after that and not sent, that draft's chat is opened, None if it is to begin one.
    """
    if wish.chat is not None:
        named = paging.named(store, wish.chat)
        return named, named.id
    last, draft = paging.last_used(store), drafts.latest()
    if draft is not None and (last is None or draft[1] > last.updated_at):
        if draft[0] is None:
            return last, None
        with contextlib.suppress(StoreError):
            typed_in = store.conversation(draft[0])
            return typed_in, typed_in.id
    return last, last.id if last is not None else None
