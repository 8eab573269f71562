"""Edit a preset: its fields, each checked while it is typed, and the plan of what is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from backends.errors import Problem
from presets.plan import PresetPlan
from presets.schema import PresetEntry
from presets.toml_lines import Key
from presets.writing import Edited
from tui import keys
from tui.chat.clean import clean_line
from tui.keys.bindings import bindings
from tui.screens.preset.content import About, Plans, below, note
from tui.screens.preset.form import BACKEND, Checked, Field
from tui.screens.question import QuestionScreen
from tui.widgets.choice import Choice
from tui.widgets.keyed import Scroll, TextLine
from tui.widgets.lines import Line, Lines
from tui.words import _

WIDTH = 92
PAUSE_S = 0.15
"""So long nothing is typed before it is checked."""
_BORDER_AND_PADDING = 5
_LONGEST = 200


class Editor(Protocol):
    """What the screen asks for; `save` raises Problem, and so does `check` where the preset's file cannot be read."""

    def check(self, fields: Sequence[Field], texts: Mapping[Key, str]) -> Awaitable[Checked]: ...

    def plan(self, entry: PresetEntry) -> Awaitable[PresetPlan | None]: ...

    def save(self, edited: Edited) -> Awaitable[None]: ...


class PresetScreen(ModalScreen[bool]):
    """The fields of one preset. Ends with True once something was written."""

    CSS_PATH = "preset.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("edit")

    def __init__(self, about: About, entry: PresetEntry, fields: Sequence[Field], editor: Editor) -> None:
        super().__init__()
        self._about = about
        self._entry = entry
        self._fields = tuple(fields)
        self._editor = editor
        self._controls: dict[Key, Input | Choice] = {}
        self._checked: Checked | None = None
        self._plans = Plans()
        self._said = ""
        self._saving = False

    def compose(self) -> ComposeResult:
        with Scroll(can_focus=False) as box:
            box.border_title = Content(_("Edit preset: {title}").format(title=clean_line(self._about.title))).markup
            box.border_subtitle = keys.filled(
                _(
                    "{edit.save} saves · {edit.leave} leaves · {edit.up} {edit.down} field · "
                    "{choice.left} {choice.right} value"
                )
            )
            for field in self._fields:
                with Horizontal(classes="row"):
                    yield Static(Content(field.label), classes="label")
                    yield self._control(field)
                    yield Line()
            yield Button(_("Save"), id="save", compact=True)
            yield Lines()

    def on_mount(self) -> None:
        self._controls[self._fields[0].key].focus()
        self._show()
        self.run_worker(self._plan_as_it_is(), group="plan-before", exit_on_error=False)

    def on_resize(self) -> None:
        self._show()

    @property
    def texts(self) -> dict[Key, str]:
        return {key: control.value for key, control in self._controls.items()}

    @property
    def changed(self) -> bool:
        texts = self.texts
        return any(texts[field.key].strip() != field.text for field in self._fields)

    # What is typed.

    @on(Input.Changed)
    @on(Choice.Changed)
    def _look(self) -> None:
        if self._checked is None and not self.changed:
            return  # Fields tell what they hold when they appear.
        self._said = ""
        self._show()
        # Not a coroutine: one that is cancelled before it began would warn of itself.
        check: Callable[[], Any] = self._check_soon
        self.run_worker(check, group="check", exclusive=True, exit_on_error=False)

    def on_input_submitted(self) -> None:
        self.focus_next()

    async def _check_soon(self) -> None:
        """Check what is typed once nothing more is, and plan it."""
        await asyncio.sleep(PAUSE_S)
        checked = await self._check()
        if checked is not None:
            self._plans = Plans(self._plans.before, await self._editor.plan(checked.entry), made=True)
            self._show()

    async def _check(self) -> Checked | None:
        """Check what is typed, and show it; None where that cannot be done."""
        try:
            checked = await self._editor.check(self._fields, self.texts)
        except Problem as problem:
            self._tell(problem)
            return None
        self._checked = checked
        self._show()
        return checked

    async def _plan_as_it_is(self) -> None:
        plan = await self._editor.plan(self._entry)
        now = self._plans.now if self._plans.made else plan
        self._plans = Plans(plan, now, made=True)
        self._show()

    # The end.

    @on(Button.Pressed)
    def action_save(self) -> None:
        if not self._saving:
            self._saving = True
            self.workers.cancel_group(self, "check")
            self.run_worker(self._save(), group="save", exit_on_error=False)

    def action_leave(self) -> None:
        if self._saving:
            return  # It ends in a moment, with what was written.
        if not self.changed:
            self.dismiss(False)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.dismiss(False)

        lines = (_("What you have changed here was not saved."),)
        self.app.push_screen(QuestionScreen(_("Leave without saving?"), lines, _("leave")), answered)

    async def _save(self) -> None:
        try:
            checked = await self._check()
            if checked is None:
                return
            if not checked.right:
                self._go_to_what_is_wrong(checked)
            elif checked.edited is None:
                self.dismiss(False)
            else:
                await self._editor.save(checked.edited)
                self.dismiss(True)
        except Problem as problem:
            self._tell(problem)
        finally:
            self._saving = False

    def _go_to_what_is_wrong(self, checked: Checked) -> None:
        self.app.bell()
        wrong = next((field for field in self._fields if field.key in checked.wrong), None)
        if wrong is not None:
            self._controls[wrong.key].focus()

    def _tell(self, problem: Problem) -> None:
        self._said = " ".join(part for part in (f"{problem.title}.", problem.detail, problem.hint) if part)
        self._show()

    # What is shown.

    def _control(self, field: Field) -> Widget:
        if field.choices:
            control: Input | Choice = Choice(field.choices, field.text)
        else:
            control = TextLine(field.text, placeholder=clean_line(field.usual), max_length=_LONGEST, compact=True)
        self._controls[field.key] = control
        return control

    def _show(self) -> None:
        texts = self.texts
        backend = texts.get(BACKEND, "")
        for field, row in zip(self._fields, self.query(".row"), strict=True):
            row.display = not field.backends or backend in field.backends
            row.set_class(self._checked is not None and field.key in self._checked.wrong, "-wrong")
            row.query_one(Line).say(note(field, texts[field.key], self._checked))
            control = self._controls[field.key]
            if isinstance(control, Input) and self._checked is not None:
                control.placeholder = clean_line(self._checked.empty.get(field.key, field.usual))
        width = min(self.app.size.width, WIDTH) - _BORDER_AND_PADDING
        self.query_one(Lines).show(below(self._about, self._checked, self._plans, self._said, width))
