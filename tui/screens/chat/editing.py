"""Presets edited, duplicated and deleted from the chat screen, and what follows for the one that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from textual.app import SystemCommand
from textual.markup import escape
from textual.screen import Screen
from textual.timer import Timer

from backends.errors import Problem
from presets.catalog import BUILTIN, Catalog, load_catalog, own_file
from presets.schema import PresetEntry
from presets.toml_lines import Key
from tui import keys
from tui.chat.clean import clean_line
from tui.chat.session import Session
from tui.chat.target import Target
from tui.plans.live import apart
from tui.screens.chat.choosing import Presets
from tui.screens.chat.offering import Asked
from tui.screens.chat.planning import Planning
from tui.widgets.sidebar import PresetList
from tui.words import _

if TYPE_CHECKING:  # Imported when a preset is edited.
    from presets.plan import PresetPlan
    from presets.writing import Edited
    from tui.screens.preset.form import Checked, Field

LOOK_S = 1.0


class Editing:
    """Changes the user's presets above `screen`; `asked` is what the screen does for it."""

    def __init__(
        self,
        screen: Screen[None],
        presets: Callable[[], Presets],
        session: Callable[[], Session | None],
        planning: Planning,
        asked: Asked,
    ) -> None:
        self._screen = screen
        self._presets = presets
        self._session = session
        self._planning = planning
        self._asked = asked
        self._waiting: Target | None = None
        self._timer: Timer | None = None

    def commands(self) -> Iterator[SystemCommand]:
        """Yield what the palette offers."""
        for entry in self._presets().entries:
            title, name = escape(clean_line(entry.preset.title)), entry.name
            yield SystemCommand(
                _("Edit preset {title} …").format(title=title), escape(clean_line(name)), partial(self.do, "edit", name)
            )
            yield SystemCommand(
                _("Duplicate preset {title} …").format(title=title),
                _("Under another name"),
                partial(self.do, "copy", name),
            )
            if not entry.builtin:
                yield SystemCommand(
                    _("Delete preset {title} …").format(title=title),
                    _("Its model stays"),
                    partial(self.do, "delete", name),
                )

    def do(self, what: PresetList.Work, name: str) -> None:
        """Begin to edit, copy or delete a preset."""
        work = {"edit": self._edit, "copy": self._copy, "delete": self._delete}[what]
        self._screen.run_worker(self._tried(work, name), group="preset", exclusive=True)

    async def _tried(self, work: Callable[[str], object], name: str) -> None:
        try:
            await work(name)  # type: ignore[misc]
        except Problem as problem:
            self._asked.failed(problem)

    async def _edit(self, name: str) -> None:
        from tui.screens.preset import PresetScreen
        from tui.screens.preset.content import About
        from tui.screens.preset.form import fields

        entry = self._entry(name)
        if entry is None:
            return
        catalog = await apart(load_catalog)
        shown = await apart(lambda: fields(entry, catalog, self._presets().keep_alive_s))
        about = About(entry.preset.title, f"{name}.toml", own_file(name) is not None, self._runs(name))
        editor = Writer(catalog, entry, self._planning)
        if await self._screen.app.push_screen_wait(PresetScreen(about, entry, shown, editor)):
            await self._follow(entry)

    async def _copy(self, name: str) -> None:
        from presets import writing
        from tui.screens.preset import NameScreen

        entry = self._entry(name)
        if entry is None:
            return
        first = writing.free_name(writing.name_from(f"{name[:58]}-copy"), self._presets().titles)
        new = await self._screen.app.push_screen_wait(NameScreen(entry.preset.title, first, writing.check_name))
        if new is None:
            return
        written = await apart(lambda: writing.create(new, writing.copied(entry)))
        await self._asked.reload()
        self._asked.say(
            keys.filled(_("{title} is written. {presets.edit} in the list edits it"), title=written.preset.title)
        )

    async def _delete(self, name: str) -> None:
        from presets import writing

        catalog = await apart(load_catalog)
        # First, so that nobody is asked about what cannot be done.
        path = await apart(lambda: writing.check_removable(catalog, name))
        entry = self._presets().entry(name)
        builtin = (BUILTIN / f"{name}.toml").exists()
        lines = [_("The file {name} would be deleted. Its model stays.").format(name=path.name)]
        if builtin:
            lines.append(_("The built-in of this name is used again then."))
        if self._runs(name):
            lines.append(_("It is in memory now and runs on as it is, until another is chosen."))
        title = entry.preset.title if entry is not None else name
        from tui.screens.question import QuestionScreen

        question = QuestionScreen(_("Delete the preset {title}?").format(title=title), tuple(lines), _("delete it"))
        if not await self._screen.app.push_screen_wait(question):
            return
        await apart(lambda: writing.remove(catalog, name))
        if entry is not None and builtin:
            await self._follow(entry)
        else:
            await self._asked.reload()
        told = _("{title} is deleted: the built-in is back") if builtin else _("{title} is deleted")
        self._asked.say(told.format(title=title))

    # What follows.

    async def _follow(self, before: PresetEntry) -> None:
        """Read the presets anew, and let the one that is chosen be what its file says now."""
        await self._asked.reload()
        session, name = self._session(), before.name
        after = self._presets().entry(name)
        if after is None:
            return
        key = keys.slot(after.preset.slot)
        told = _("{title} is saved").format(title=after.preset.title)
        target = session.target if session is not None else None
        if session is not None and target is not None and target.preset == name:
            backend = target.spec.backend
            other = backend if backend != before.preset.backend and backend in after.preset.backends else None
            new = self._presets().target(name, other)
            if new is not None and self._runs(name) and new.spec.options != target.spec.options:
                again = _(". It runs on as it was loaded; choosing it loads it anew")
                if key:
                    again = _(". It runs on as it was loaded; {key} loads it anew").format(key=key)
                told += again
            if new is not None:
                self._take(session, target, new)
        self._asked.say(told)

    def _take(self, session: Session, old: Target, new: Target) -> None:
        """Answer with what is loaded as long as it is; what is not of the engine holds from the next question on."""
        if not self._runs(old.preset):
            session.target, self._waiting = new, None
            return
        session.target = msgspec.structs.replace(new, spec=old.spec)
        self._waiting = new if new.spec != old.spec else None
        if self._waiting is not None and self._timer is None:
            self._timer = self._screen.set_interval(LOOK_S, self._look)

    def _look(self) -> None:
        """Let the new settings hold once the model that was loaded with the old ones is gone."""
        session, waiting = self._session(), self._waiting
        target = session.target if session is not None else None
        if session is None or waiting is None or target is None or target.preset != waiting.preset:
            self._waiting = None
        elif session.loaded_target is None and not session.loading and not session.busy:
            session.target, self._waiting = waiting, None
        elif target.spec == waiting.spec:
            self._waiting = None
        if self._waiting is None and self._timer is not None:
            self._timer.stop()
            self._timer = None

    # What is known.

    def _entry(self, name: str) -> PresetEntry | None:
        """Return a preset. Raises the PresetError of one that is broken."""
        entry = self._presets().entry(name)
        if entry is None:
            self._presets().target(name)
        return entry

    def _runs(self, name: str) -> bool:
        session = self._session()
        loaded = session.loaded_target if session is not None else None
        return loaded is not None and loaded.preset == name


class Writer:
    """Checks, plans and writes one preset for its screen, nothing of it in the event loop."""

    def __init__(self, catalog: Catalog, entry: PresetEntry, planning: Planning) -> None:
        self._catalog = catalog
        self._entry = entry
        self._planning = planning

    async def check(self, fields: Sequence[Field], texts: Mapping[Key, str]) -> Checked:
        from tui.screens.preset.form import check

        return await apart(lambda: check(self._catalog, self._entry, fields, texts))

    async def plan(self, entry: PresetEntry) -> PresetPlan | None:
        return await self._planning.plan_anew(entry, entry.preset.backend)

    async def save(self, edited: Edited) -> None:
        from tui.screens.preset.form import save

        await apart(lambda: save(self._catalog, edited))
