"""What the sidebar lists: pure functions from the catalogue, the plans and the store to lines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from presets.catalog import Catalog
from presets.schema import PresetEntry, source_for
from presets.sources import locate, parse
from tui.chat.storing.paging import Page
from tui.chat.storing.stored import Conversation
from tui.widgets.chat_list import ARCHIVED, ChatLine
from tui.widgets.sidebar import PresetLine
from tui.words import _

if TYPE_CHECKING:  # What plans is imported after the first frame.
    from presets.plan import PresetPlan
    from tui.plans.brief import Brief, Held


class Coming(msgspec.Struct, frozen=True):
    """How far the model of a preset is fetched, and whether it is being fetched now."""

    text: str
    running: bool


def preset_lines(
    catalog: Catalog,
    chosen: str,
    backend: str,
    loaded: str,
    plans: Mapping[str, PresetPlan] | None = None,
    held: Held | None = None,
    coming: Mapping[str, Coming] | None = None,
) -> list[PresetLine]:
    """Return the presets; `chosen` answers with `backend`, `loaded` is the one in memory, as `held` says.

    A preset without a plan yet shows where its model is; one in `coming` how far that is fetched. Broken files come
    last.
    """
    lines = []
    for entry in catalog.entries:
        preset = entry.preset
        used = backend if entry.name == chosen and backend else preset.backend
        plan = (plans or {}).get(entry.name)
        told = _brief(entry, used, plan, held if entry.name == loaded else None)
        if entry.name == loaded:
            mark = "loaded"
        elif entry.name == chosen:
            mark = "chosen"
        else:
            mark = "problem" if told.problem else ""
        comes, detail = (coming or {}).get(entry.name), told.detail
        # One that is here, by whichever way, needs no fetch any more; what a server has is not known here.
        by_server = comes is not None and comes.running and entry.name != loaded and _is_a_servers(entry, used)
        if comes is not None and (told.problem or by_server):
            detail, mark = comes.text, "fetching" if comes.running else mark
        lines.append(PresetLine(entry.name, preset.slot or 0, preset.title, detail, told.speed, mark))
    lines += [
        PresetLine(problem.name, 0, problem.name, _("cannot be used"), "", "problem") for problem in catalog.problems
    ]
    return lines


def chat_lines(page: Page, shown: str | None) -> list[ChatLine]:
    """Return a part of the chats: pinned ones, then under the days of their last use, archived ones last."""

    def line(chat: Conversation) -> ChatLine:
        return ChatLine(chat.id, chat.title, chat.id == shown, chat.pinned_at is not None)

    lines = []
    pinned = [chat for chat in page.chats if chat.pinned_at is not None]
    if pinned:
        lines += [ChatLine("", _("Pinned")), *map(line, pinned)]
    for day, group in _days(page.chats[len(pinned) :], time.time()):
        lines += [ChatLine("", day), *map(line, group)]
    if page.archived and page.offset + len(page.chats) >= page.listed:
        lines.append(ChatLine(ARCHIVED, f"{'▾' if page.shows_archived else '▸'} {_('Archived')} · {page.archived:,}"))
        lines += map(line, page.put_aside)
    return lines


def _brief(entry: PresetEntry, backend: str, plan: PresetPlan | None, held: Held | None) -> Brief:
    from presets.plan import outlook
    from tui.plans.brief import Brief, brief

    if plan is not None and plan.backend == backend:
        return brief(plan, held)
    look = outlook(entry, backend, locate(parse(source_for(entry.preset, backend, name=entry.name))))
    return Brief(look.line, _speed(entry), problem=not look.ready)


def _is_a_servers(entry: PresetEntry, backend: str) -> bool:
    return locate(parse(source_for(entry.preset, backend, name=entry.name))).present is None


def _speed(entry: PresetEntry) -> str:
    published = entry.preset.published
    if published is None or published.tokens_per_second is None:
        return ""
    low, high = published.tokens_per_second
    return _("published {low}–{high} tok/s").format(low=f"{low:g}", high=f"{high:g}")


def _days(conversations: Sequence[Conversation], now: float) -> list[tuple[str, list[Conversation]]]:
    """Return conversations, newest first, in groups by the day of their last use."""
    today = time.strftime("%Y-%m-%d", time.localtime(now))
    yesterday = time.strftime("%Y-%m-%d", time.localtime(now - 86_400))
    groups: list[tuple[str, list[Conversation]]] = []
    for conversation in conversations:
        day = time.strftime("%Y-%m-%d", time.localtime(conversation.updated_at))
        name = _("Today") if day == today else _("Yesterday") if day == yesterday else day
        if not groups or groups[-1][0] != name:
            groups.append((name, []))
        groups[-1][1].append(conversation)
    return groups
