"""What a chat asks of its model: its fields, each checked while it is typed, and what follows from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static, TextArea

from backends.errors import Problem
from presets.plan import PresetPlan
from tui import keys
from tui.chat.asking import NUMBERS, Asking
from tui.chat.clean import clean_line
from tui.keys.bindings import bindings
from tui.screens.asking import form
from tui.screens.asking.form import KEYS, SYSTEM, About, Checked
from tui.screens.question import QuestionScreen
from tui.widgets.keyed import Scroll, TextLine
from tui.widgets.lines import Line, Lines, wrapped
from tui.words import _

WIDTH = 92
_BORDER_AND_PADDING = 5
_LONGEST = 40
_LABEL = 14


class AskingScreen(ModalScreen[bool]):
    """The fields of one chat. Ends with True once something was kept.

    `keep` keeps it, and raises Problem; `plan` plans the model with another context, None where nothing is planned.
    """

    CSS_PATH = "asking.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("asking")

    def __init__(
        self,
        about: About,
        asking: Asking,
        keep: Callable[[Asking], Awaitable[None]],
        plan: Callable[[int], Awaitable[PresetPlan | None]],
    ) -> None:
        super().__init__()
        self._about = about
        self._before = form.texts(asking)
        self._keep = keep
        self._plan = plan
        self._planned: tuple[int | None, str] = (None, "")
        self._warnings: tuple[str, ...] = ()
        self._controls: dict[str, Input | TextArea] = {}
        self._said = ""
        self._saving = False

    def compose(self) -> ComposeResult:
        with Scroll(can_focus=False) as box:
            title = clean_line(self._about.title) or _("a new chat")
            box.border_title = Content(_("How this chat asks: {title}").format(title=title)).markup
            box.border_subtitle = keys.filled(
                _("{asking.save} saves · {asking.leave} leaves · Tab {asking.up} {asking.down} field")
            )
            with Horizontal(classes="row", id="system-row"):
                yield Static(Content(SYSTEM), classes="label")
                area = TextArea(
                    self._before[SYSTEM],
                    soft_wrap=True,
                    tab_behavior="focus",
                    compact=True,
                    highlight_cursor_line=False,
                    placeholder=self._usual(SYSTEM),
                )
                area.cursor_blink = False
                self._controls[SYSTEM] = area
                yield area
            for key in NUMBERS:
                with Horizontal(classes="row"):
                    yield Static(Content(key), classes="label")
                    line = TextLine(self._before[key], placeholder=self._usual(key), max_length=_LONGEST, compact=True)
                    self._controls[key] = line
                    yield line
                    yield Line()
            yield Button(_("Save"), id="save", compact=True)
            yield Lines()

    def on_mount(self) -> None:
        self._controls[SYSTEM].focus()
        self._show()

    def on_resize(self) -> None:
        self._show()

    @property
    def texts(self) -> dict[str, str]:
        return {
            key: control.text if isinstance(control, TextArea) else control.value
            for key, control in self._controls.items()
        }

    @property
    def changed(self) -> bool:
        texts = self.texts
        return any(texts[key].strip() != self._before[key] for key in KEYS)

    # What is typed.

    @on(Input.Changed)
    @on(TextArea.Changed)
    def _look(self) -> None:
        self._said = ""
        self._show()

    def on_input_submitted(self) -> None:
        self.focus_next()

    async def _plan_it(self, context: int) -> None:
        from tui.plans.brief import expected

        plan = await self._plan(context)
        told = expected(plan) if plan is not None else None
        if self._planned[0] == context:
            self._warnings = tuple(plan.warnings) if plan is not None else ()
            speed = f" · {told.speed}" if told is not None and told.speed else ""
            self._planned = (context, f"{told.detail}{speed}" if told is not None else "")
            self._show()

    # The end.

    @on(Button.Pressed)
    def action_save(self) -> None:
        if not self._saving:
            self._saving = True
            self.run_worker(self._save(), group="save", exit_on_error=False)

    def action_leave(self) -> None:
        if self._saving:
            return  # It ends in a moment, with what was kept.
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
            checked = form.check(self.texts)
            if checked.wrong:
                self.app.bell()
                self._controls[next(iter(checked.wrong))].focus()
            elif not self.changed:
                self.dismiss(False)
            else:
                await self._keep(checked.asking)
                self.dismiss(True)
        except Problem as problem:
            self._said = " ".join(part for part in (f"{problem.title}.", problem.detail, problem.hint) if part)
            self._show()
        finally:
            self._saving = False

    # What is shown.

    def _usual(self, key: str) -> str:
        return clean_line(form.usual(key, self._about))

    def _show(self) -> None:
        texts = self.texts
        checked = form.check(texts)
        for key, row in zip(KEYS, self.query(".row"), strict=True):
            row.set_class(key in checked.wrong, "-wrong")
        for key, row in zip(NUMBERS, list(self.query(".row"))[1:], strict=True):
            row.query_one(Line).say(form.note(key, texts[key], checked, self._about))
        self._look_at_context(checked)
        self.query_one(Lines).show(self._below(checked))

    def _look_at_context(self, checked: Checked) -> None:
        """Have the model planned with the context that is typed."""
        context = checked.asking.context if self._about.context is not None else None
        if context != self._planned[0]:
            self._planned, self._warnings = (context, "…" if context is not None else ""), ()
            if context is not None:
                self.run_worker(self._plan_it(context), group="plan", exclusive=True, exit_on_error=False)

    def _below(self, checked: Checked) -> Content:
        width = min(self.app.size.width, WIDTH) - _BORDER_AND_PADDING
        lines = [
            Content.styled(line, "$text-warning")
            for text in (*form.faults(checked), *([self._said] if self._said else []))
            for line in wrapped(f"✗ {clean_line(text)}", width)
        ]
        if self._planned[1]:
            plan = wrapped(clean_line(self._planned[1]), max(20, width - _LABEL))
            lines += [
                Content.assemble((("" if number else _("Plan")).ljust(_LABEL), "dim"), (line, "bold"))
                for number, line in enumerate(plan)
            ]
        lines += [
            Content.styled(line, "$text-warning")
            for text in self._warnings
            for line in wrapped(clean_line(text), width)
        ]
        lines += [
            Content.styled(line, "dim") for text in form.told(checked, self._about) for line in wrapped(text, width)
        ]
        return Content("\n").join(lines)
