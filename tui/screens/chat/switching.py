"""`^o`: the same conversation with the preset's next backend, and why those before it cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backends.base import Availability
from backends.titles import backend_title
from presets.schema import PresetEntry
from tui.chat.session import Session
from tui.chat.switching import Switch, next_backend
from tui.screens.chat import notices
from tui.screens.chat.mending import Mending
from tui.screens.chat.shown import Shown


async def switch(
    session: Session,
    entry: PresetEntry,
    keep_alive_s: float | None,
    mending: Mending,
    shown: Shown,
    say: Callable[[str], None],
) -> None:
    """Answer with the next backend that can be used; one that only has to be started is offered first."""
    target = session.target
    if target is None:
        return
    title, now = entry.preset.title, target.spec.backend
    if len(entry.preset.backends) < 2:
        say(f"{title} has only {backend_title(now)}")
        return
    from backends import registry  # Not at the top: see `Presets`.

    def probe(name: str, options: dict[str, object]) -> Availability:
        return registry.probe(name, options=options)

    say(f"Looking at what else can run {title} …")
    found = await asyncio.to_thread(next_backend, entry, now, keep_alive_s, probe)
    say("")
    if session.target != target:
        return  # Something else was chosen meanwhile.
    startable = next((refusal for refusal in found.refusals if refusal.target is not None), None)
    wanted = found
    if (
        startable is not None
        and startable.target is not None
        and await mending.started(startable.target, startable.startable)
    ):
        wanted = Switch(startable.target, found.refusals[: found.refusals.index(startable)])
    if wanted.target is not None:
        session.choose(wanted.target)
    if wanted.refusals:
        stays = wanted.target is None
        shown.notice(notices.backends_entry(title, backend_title(now) if stays else "", wanted.refusals))
    elif wanted.target is None:
        say(f"{title} has only {backend_title(now)} here")
