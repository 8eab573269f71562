"""What the search shows: each hit in its chat, with the words that were found, and a line about all of them."""

from __future__ import annotations

import time

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from tui.chat.clean import clean_line
from tui.chat.searching.search import Hit
from tui.units import clock
from tui.words import N_, _

HINT = N_('All words, or their beginnings; "a phrase" in quotes. Thoughts and other branches are searched too.')
BEHIND = N_("older messages are still being read in: more may come")
_WHO = {"user": N_("You"), "assistant": N_("Answer"), "system": N_("System")}
_DAY_S = 86_400


def option(hit: Hit, width: int) -> Content:
    """Return a hit in at least two lines of `width` cells: its chat, who and when, and what was found."""
    about = f"{who(hit)} · {age(hit.at, time.time())}"
    room = max(8, width - cell_len(about) - 2)
    title = clean_line(hit.title)
    if cell_len(title) > room:
        title = set_cell_size(title, room - 1) + "…"
    gap = " " * max(2, width - cell_len(title) - cell_len(about))
    snippet = Content(hit.snippet)
    for low, high in hit.marks:
        snippet = snippet.stylize("bold underline $text-warning", low, high)
    return Content.assemble((title, "bold"), gap, (about, "$text-muted"), "\n", snippet, "\n")


def who(hit: Hit) -> str:
    """Return who has said it, or that it was thought."""
    if hit.where == "title":
        return _("Title")
    return _("Thought") if hit.where == "reasoning" else _(_WHO.get(hit.role or "", ""))


def age(at: float, now: float) -> str:
    """Return when something was said: the time of today, else how many days ago, else the date."""
    here, there = time.localtime(now), time.localtime(at)
    if there[:3] == here[:3]:
        return clock(at)
    days = max(1, round((time.mktime((*here[:3], 12, 0, 0, 0, 0, -1)) - at) / _DAY_S))
    if now < at or days > 30:
        return time.strftime("%Y-%m-%d", there)
    return _("yesterday") if days == 1 else _("{days} days ago").format(days=days)


def told(text: str, hits: int, *, more: bool, searching: bool, complete: bool) -> str:
    """Return the line under the hits."""
    if not text.strip():
        return _(HINT)
    if searching and not hits:
        return _("Searching …")
    if not hits:
        found = _("Nothing was found")
    elif more:
        found = _("{count} found, and older ones below").format(count=f"{hits:,}")
    else:
        found = _("{count} found").format(count=f"{hits:,}")
    return found if complete else f"{found} · {_(BEHIND)}"
